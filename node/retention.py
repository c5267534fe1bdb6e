"""Retention: files leave the disk once they are delivered and past their age; what is not delivered never does.

A series goes whole: its received instances, listed in the spool as removed, and the instances derived from it. Its rows
stay, so that it is known when it comes again; so do its report and its pictures. What was refused, failed, waits or was
cancelled stays until a person decides. A sweep that is killed in the middle is simply done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from node import audit, jumps
from node.audit import Event
from node.config import Config
from node.journey import State
from node.store import leases, watermark
from node.store.session import Database
from node.store.spool import Spool, unlink
from node.store.tables import AuditRecord, Delivery, DerivedInstance, Instance, Job, Series, StructuredReport
from node.store.watermark import Level, Space

log = structlog.get_logger(__name__)

_LEASE, _LEASE_S = "sweep:retention", 300.0


@dataclass(frozen=True, slots=True)
class Going:
    """A series whose files are due to leave the disk."""

    series_id: int
    series_instance_uid: str
    state: State
    since: datetime  # it came to rest, or was last sent something
    instances: int
    size_bytes: int  # of what was received
    why: str


def sweep(config: Config, database: Database, now: datetime | None = None) -> int:
    """Tell how full the disk is, then remove what is due; returns how many series went. One node at a time does it.

    What goes early goes only at a sweep after the one that told of it, the longest delivered first, and no more than
    is needed.
    """
    now = now or datetime.now(UTC)
    with database.write() as session:
        if not leases.acquire(session, _LEASE, now, _LEASE_S):
            return 0
    try:
        low = tell(config, database) in {Level.LOW, Level.STOP}
        count = sum(remove(config, database, going) > 0 for going in due(config, database, now))
        if low:
            count += _make_room(config, database, now)
    finally:
        with database.write() as session:
            leases.release(session, _LEASE)
    return count


def tell(config: Config, database: Database) -> Level:
    """Log and audit where the free space has come to another level; returns the level that was told before."""
    space = watermark.look(config)
    told = told_level(database)
    if space.level is not told:
        detail = {"level": space.level, "was": told, "free_mb": space.free_mb}
        with database.write() as session:
            audit.record(session, Event.DISK, space.message, detail=detail)
        say = log.info if space.level is Level.OK else log.warning
        say("the free space came to another level", level=space.level, was=told, reason=space.message)
    return told


def told_level(database: Database) -> Level:
    """The level that the audit trail told last."""
    query = sa.select(AuditRecord.detail).where(AuditRecord.event == str(Event.DISK))
    with database.read() as session:
        last = session.scalar(query.order_by(AuditRecord.seq.desc()).limit(1))
    return Level(last["level"]) if last else Level.OK


def due(config: Config, database: Database, now: datetime) -> list[Going]:
    """What is past its age, the oldest first."""
    settings = config.retention
    found: list[Going] = []
    with database.read() as session:
        if settings.delivered_days is not None:
            cutoff = _cutoff(session, now, settings.delivered_days)
            found += _going(session, _delivered(cutoff), f"delivered, and older than {settings.delivered_days:g} days")
        if settings.passed_days is not None:
            cutoff = _cutoff(session, now, settings.passed_days)
            why = f"not selected by any rule, and older than {settings.passed_days:g} days"
            found += _going(session, _resting(State.PASSED, cutoff), why)
    return found


def unconfirmed(config: Config, database: Database, now: datetime) -> list[str]:
    """Series Instance UIDs that are done and past their age, and stay: a destination has not said that it holds them."""
    if config.retention.delivered_days is None:
        return []
    with database.read() as session:
        cutoff = _cutoff(session, now, config.retention.delivered_days)
        query = _resting(State.DONE, cutoff).where(~_confirmed())
        return list(session.scalars(query.with_only_columns(Series.series_instance_uid)))


def remove(config: Config, database: Database, going: Going, actor: str = "node") -> int:
    """Remove the files of one series; returns how many bytes that freed, 0 where it is no longer due.

    The write lock is held meanwhile, so that nobody takes the series up again.
    """
    spool = Spool(config.spool_dir, 0)
    now = datetime.now(UTC)
    with database.write() as session:
        series = session.get_one(Series, going.series_id)
        since = max(series.state_since, series.last_arrival_at)
        if (State(series.state), since) != (going.state, going.since) or series.removed_at is not None:
            return 0
        there = Instance.series_id == series.id, Instance.removed_at.is_(None)
        rows = session.execute(sa.select(Instance.path, Instance.sha256).where(*there))
        sources = {path: sha256 for path, sha256 in rows}  # noqa: C416 - rows are no pairs to a type checker
        made = [
            path
            for table in (DerivedInstance, StructuredReport)
            for path in session.scalars(
                sa.select(table.path).join(Job, Job.id == table.job_id).where(Job.series_id == series.id)
            )
        ]
        freed = spool.remove(sources) + sum(unlink(config.derived_dir / path) for path in made)
        session.execute(sa.update(Instance).where(*there).values(removed_at=now))
        series.removed_at = now
        message = f"the files left the disk, {len(sources)} received and {len(made)} derived: {going.why}"
        detail = {"received": len(sources), "derived": len(made), "freed_bytes": freed, "why": going.why}
        audit.record(session, Event.RETENTION, message, actor=actor, series=series, detail=detail)
    log.info("files left the disk", series=going.series_instance_uid, freed_mb=freed >> 20, why=going.why)
    return max(freed, 1)


def clean_work(config: Config, database: Database) -> int:
    """Remove what finished jobs left half made: it is made anew where a job is tried again. Returns how many files."""
    count = 0
    for path in list(config.derived_dir.glob("*/*.tmp")):
        with database.write() as session:  # so that nobody starts the job again meanwhile
            job = session.get(Job, path.parent.name)
            if job is not None and job.finished_at is None:
                continue
            size = unlink(path)
        log.info("removed what a finished job left half made", file=str(path), mb=size >> 20)
        count += 1
    return count


def _make_room(config: Config, database: Database, now: datetime) -> int:
    settings = config.retention
    if settings.delivered_days_when_low is None:
        return 0
    with database.read() as session:
        cutoff = _cutoff(session, now, settings.delivered_days_when_low)
        early = _going(session, _delivered(cutoff), "delivered, and the disk is low")
    count = 0
    for going in early:
        if _enough(space := watermark.look(config)):
            break
        count += remove(config, database, going) > 0
    else:
        space = watermark.look(config)
        if not _enough(space):
            log.error("the disk stays low: nothing more is delivered and old enough to go", reason=space.message)
    return count


def _cutoff(session: Session, now: datetime, days: float) -> datetime:
    """What is dated before it is so many days old, though the clock was set meanwhile."""
    return jumps.before(session, now - timedelta(days=days))


def _enough(space: Space) -> bool:
    return space.level in {Level.OK, Level.WARN}


def _going(session: Session, query: sa.Select[Any], why: str) -> Iterator[Going]:
    for series in session.scalars(query):
        held = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(Instance.size_bytes), 0)).where(
            Instance.series_id == series.id, Instance.removed_at.is_(None)
        )
        count, size = session.execute(held).one()
        since = max(series.state_since, series.last_arrival_at)
        yield Going(series.id, series.series_instance_uid, State(series.state), since, count, int(size), why)


def _resting(state: State, cutoff: datetime) -> sa.Select[Any]:
    return (
        sa.select(Series)
        .where(
            Series.state == str(state),
            Series.removed_at.is_(None),
            Series.last_arrival_at <= cutoff,
            Series.state_since <= cutoff,
        )
        .order_by(Series.last_arrival_at, Series.id)
    )


def _delivered(cutoff: datetime) -> sa.Select[Any]:
    return _resting(State.DONE, cutoff).where(_confirmed())


def _confirmed() -> sa.ColumnElement[bool]:
    """Whether every destination of the last round said that it holds the derived series, and there is one.

    The last round counts for all: it sends what an earlier one did not, and is confirmed by the whole series.
    """
    last = (
        sa.select(Job.id)
        .where(Job.series_id == Series.id)
        .order_by(Job.round.desc())
        .limit(1)
        .correlate(Series)
        .scalar_subquery()
    )
    of_it = sa.select(Delivery.id).where(Delivery.job_id == last)
    unsure = sa.or_(Delivery.confirmed_at.is_(None), Delivery.confirmed_count.is_(None))
    return sa.and_(of_it.exists(), ~of_it.where(unsure).exists())
