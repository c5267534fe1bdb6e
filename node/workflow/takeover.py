"""Jobs of workers that died, and what the queue gave up, go back into the queue."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from node.journey import ACTIVE
from node.queue import Queue, Taken, workflow_id
from node.rules.when import opens_later
from node.store import leases
from node.store.session import Database
from node.store.tables import Job, Series

log = structlog.get_logger(__name__)

_LEASE = "sweep:takeover"
_LEASE_S = 30.0


def take_over(database: Database, queue: Queue, now: datetime, longest_s: float) -> int:
    """Put back what workers without a lease had in hand, and what the queue lost; returns how many jobs.

    `longest_s` is the longest that a job is put off for, but for the hours of its rule. One that is put off for longer
    was so before the clock was set back, and is due.

    Any worker, on any machine, may run it at any time: one does at a time.
    """
    with database.write() as session:
        if not leases.acquire(session, _LEASE, now, _LEASE_S):
            return 0
    try:
        _hasten(database, queue, now, timedelta(seconds=longest_s))
        return _give_back(database, queue, now) + _enqueue_lost(database, queue)
    finally:
        with database.write() as session:
            leases.release(session, _LEASE)


class Orphans:
    """What the queue takes to be in this worker's hand, and is not.

    Where the database goes between two steps the queue gives a workflow up, and cannot write that it did. It would count
    as running for as long as this worker lives, and keep it from every other job.
    """

    def __init__(self, database: Database, queue: Queue, executor_id: str) -> None:
        self._database, self._queue, self._executor_id = database, queue, executor_id
        self._seen: set[Taken] = set()

    def give_back(self, in_hand: Collection[str]) -> None:
        """Put back what was so at the last look too, for a job that was just taken may not have begun."""
        mine = {one for one in self._queue.taken() if one.executor_id == self._executor_id}
        now = {one for one in mine if one.workflow_id not in in_hand}
        orphans, self._seen = now & self._seen, now - self._seen
        for one in orphans:
            log.warning("a job was given up while the database was away, it goes back into the queue", job=one.job_id)
            with self._database.write() as session:  # no worker was lost with it
                mine_still = sa.update(Job).where(Job.id == one.job_id, Job.executor_id == self._executor_id)
                session.execute(mine_still.values(executor_id=None))
            self._queue.give_back(one)


def _give_back(database: Database, queue: Queue, now: datetime) -> int:
    taken = queue.taken()
    with database.read() as session:
        alive = leases.alive(session, now)
    dead = [one for one in taken if one.executor_id not in alive]
    for one in dead:
        log.warning("a worker is gone, its job goes back into the queue", worker=one.executor_id, job=one.workflow_id)
        queue.give_back(one)
    return len(dead)


def _unfinished() -> sa.Select[Any]:
    return (
        sa.select(Job)
        .join(Series, Series.id == Job.series_id)
        .where(Job.finished_at.is_(None), Series.state.in_([str(state) for state in ACTIVE]))
    )


def _hasten(database: Database, queue: Queue, now: datetime, longest: timedelta) -> None:
    put_off = {uid: until for uid, until in queue.put_off().items() if until > now + longest}
    if not put_off:
        return
    with database.read() as session:
        jobs = [job for job in session.scalars(_unfinished()) if workflow_id(job) in put_off]
    for job in jobs:
        due = opens_later(job.window, now) or now
        if put_off[workflow_id(job)] > due:
            log.warning("a job was put off beyond its time, the clock was set back", job=job.id, due=str(due))
            queue.put_off_until(job, due)


def _enqueue_lost(database: Database, queue: Queue) -> int:
    """An unfinished job of an active series must be in the queue or in hand; one that is neither is enqueued anew."""
    unfinished = _unfinished()
    with database.read() as session:
        jobs = session.scalars(unfinished).all()
    known = queue.known(jobs)
    lost = {job.id: job.attempt for job in jobs if job.id not in known}
    if not lost:
        return 0
    count = 0
    with database.write() as session:
        for job in session.scalars(unfinished.where(Job.id.in_(lost))):
            if job.attempt == lost[job.id]:
                log.warning("a job was lost from the queue and is enqueued anew", job=job.id)
                job.attempt += 1
                queue.enqueue(session, job)
                count += 1
    return count
