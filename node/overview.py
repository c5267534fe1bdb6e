"""What goes on in the node at one moment: the queries behind `harmonode top` and the web page's first view.

Both show the same numbers because both ask here. Frozen records come back, and no row of the database; lists are cut
at so many lines, and say how many there are in all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from node.config import Config
from node.journey import TROUBLE, WORKING, State
from node.store.tables import Delivery, Instance, Job, Lease, Series

_RATE = timedelta(minutes=5)
_REMEMBERED = timedelta(days=1)  # a worker whose lease lapsed longer ago is not shown as dead but forgotten
# Large JSON that no line shows: it would be read and parsed every second.
_UNSEEN = tuple(
    defer(column)
    for column in (
        Series.facts,
        Series.explanation,
        Job.measurement,
        Job.method,
        Job.verdict,
        Job.report,
        Job.parameters,
    )
)
_OF_SERIES = _UNSEEN[:2]
# What waits for a person comes first: a refused series was answered, and nothing more happens to it.
_URGENCY = (State.WAITING, State.FAILED, State.REFUSED)


@dataclass(frozen=True, slots=True)
class Arriving:
    """A series that receives instances, or is complete and about to meet the rules."""

    series_instance_uid: str
    study_instance_uid: str
    state: State
    calling_ae_title: str
    instances: int
    expected: int | None  # where the sender told
    first_arrival_at: datetime
    last_arrival_at: datetime


@dataclass(frozen=True, slots=True)
class Queued:
    """A series whose job waits for a worker."""

    series_instance_uid: str
    study_instance_uid: str
    instances: int
    rule: str
    plugin: str
    priority: int
    since: datetime
    tries: int  # failed ones of the step it stands at
    reason: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """A series that a worker has in hand."""

    series_instance_uid: str
    study_instance_uid: str
    state: State
    done: int  # slices or instances of this step
    total: int  # 0 where the step does not count
    worker: str | None  # None: between two tries, or its worker was lost and no other has it yet
    plugin: str
    started_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A series that stands because something is wrong."""

    series_instance_uid: str
    study_instance_uid: str
    state: State
    since: datetime
    kind: str | None  # errors.ErrorKind
    reason: str


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker by its lease."""

    name: str
    alive: bool
    renewed_at: datetime
    series_instance_uid: str | None  # what it has in hand


@dataclass(frozen=True, slots=True)
class At:
    """How a destination of the configuration fares."""

    name: str
    kind: str
    last_sent_at: datetime | None
    last_confirmed_at: datetime | None
    unfinished: int  # jobs under way that have not been confirmed there


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of `data_dir`, in bytes."""

    total: int
    free: int
    reserve: int  # less than this free, and stores are refused

    @property
    def used_share(self) -> float:
        return 1 - self.free / self.total if self.total else 1.0

    @property
    def full(self) -> bool:
        return self.free < self.reserve


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast things go, over the last five minutes and the last hour."""

    instances_per_min: float
    mb_per_s: float  # of 10^6 bytes
    series_done_last_hour: int


@dataclass(frozen=True, slots=True)
class Today:
    """Since midnight of this machine."""

    instances: int
    arrived: int  # series whose first instance came
    done: int
    refused: int
    failed: int


@dataclass(frozen=True, slots=True)
class Overview:
    """One moment, consistent in itself."""

    at: datetime
    counts: dict[State, int]  # series by state; every state is there
    arriving: tuple[Arriving, ...]  # the newest first
    queued: tuple[Queued, ...]  # in the order in which they will be taken
    running: tuple[Running, ...]
    trouble: tuple[Trouble, ...]  # what waits for a person first, then the newest
    workers: tuple[Worker, ...]
    destinations: tuple[At, ...]
    today: Today
    rates: Rates
    disk: Disk

    def total(self, *states: State) -> int:
        """How many series are in these states."""
        return sum(self.counts[state] for state in states)


def overview(session: Session, config: Config, *, limit: int = 20, now: datetime | None = None) -> Overview:
    """Look at the node within one read transaction (`Database.read`), at most `limit` lines a list."""
    now = now or datetime.now(UTC)
    counted = dict(session.execute(sa.select(Series.state, sa.func.count()).group_by(Series.state)).all())
    return Overview(
        at=now,
        counts={state: counted.get(str(state), 0) for state in State},
        arriving=tuple(_arriving(session, limit)),
        queued=tuple(_queued(session, limit)),
        running=tuple(_running(session, limit)),
        trouble=tuple(_trouble(session, limit)),
        workers=tuple(_workers(session, now)),
        destinations=tuple(_at(session, destination.name, destination.kind) for destination in config.destinations),
        today=_today(session, now),
        rates=_rates(session, now),
        disk=disk_of(config),
    )


def _arriving(session: Session, limit: int) -> list[Arriving]:
    rows = session.scalars(
        sa.select(Series)
        .where(Series.state.in_([str(State.RECEIVING), str(State.COMPLETE)]))
        .order_by(Series.last_arrival_at.desc())
        .limit(limit)
        .options(*_OF_SERIES)
    )
    return [
        Arriving(
            row.series_instance_uid, row.study_instance_uid, State(row.state), row.calling_ae_title,
            row.instance_count, row.expected_count, row.first_arrival_at, row.last_arrival_at,
        )
        for row in rows
    ]  # fmt: skip


def _with_jobs(states: Sequence[State]) -> sa.Select[Series, Job]:
    """Series in these states, each with the job of its last round."""
    last = sa.select(sa.func.max(Job.round)).where(Job.series_id == Series.id).correlate(Series).scalar_subquery()
    return (
        sa.select(Series, Job)
        .join(Job, sa.and_(Job.series_id == Series.id, Job.round == last))
        .where(Series.state.in_([str(state) for state in states]))
        .options(*_UNSEEN)
    )


def _queued(session: Session, limit: int) -> list[Queued]:
    query = _with_jobs([State.QUEUED]).order_by(Job.priority.desc(), Series.state_since).limit(limit)
    return [
        Queued(
            series.series_instance_uid, series.study_instance_uid, series.instance_count, job.rule_name, job.plugin,
            job.priority, series.state_since, job.tries, series.reason,
        )
        for series, job in session.execute(query)
    ]  # fmt: skip


def _running(session: Session, limit: int) -> list[Running]:
    query = _with_jobs(WORKING).order_by(Job.started_at).limit(limit)
    return [
        Running(
            series.series_instance_uid, series.study_instance_uid, State(series.state), job.progress_done,
            job.progress_total, job.executor_id, job.plugin, job.started_at, series.reason,
        )
        for series, job in session.execute(query)
    ]  # fmt: skip


def _trouble(session: Session, limit: int) -> list[Trouble]:
    urgency = sa.case({str(state): place for place, state in enumerate(_URGENCY)}, value=Series.state)
    rows = session.scalars(
        sa.select(Series)
        .where(Series.state.in_([str(state) for state in TROUBLE]))
        .order_by(urgency, Series.state_since.desc())
        .limit(limit)
        .options(*_OF_SERIES)
    )
    return [
        Trouble(
            row.series_instance_uid, row.study_instance_uid, State(row.state), row.state_since, row.error_kind,
            row.reason or "",
        )
        for row in rows
    ]  # fmt: skip


def _workers(session: Session, now: datetime) -> list[Worker]:
    in_hand = dict(
        session.execute(
            sa.select(Job.executor_id, Series.series_instance_uid)
            .join(Series, Series.id == Job.series_id)
            .where(Job.finished_at.is_(None), Job.executor_id.is_not(None))
        ).all()
    )
    leases = session.scalars(
        sa.select(Lease)
        # Leases with a colon are those of sweeps.
        .where(Lease.executor_id.not_like("%:%"), Lease.expires_at > now - _REMEMBERED)
        .order_by(Lease.executor_id)
    )
    return [
        Worker(lease.executor_id, lease.expires_at > now, lease.renewed_at, in_hand.get(lease.executor_id))
        for lease in leases
    ]


def _at(session: Session, name: str, kind: str) -> At:
    # One greatest value a query: each is then the end of an index.
    sent = session.scalar(sa.select(sa.func.max(Delivery.sent_at)).where(Delivery.destination == name))
    confirmed = session.scalar(sa.select(sa.func.max(Delivery.confirmed_at)).where(Delivery.destination == name))
    under_way = session.execute(
        sa.select(Job.destinations, Delivery.confirmed_at)
        .outerjoin(Delivery, sa.and_(Delivery.job_id == Job.id, Delivery.destination == name))
        .where(Job.finished_at.is_(None))
    )
    return At(name, kind, sent, confirmed, sum(name in names and at is None for names, at in under_way))


def _today(session: Session, now: datetime) -> Today:
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)

    def series(*conditions: sa.ColumnElement[bool]) -> int:
        return session.scalar(sa.select(sa.func.count()).select_from(Series).where(*conditions)) or 0

    def reached(state: State) -> int:
        return series(Series.state == str(state), Series.state_since >= midnight)

    instances = session.scalar(sa.select(sa.func.count()).select_from(Instance).where(Instance.received_at >= midnight))
    return Today(
        instances or 0,
        series(Series.first_arrival_at >= midnight),
        reached(State.DONE),
        reached(State.REFUSED),
        reached(State.FAILED),
    )


def _rates(session: Session, now: datetime) -> Rates:
    count, size = session.execute(
        sa.select(sa.func.count(), sa.func.sum(Instance.size_bytes)).where(Instance.received_at > now - _RATE)
    ).one()
    done = session.scalar(
        sa.select(sa.func.count(Job.id))
        .join(Series, Series.id == Job.series_id)
        .where(Job.finished_at > now - timedelta(hours=1), Series.state == str(State.DONE))
    )
    seconds = _RATE.total_seconds()
    return Rates(60 * count / seconds, float(size or 0) / 1e6 / seconds, done or 0)


def disk_of(config: Config) -> Disk:
    folder = config.data_dir.resolve()
    while not folder.exists():  # the node has not been started yet
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return Disk(usage.total, usage.free, config.receive.disk_reserve_mb << 20)
