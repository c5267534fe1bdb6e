"""Series: the list, one series with all that is known of it, and what a person may do with it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session, defer

from node.journey import TROUBLE, WORKING, State, may_move
from node.rules.explain import Decision
from node.store.tables import AuditRecord, Delivery, Job, Series
from node.web.auth import Person, require
from node.web.curves import charts
from node.web.labels import first_value, label_of, labels
from node.web.pages import render, wants_part
from node.web.patients import patient_of
from node.web.records import condensed
from node.web.roles import Role
from node.web.site import Site
from node.web.timeline import timeline
from node.workflow import cancel, retry, start_now
from node.workflow.operate import RETRIED

router = APIRouter(prefix="/series")

_PAGE = 50
_RECORDS = 200

FILTERS: dict[str, tuple[State, ...]] = {
    **{str(state): (state,) for state in State},
    "receiving": (State.RECEIVING, State.COMPLETE),
    "working": WORKING,
    "trouble": (State.WAITING, State.FAILED),
}

Viewer = Annotated[Person, Depends(require(Role.VIEWER))]
Operator = Annotated[Person, Depends(require(Role.OPERATOR))]


@router.get("")
def list_page(request: Request, person: Viewer, state: str = "", q: str = "", before: int = 0) -> Response:
    """The newest series, fifty a page; by state, or by any part of a UID."""
    site: Site = request.app.state.site
    query = sa.select(Series).order_by(Series.id.desc()).limit(_PAGE + 1)
    query = query.options(defer(Series.facts), defer(Series.explanation))
    if state in FILTERS:
        query = query.where(Series.state.in_([str(one) for one in FILTERS[state]]))
    if q.strip():
        part = f"%{q.strip()}%"
        query = query.where(Series.series_instance_uid.like(part) | Series.study_instance_uid.like(part))
    if before:
        query = query.where(Series.id < before)
    with site.database.read() as session:
        rows = session.scalars(query).all()
        named = labels(session, {(row.study_instance_uid, row.series_instance_uid) for row in rows})
    context = {
        "person": person,
        "rows": rows[:_PAGE],
        "older": rows[_PAGE - 1].id if len(rows) > _PAGE else None,
        "label": lambda row: named[row.study_instance_uid, row.series_instance_uid],
        "state": state,
        "states": list(FILTERS),
        "q": q,
    }
    return render(request, "series_list.html", context)


@router.get("/{series_id:int}", name="series")
def series_page(request: Request, series_id: int, person: Viewer) -> Response:
    """One series."""
    site: Site = request.app.state.site
    with site.database.read() as session:
        series = find(session, series_id)
        context = {"person": person, **_told(session, series)}
    context["patient"] = patient_of(site, series) if site.config.web.show_patient else None
    return render(request, "_series.html" if wants_part(request) else "series.html", context)


@router.post("/{series_id:int}/retry")
def retry_series(request: Request, series_id: int, person: Operator) -> Response:
    """Try again a series that stands; as `harmonode series retry`."""
    site: Site = request.app.state.site
    with site.database.write() as session:
        retry(session, site.queue, find(session, series_id), person.actor)
    return RedirectResponse(f"/series/{series_id}", HTTPStatus.SEE_OTHER)


@router.post("/{series_id:int}/start")
def start_series(request: Request, series_id: int, person: Operator) -> Response:
    """Let a queued series start before all others; as `harmonode series start-now`."""
    site: Site = request.app.state.site
    with site.database.write() as session:
        start_now(session, site.queue, find(session, series_id), person.actor)
    return RedirectResponse(f"/series/{series_id}", HTTPStatus.SEE_OTHER)


@router.post("/{series_id:int}/cancel")
def cancel_series(request: Request, series_id: int, person: Operator) -> Response:
    """Stop a series where it stands; as `harmonode series cancel`."""
    site: Site = request.app.state.site
    with site.database.write() as session:
        job = cancel(session, find(session, series_id), person.actor)
    if job is not None:
        site.queue.cancel(job)
    return RedirectResponse(f"/series/{series_id}", HTTPStatus.SEE_OTHER)


def find(session: Session, series_id: int) -> Series:
    """Raises HTTPException, 404, where there is none."""
    series = session.get(Series, series_id)
    if series is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no series {series_id}")
    return series


def _told(session: Session, series: Series) -> dict[str, Any]:
    state = State(series.state)
    records = session.scalars(
        sa.select(AuditRecord)
        .where(
            AuditRecord.series_instance_uid == series.series_instance_uid,
            AuditRecord.study_instance_uid == series.study_instance_uid,
        )
        .order_by(AuditRecord.seq.desc())
        .limit(_RECORDS)
    ).all()[::-1]
    jobs = session.scalars(sa.select(Job).where(Job.series_id == series.id).order_by(Job.round)).all()
    job = jobs[-1] if jobs else None
    deliveries = session.scalars(
        sa.select(Delivery).where(Delivery.job_id.in_([one.id for one in jobs])).order_by(Delivery.id)
    ).all()
    return {
        "series": series,
        "state": state,
        "trouble": state in TROUBLE,
        "may_retry": state in RETRIED,
        "may_cancel": may_move(state, State.CANCELLED),
        "label": label_of(series),
        "facts": _facts(series),
        "stations": timeline(state, records),
        "records": condensed(records),
        "jobs": jobs,
        "job": job,
        "deliveries": deliveries,
        "decision": Decision.from_json(series.explanation) if series.explanation else None,
        "charts": charts((job.report or {}).get("curves", {})) if job else [],
        "report": (job.report if job else None) or {"before": {}, "after": {}, "curves": {}, "notes": []},
    }


def _facts(series: Series) -> list[tuple[str, str]]:
    """What the headers say of the scan, for people."""
    facts = series.facts or {}
    spacing, extent = facts.get("slice_spacing_mm"), facts.get("z_extent_mm")
    thickness, kvp = (first_value(facts, keyword) for keyword in ("SliceThickness", "KVP"))
    scanner = " ".join(first_value(facts, keyword) for keyword in ("Manufacturer", "ManufacturerModelName")).strip()
    told = [
        ("slices", f"{series.instance_count}" + (f" of {series.expected_count}" if series.expected_count else "")),
        ("thickness, spacing", " / ".join(f"{value} mm" for value in (thickness, spacing) if value not in (None, ""))),
        ("extent", f"{extent:g} mm" if extent else ""),
        ("kernel", first_value(facts, "ConvolutionKernel")),
        ("tube voltage", f"{kvp} kV" if kvp else ""),
        ("scanner", scanner),
        ("body part", first_value(facts, "BodyPartExamined")),
        ("protocol", first_value(facts, "ProtocolName")),
        ("sent by", f"{series.calling_ae_title} at {series.address}, to {series.called_ae_title}"),
    ]
    return [(name, value) for name, value in told if value]
