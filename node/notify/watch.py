"""What needs a person now. Each kind is one problem, however many series it concerns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.audit import Event
from node.config import Config
from node.errors import ErrorKind
from node.journey import ACTIVE, State
from node.store import leases, watermark
from node.store.tables import AuditCursor, AuditHead, AuditRecord, Delivery, Job, Series
from node.store.watermark import Level

_DYING = timedelta(minutes=15)
_STARTS = 4  # of one worker in that time
_AWAKE = timedelta(minutes=3)  # a node that has run for so long must have a worker
_LATEST = 5000  # records that are looked through for starts
_AT_MOST = 1000  # keys of one problem


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a problem concerns."""

    key: str  # what tells it from others: a UID, a name
    what: str  # for people, and without what may name a patient
    reason: str = ""  # in the words of whoever reported it
    path: str = ""  # of its page


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that needs a person."""

    kind: str
    summary: str  # one line, without UIDs
    items: tuple[Item, ...]


def problems(session: Session, config: Config, now: datetime, awake_since: datetime) -> list[Problem]:
    """All there are at this moment, but for the audit chain, which takes longer to look at (`chain`)."""
    found = [_series(session, State.WAITING, "wait for a person"), _series(session, State.FAILED, "failed")]
    if config.notify.refused:
        found.append(_series(session, State.REFUSED, "were refused"))
    found += [
        _workers(session, config, now, awake_since),
        _disk(config),
        _destinations(session, now - timedelta(minutes=config.notify.stuck_min)),
        _audit_servers(session, config, now - timedelta(minutes=config.notify.stuck_min)),
    ]
    return [problem for problem in found if problem.items]


def chain(flaws: list[str]) -> list[Problem]:
    """What verifying the audit trail found."""
    if not flaws:
        return []
    items = tuple(Item(flaw, flaw) for flaw in flaws[:_AT_MOST])
    return [Problem("audit-chain", "the audit trail does not hold: see `harmonode audit verify`", items)]


def _series(session: Session, state: State, verb: str) -> Problem:
    rows = session.execute(
        sa.select(Series.id, Series.series_instance_uid, Series.error_kind, Series.reason)
        .where(Series.state == str(state))
        .order_by(Series.state_since.desc())
        .limit(_AT_MOST)
    ).all()
    items = tuple(
        Item(uid, f"series {uid}{f' ({kind})' if kind else ''}", reason or "", f"series/{row}")
        for row, uid, kind, reason in rows
    )
    return Problem(str(state), f"{len(items)} series {verb}", items)


def _workers(session: Session, config: Config, now: datetime, awake_since: datetime) -> Problem:
    """Workers that start again and again, and no worker at all. A worker that is stopped says so in the trail."""
    head = session.get(AuditHead, 1)
    starts = session.execute(
        sa.select(AuditRecord.actor, sa.func.count())
        .where(
            AuditRecord.seq > (head.seq if head else 0) - _LATEST,
            AuditRecord.event.concat("") == str(Event.START),  # not by the index of events, which has years of them
            AuditRecord.actor != "node",
            AuditRecord.series_instance_uid.is_(None),
            AuditRecord.at > now - _DYING,
        )
        .group_by(AuditRecord.actor)
        .having(sa.func.count() >= _STARTS)
    ).all()
    minutes = _DYING.total_seconds() / 60
    items = [
        Item(worker, f"worker {worker} started {count} times in {minutes:.0f} minutes: it dies")
        for worker, count in starts
    ]
    alive = {name for name in leases.alive(session, now) if ":" not in name}
    if config.process.workers and not alive and now - awake_since > _AWAKE:
        items.append(Item("none", "no worker is alive: nothing is harmonized"))
    return Problem("worker", "the workers do not stay alive", tuple(items))


def _disk(config: Config) -> Problem:
    space = watermark.look(config)
    low = space.level in {Level.WARN, Level.LOW, Level.STOP}
    return Problem("disk", "the disk fills up", (Item(str(space.level), space.message),) if low else ())


def _destinations(session: Session, before: datetime) -> Problem:
    """Destinations for which a series has been trying again since then."""
    rows = session.execute(
        sa.select(Job.id, Job.destinations, Series.reason)
        .join(Series, Series.id == Job.series_id)
        .where(
            Job.finished_at.is_(None),
            Job.derived_series_uid.is_not(None),
            Job.tries > 0,
            Series.error_kind == str(ErrorKind.TRANSIENT),
            Series.state.in_([str(state) for state in ACTIVE]),
            Series.state_since < before,
        )
    ).all()
    confirmed: defaultdict[str, set[str]] = defaultdict(set)
    jobs = [job for job, _, _ in rows]
    for job, name in session.execute(
        sa.select(Delivery.job_id, Delivery.destination).where(
            Delivery.job_id.in_(jobs), Delivery.confirmed_at.is_not(None)
        )
    ):
        confirmed[job].add(name)
    stuck: defaultdict[str, list[str]] = defaultdict(list)
    for job, names, reason in rows:
        for name in names:
            if name not in confirmed[job]:
                stuck[name].append(reason or "")
    items = tuple(
        Item(name, f"destination {name}: {len(reasons)} series try again and again", reasons[0])
        for name, reasons in sorted(stuck.items())
    )
    return Problem("destination", "derived series cannot be delivered", items)


def _audit_servers(session: Session, config: Config, before: datetime) -> Problem:
    def down() -> Iterator[Item]:
        for server in config.audit.servers:
            cursor = session.get(AuditCursor, server.name)
            if cursor is not None and cursor.down_since is not None and cursor.down_since < before:
                since = f"{cursor.down_since:%Y-%m-%d %H:%M} UTC"
                yield Item(
                    server.name, f"audit server {server.name} takes no messages since {since}", cursor.reason or ""
                )

    return Problem("audit-server", "audit messages wait in the trail", tuple(down()))
