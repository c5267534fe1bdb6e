"""`/metrics` for Prometheus. No UID is a label: one would make a time series of each patient's scan.

Gauges are asked of the database at each scrape. Counters and histograms follow the audit trail and the index of
instances from where they stood when the process started, by their own numbers, so a scrape reads only what is new.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy.orm import Session

import node
from node.audit import Event
from node.journey import ACTIVE, WORKING, State
from node.store import leases
from node.store.tables import AuditRecord, Instance, Job, Series
from node.store.watermark import look
from node.web.auth import Person, require
from node.web.roles import Role
from node.web.site import Site

router = APIRouter()

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
_BATCH = 5000  # records a scrape reads at most; the next one reads on
_REMEMBERED = 10_000  # series whose last move is remembered, to tell how long a step took
_ENDS = frozenset({State.DONE, State.PASSED, State.REFUSED, State.FAILED, State.WAITING, State.CANCELLED})


class Metrics:
    """What Prometheus is told."""

    def __init__(self, site: Site) -> None:
        self._site, self.registry = site, CollectorRegistry()
        r = self.registry
        self._lock = threading.Lock()
        self._moved_at: OrderedDict[tuple[str | None, str | None], datetime] = OrderedDict()
        Gauge("harmonode_build_info", "Version of the node.", ["version"], registry=r).labels(node.__version__).set(1)
        self._series = Gauge("harmonode_series", "Series by where they stand.", ["state"], registry=r)
        self._jobs = Gauge("harmonode_jobs_unfinished", "Jobs that wait or are worked on.", registry=r)
        self._queue_age = Gauge("harmonode_queue_age_seconds", "How long the oldest queued series waits.", registry=r)
        self._workers = Gauge("harmonode_workers_alive", "Workers whose lease holds.", registry=r)
        self._free = Gauge("harmonode_disk_free_bytes", "Free on the disk of data_dir.", registry=r)
        self._reserve = Gauge(
            "harmonode_disk_reserve_bytes", "Less than this free, and stores are refused.", registry=r
        )
        self._up = Gauge("harmonode_destination_up", "Whether the last echo succeeded.", ["destination"], registry=r)
        self._records = Gauge("harmonode_audit_records", "Records in the audit trail.", registry=r)
        self._instances = Counter("harmonode_instances_received", "Instances received and indexed.", registry=r)
        self._bytes = Counter("harmonode_received_bytes", "Bytes of instances received and indexed.", registry=r)
        self._events = Counter("harmonode_events", "Audit records by event.", ["event"], registry=r)
        self._rejected = Counter("harmonode_associations_rejected", "Associations refused to a caller.", registry=r)
        self._ended = Counter("harmonode_series_ended", "Series that came to rest.", ["state"], registry=r)
        self._sent = Counter("harmonode_instances_sent", "Derived instances sent.", ["destination"], registry=r)
        self._confirmed = Counter(
            "harmonode_deliveries_confirmed", "Deliveries confirmed.", ["destination"], registry=r
        )
        self._steps = Histogram(
            "harmonode_step_seconds", "How long each step took.", ["step"], registry=r, buckets=_SECONDS
        )
        for state in WORKING:
            self._steps.labels(str(state))
        for destination in site.config.destinations:
            self._sent.labels(destination.name)
            self._confirmed.labels(destination.name)
        with site.database.read() as session:
            self._seq = session.scalar(sa.select(sa.func.max(AuditRecord.seq))) or 0
            self._row = session.scalar(sa.select(sa.func.max(Instance.id))) or 0

    def scrape(self) -> bytes:
        """Everything as of now, in Prometheus' text format."""
        with self._lock:
            with self._site.database.read() as session:
                self._ask(session)
                self._follow_instances(session)
                self._follow_trail(session)
            return generate_latest(self.registry)

    def _ask(self, session: Session) -> None:
        now = datetime.now(UTC)
        by_state = sa.select(Series.state, sa.func.count()).group_by(Series.state)
        counted: dict[str, int] = {state: count for state, count in session.execute(by_state)}  # noqa: C416 - a Row
        for state in State:
            self._series.labels(str(state)).set(counted.get(str(state), 0))
        oldest = session.scalar(sa.select(sa.func.min(Series.state_since)).where(Series.state == str(State.QUEUED)))
        self._queue_age.set((now - oldest).total_seconds() if oldest else 0)
        unfinished = (
            sa.select(sa.func.count())
            .select_from(Job)
            .join(Series, Series.id == Job.series_id)
            .where(Job.finished_at.is_(None), Series.state.in_([str(state) for state in ACTIVE]))
        )
        self._jobs.set(session.scalar(unfinished) or 0)
        self._workers.set(sum(":" not in name for name in leases.alive(session, now)))
        config = self._site.config
        self._free.set(look(config).free_mb << 20)
        self._reserve.set(config.receive.disk_reserve_mb << 20)
        for name, echo in self._site.echoes.last.items():
            self._up.labels(name).set(echo.reached)

    def _follow_instances(self, session: Session) -> None:
        new = sa.select(sa.func.max(Instance.id), sa.func.count(), sa.func.sum(Instance.size_bytes))
        last, count, size = session.execute(new.where(Instance.id > self._row)).one()
        self._row = last or self._row
        self._instances.inc(count)
        self._bytes.inc(float(size or 0))

    def _follow_trail(self, session: Session) -> None:
        query = sa.select(AuditRecord).where(AuditRecord.seq > self._seq).order_by(AuditRecord.seq).limit(_BATCH)
        for record in session.scalars(query):
            self._count(record)
            self._seq = record.seq
        self._records.set(self._seq)

    def _count(self, record: AuditRecord) -> None:
        event, detail = record.event, record.detail
        self._events.labels(event).inc()
        if event == Event.REFUSAL and "rejection" in detail:
            self._rejected.inc()
        if "destination" in detail:
            if event == Event.TRANSMISSION:
                self._sent.labels(detail["destination"]).inc(detail.get("instances", 0))
            elif event == Event.CONFIRMATION:
                self._confirmed.labels(detail["destination"]).inc()
        if "to" in detail:
            self._moved(record, detail.get("from", ""), detail["to"])

    def _moved(self, record: AuditRecord, here: str, there: str) -> None:
        series = record.study_instance_uid, record.series_instance_uid
        began = self._moved_at.pop(series, None)
        if began is not None and here in WORKING and there in (*WORKING, State.DONE):
            self._steps.labels(here).observe(max(0.0, (record.at - began).total_seconds()))
        if there in _ENDS:
            self._ended.labels(there).inc()
        self._moved_at[series] = record.at
        while len(self._moved_at) > _REMEMBERED:
            self._moved_at.popitem(last=False)


@router.get("/metrics")
def metrics(request: Request, _person: Annotated[Person, Depends(require(Role.VIEWER))]) -> Response:
    """For Prometheus: `authorization: {credentials_file: ...}` with a viewer's token."""
    told: Metrics = request.app.state.metrics
    return Response(told.scrape(), media_type=CONTENT_TYPE_LATEST)
