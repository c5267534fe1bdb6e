"""The first page: what goes on, and whether it needs somebody."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import defer

from node.journey import ACTIVE, State
from node.overview import Overview, overview
from node.store.tables import Job, Series
from node.web.auth import Person, require
from node.web.formats import ago
from node.web.labels import labels
from node.web.pages import render, wants_part
from node.web.roles import Role
from node.web.site import Site

router = APIRouter()

_LINES = 20
_LATELY = 12
_WORKERS_START_S = 60.0  # workers start after the page does
_LOW_DISK = 4  # times the reserve: so little is left that somebody should know


@dataclass(frozen=True, slots=True)
class Need:
    """Something of the node itself that needs a person."""

    what: str
    do: str
    grave: bool = True


@router.get("/")
def now(request: Request, person: Annotated[Person, Depends(require(Role.VIEWER))]) -> Response:
    """Needs, counts, what is running, queued, arriving, and done lately."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        seen = overview(session, site.config, limit=_LINES)
        lately = session.scalars(
            sa.select(Series)
            .where(Series.state.in_([str(State.DONE), str(State.PASSED), str(State.CANCELLED)]))
            .order_by(Series.state_since.desc())
            .limit(_LATELY)
            .options(defer(Series.facts), defer(Series.explanation))
        ).all()
        rows: list[Any] = [*seen.arriving, *seen.queued, *seen.running, *seen.trouble, *lately]
        named = labels(session, {(row.study_instance_uid, row.series_instance_uid) for row in rows})
        in_hand = dict(
            session.execute(sa.select(Job.executor_id, Job.series_id).where(Job.finished_at.is_(None))).all()
        )
    context = {
        "person": person,
        "seen": seen,
        "lately": lately,
        "label": lambda row: named[row.study_instance_uid, row.series_instance_uid],
        "in_hand": in_hand,
        "echoes": site.echoes.last,
        "needs_of_node": _needs(site, seen),
        "stages": _stages(seen),
    }
    return render(request, "_now.html" if wants_part(request) else "now.html", context)


def _stages(seen: Overview) -> list[tuple[str, int, str]]:
    """The flow in five numbers: name, count, and the states that are listed when it is followed."""
    working = [state for state in ACTIVE if state is not State.QUEUED]
    return [
        ("arriving", seen.total(State.RECEIVING, State.COMPLETE), "receiving"),
        ("queued", seen.total(State.QUEUED), "queued"),
        ("running", seen.total(*working), "working"),
        ("returned today", seen.today.done, "done"),
        ("need somebody", seen.total(State.WAITING, State.FAILED), "trouble"),
    ]


def _needs(site: Site, seen: Overview) -> list[Need]:
    """What is wrong with the node itself, the worst first."""
    found = []
    disk = seen.disk
    if disk.full:
        what = f"The disk is full: {disk.free / 1e9:.1f} GB free, {disk.reserve / 1e9:.1f} GB are kept. Every store is refused."
        found.append(Need(what, f"Free space on the disk of {site.config.data_dir}; senders will try again."))
    elif disk.free < _LOW_DISK * disk.reserve:
        what = f"The disk is nearly full: {disk.free / 1e9:.1f} GB free; at {disk.reserve / 1e9:.1f} GB stores are refused."
        found.append(Need(what, f"Free space on the disk of {site.config.data_dir} soon.", grave=False))
    waiting = seen.total(State.QUEUED)
    if not any(worker.alive for worker in seen.workers) and (
        waiting or time.monotonic() - site.opened_at > _WORKERS_START_S
    ):
        what = "No worker is alive: nothing is harmonized. What arrives is received."
        found.append(Need(what, "See the log of harmonode serve, or start harmonode worker.", grave=bool(waiting)))
    for name, echo in site.echoes.last.items():
        if not echo.reached:
            said = echo.said.removeprefix(f"destination {name!r}: ")
            what = f"Destination {name} could not be reached {ago(echo.at)}: {said}"
            found.append(Need(what, "See that it is up and lets this node in; what is to go there waits.", grave=False))
    for name, probe in site.probes.items():
        if wrong := probe():
            found.append(Need(f"{name}: {wrong}", "See the log of harmonode serve."))
    return found
