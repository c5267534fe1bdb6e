"""What a person may ask of a series: try again, start now, stop."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.audit import Event, move, record
from node.errors import PermanentError
from node.journey import State
from node.queue import Queue
from node.store.jobs import delivered
from node.store.tables import Delivery, Instance, Job, Series

MOST_URGENT = 1000  # the greatest priority that a rule may have
RETRIED = frozenset({State.WAITING, State.FAILED, State.REFUSED, State.PASSED, State.CANCELLED})


def retry(session: Session, queue: Queue, series: Series, actor: str) -> None:
    """Try a series again in the caller's write transaction.

    Its unfinished job is enqueued anew; it keeps its measurement, and what was derived and delivered. A series without
    one meets the rules again.

    Raises:
        PermanentError: the series does not stand still, or is done, or some of its files left the disk.
    """
    here = State(series.state)
    if here not in RETRIED:
        raise PermanentError(f"series {series.series_instance_uid} is {here}: there is nothing to retry")
    removed = sa.select(sa.func.count()).where(Instance.series_id == series.id, Instance.removed_at.is_not(None))
    if gone := session.scalar(removed):
        raise PermanentError(
            f"{gone} of {series.instance_count} instances of series {series.series_instance_uid} left the disk "
            "(retention): send the whole series again"
        )
    job = session.scalar(sa.select(Job).where(Job.series_id == series.id).order_by(Job.round.desc()).limit(1))
    if here is State.PASSED or job is None or delivered(session, job):
        known = series.facts is not None and not series.facts.get("malformed")
        if job is not None and job.late == "wait":
            job.late = "harmonize"  # this person's decision, for what is late by now and for what may follow it
        there = State.COMPLETE if known else State.RECEIVING
        said = "meets the rules again" if known else "is looked at again"
        move(session, series, there, Event.RETRY, f"{actor} asked for another try: the series {said}", actor=actor)
        return
    job.attempt += 1
    job.tries = job.takeovers = job.progress_done = job.progress_total = 0
    job.executor_id = job.finished_at = None
    if here in {State.FAILED, State.REFUSED}:
        job.method = job.verdict = None  # what the plugin made is made anew, by whatever version there is now
    for delivery in session.scalars(
        sa.select(Delivery).where(Delivery.job_id == job.id, Delivery.confirmed_at.is_(None))
    ):
        delivery.sent_at, delivery.sends = None, 0
    move(
        session, series, State.QUEUED, Event.RETRY, f"{actor} asked for another try", actor=actor,
        detail={"job": job.id, "attempt": job.attempt},
    )  # fmt: skip
    queue.enqueue(session, job)


def start_now(session: Session, queue: Queue, series: Series, actor: str) -> None:
    """Let a queued series start as soon as a worker is free, before all others and outside the hours of its rule.

    Raises:
        PermanentError: the series is not queued.
    """
    if series.state != State.QUEUED:
        raise PermanentError(f"series {series.series_instance_uid} is {series.state}: only a queued one can be started")
    job = session.scalars(sa.select(Job).where(Job.series_id == series.id).order_by(Job.round.desc()).limit(1)).one()
    job.attempt += 1  # the attempt that waits in the queue is dropped by the worker that takes it
    job.window = job.starts_at = None
    job.priority = MOST_URGENT
    series.reason = f"{actor} asked for it to start now; it waits for a free worker"
    record(
        session, Event.DECISION, series.reason, actor=actor, series=series,
        detail={"job": job.id, "attempt": job.attempt},
    )  # fmt: skip
    queue.enqueue(session, job)


def cancel(session: Session, series: Series, actor: str) -> Job | None:
    """Stop a series where it stands, in the caller's write transaction. What was received is kept.

    Returns the job that was stopped, for `Queue.cancel` after the transaction. A running step notices within a slice.

    Raises:
        PermanentError: the series has come to rest already.
    """
    move(
        session, series, State.CANCELLED, Event.CANCELLATION, f"cancelled by {actor}; its instances are kept", actor=actor
    )  # fmt: skip
    job = session.scalar(
        sa.select(Job).where(Job.series_id == series.id, Job.finished_at.is_(None)).order_by(Job.round.desc()).limit(1)
    )
    if job is not None:
        job.finished_at = datetime.now(UTC)
    return job
