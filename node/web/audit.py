"""The audit trail: searched, and its chain verified."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from node.audit import Event, Flaw, verify
from node.store.tables import AuditRecord
from node.web.auth import Person, require
from node.web.pages import render
from node.web.roles import Role
from node.web.site import Site

router = APIRouter(prefix="/audit")

_PAGE = 100

Viewer = Annotated[Person, Depends(require(Role.VIEWER))]


@dataclass(frozen=True, slots=True)
class Verified:
    """What verifying the chain found."""

    at: datetime
    records: int
    flaws: tuple[Flaw, ...]


class Verifier:
    """Verifies the chain, one at a time, and remembers what it found last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.last: Verified | None = None

    def run(self, site: Site) -> None:
        with self._lock, site.database.read() as session:
            count, flaws = verify(session)
            self.last = Verified(datetime.now(UTC), count, tuple(flaws))


@router.get("")
def audit_page(  # noqa: PLR0917 - one argument a field of the form
    request: Request, person: Viewer, event: str = "", series: str = "", actor: str = "", text: str = "",
    since: str = "", until: str = "", before: int = 0,
) -> Response:  # fmt: skip
    """The newest records that are like that, a hundred a page."""
    site: Site = request.app.state.site
    query = sa.select(AuditRecord).order_by(AuditRecord.seq.desc()).limit(_PAGE + 1)
    problem = ""
    try:
        start, end = _day(since), _day(until)
    except ValueError:
        problem, start, end = "A day is written as 2026-11-25.", None, None
    if event:
        query = query.where(AuditRecord.event == event)
    if series.strip():
        query = query.where(AuditRecord.series_instance_uid == series.strip())
    if actor.strip():
        query = query.where(AuditRecord.actor.contains(actor.strip(), autoescape=True))
    if text.strip():
        query = query.where(AuditRecord.message.contains(text.strip(), autoescape=True))
    if start:
        query = query.where(AuditRecord.at >= start)
    if end:
        query = query.where(AuditRecord.at < end + timedelta(days=1))
    if before:
        query = query.where(AuditRecord.seq < before)
    with site.database.read() as session:
        rows = session.scalars(query).all()
    asked = {"event": event, "series": series, "actor": actor, "text": text, "since": since, "until": until}
    context = {
        "person": person,
        "rows": rows[:_PAGE],
        "older": rows[_PAGE - 1].seq if len(rows) > _PAGE else None,
        "events": sorted(Event),
        "asked": asked,
        "problem": problem,
        "verified": request.app.state.verifier.last,
    }
    return render(request, "audit.html", context)


@router.post("/verify")
def verify_chain(request: Request, _person: Viewer) -> Response:
    """Walk the whole chain."""
    request.app.state.verifier.run(request.app.state.site)
    return RedirectResponse("/audit", HTTPStatus.SEE_OTHER)


def _day(text: str) -> datetime | None:
    """The start of a day of this machine."""
    return datetime.combine(date.fromisoformat(text), time()).astimezone() if text else None
