"""One job: the steps in their order, and what becomes of an error."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
import structlog

from node import audit
from node.audit import Event
from node.config import Retry
from node.dicom.codecs import CodecMissing
from node.errors import ErrorKind, HarmonodeError, InvalidObject, SeriesRefused
from node.journey import ACTIVE, WORKING, State
from node.queue import step
from node.rules.when import opens_later, waiting
from node.store.tables import Job, Series
from node.workflow.compute import check, harmonize, measure
from node.workflow.deliver import confirm, send
from node.workflow.derived import derive, lacking
from node.workflow.errors import classify
from node.workflow.hold import Hold
from node.workflow.watchdog import machine_mb, memory_limit, time_limit
from node.workflow.work import Context, Later, Stopped, Work

log = structlog.get_logger(__name__)

MAX_TAKEOVERS = 3  # a job that cost so many workers is stopped: it would cost the next one too

STEPS: dict[State, Callable[[Work], None]] = {
    State.MEASURING: measure,
    State.HARMONIZING: harmonize,
    State.CHECKING: check,
    State.DERIVING: derive,
    State.SENDING: send,
    State.CONFIRMING: confirm,
}

_REFUSES = (SeriesRefused, InvalidObject, CodecMissing)  # the series is at fault, and nothing else

R = TypeVar("R")


def run_job(context: Context, job_id: str, attempt: int) -> None:
    """Run the steps from where the series stands until it rests, or until a later try is due.

    It is run again from the start where a worker died. The first step is always `measuring`: a step whose state is
    passed only says where the series stands, so that recorded steps come in the same order again.
    """
    work = Work(context, job_id, attempt)
    if not _patiently(partial(_begin, work)):
        return
    state: str | None = State.MEASURING.value
    while state is not None:
        state = step(state, _attempt, work, state)


def _attempt(work: Work, name: str) -> str | None:
    """Do one step; returns the state that the series is in then, None where nothing is left to do."""
    state = State(name)
    here: State | None = None
    try:
        if work.state() == state:
            process = work.context.config.process
            limit_mb = process.memory_limit_mb or machine_mb() * 3 // 4 // max(process.workers, 1)
            with (
                time_limit(process.step_timeout_s, partial(_hung, work, state)),
                memory_limit(limit_mb, partial(_overgrown, work, state, limit_mb)),
            ):
                STEPS[state](work)
        here = work.state()
    except Stopped as stopped:
        log.info("job stopped", job=work.job_id, step=name, reason=str(stopped))
    except Later as later:
        _patiently(partial(_put_off, work, later))
    except Exception as error:  # noqa: BLE001
        _patiently(partial(_settle, work, state, error))
    _unless_ending(work.context)
    return here.value if here in WORKING else None


def _unless_ending(context: Context) -> None:
    """Leave without a result where the worker ends: the queue must not take the step or the job for finished."""
    if context.ending.is_set():
        raise SystemExit(f"worker {context.executor_id} ends")


def _begin(work: Work) -> bool:
    """Take the job, counting the workers lost with it; False where it is not to be done."""
    me = work.context.executor_id
    with work.context.database.write() as session:
        _unless_ending(work.context)
        job = session.get(Job, work.job_id)
        if job is None or job.attempt != work.attempt or job.finished_at is not None:
            return False
        held = Hold(session, job, session.get_one(Series, job.series_id), me)
        if State(held.series.state) not in ACTIVE:
            return False
        if State(held.series.state) is State.QUEUED and (later := opens_later(job.window, datetime.now(UTC))):
            _put_back(work, held, later)
            return False
        if job.executor_id is not None and not _take_over(held):
            return False
        job.executor_id = me
        job.started_at = job.started_at or datetime.now(UTC)
        if State(held.series.state) is State.QUEUED:
            first = _first_step(held)
            detail = {"job": job.id, "round": job.round, "attempt": job.attempt}
            audit.move(
                session, held.series, first, Event.START, f"{me} takes the job: {first}", actor=me, detail=detail
            )
    return True


def _put_back(work: Work, held: Hold, opens_at: datetime) -> None:
    """The hours of the rule ended before a worker was free: the job waits for the next ones."""
    job = held.job
    job.starts_at, job.executor_id = opens_at, None
    job.attempt += 1
    held.series.reason = waiting(job.window, opens_at, held.series.series_instance_uid)
    held.record(Event.DECISION, held.series.reason, {"job": job.id, "starts_at": opens_at.isoformat()})
    work.context.queue.enqueue(held.session, job)


def _take_over(held: Hold) -> bool:
    """Count a worker that died with the job, for a live one lets go of what it stops; False where it is one too many."""
    job, series = held.job, held.series
    job.takeovers += 1
    lost = f"worker {job.executor_id} was lost while the series was {series.state}"
    detail = {"takeovers": job.takeovers, "of": MAX_TAKEOVERS, "state": series.state}
    if job.takeovers < MAX_TAKEOVERS:
        held.record(Event.RETRY, f"{lost}; {held.actor} takes it up where it stood", detail)
        return True
    said = f"{lost}, the {MAX_TAKEOVERS}rd one with this job: it is not taken up until a person retries it"
    held.rest(State.FAILED, Event.FAILURE, said, kind=ErrorKind.PERMANENT, detail=detail)
    log.error("job stopped", job=job.id, series=series.series_instance_uid, reason=said)
    return False


def _first_step(held: Hold) -> State:
    """Where a queued job begins: a retry keeps what is checked and derived."""
    job = held.job
    if not job.method:
        return State.MEASURING
    if not (job.verdict and job.verdict["passed"]) or lacking(held.session, job, held.series):
        return State.HARMONIZING
    return State.SENDING


def _settle(work: Work, state: State, error: Exception) -> None:
    """Record an error and move the series to where it belongs; a fault that passes is tried again later."""
    kind, attempts = classify(error), work.context.config.process.retry.attempts
    ours = isinstance(error, HarmonodeError)
    said = str(error) if ours else f"{type(error).__name__}: {error}"
    detail = {"step": state.value, "error": type(error).__name__, "kind": kind.value}
    try:
        with work.transaction() as held:
            uid = held.series.series_instance_uid
            rest = partial(held.rest, kind=kind, detail=detail)
            if kind is ErrorKind.TRANSIENT and held.job.tries + 1 < attempts:
                _try_again(work, held, f"{state} failed: {said}", detail)
            elif kind is ErrorKind.TRANSIENT:
                times = f"{state} failed {held.job.tries + 1} times, at last: {said}"
                rest(State.WAITING, Event.FAILURE, f"{times}. It waits for `harmonode series retry {uid}`")
            elif kind is ErrorKind.OPERATOR:
                needs = f"{state} needs a person: {said}"
                rest(State.WAITING, Event.FAILURE, f"{needs}. Mend that, then `harmonode series retry {uid}`")
            elif isinstance(error, _REFUSES):
                rest(State.REFUSED, Event.REFUSAL, said)
            else:
                rest(State.FAILED, Event.FAILURE, f"{state} failed: {said}. The node does not try again by itself")
    except Stopped as stopped:
        log.info("job stopped", job=work.job_id, step=state.value, reason=str(stopped))
        return
    # Where it came from is of use only where the error is not one of the node's own.
    log.warning(
        "step failed", step=state.value, series=uid, kind=kind.value, reason=said, exc_info=None if ours else error
    )


def _try_again(work: Work, held: Hold, failed: str, detail: dict[str, str]) -> None:
    """Enqueue the next attempt for later: the worker is free meanwhile, and a restart does not forget it."""
    retry, job, series = work.context.config.process.retry, held.job, held.series
    job.tries += 1
    delay_s = backoff_s(retry, job.tries)
    due = (datetime.now(UTC) + timedelta(seconds=delay_s)).isoformat(timespec="seconds")
    series.reason = f"{failed} (try {job.tries} of {retry.attempts}, the next is due at {due})"
    series.error_kind = ErrorKind.TRANSIENT.value
    held.record(
        Event.RETRY,
        series.reason,
        {**detail, "try": job.tries, "of": retry.attempts, "delay_s": round(delay_s, 3), "due": due},
    )
    job.executor_id = None
    job.attempt += 1
    work.context.queue.enqueue(held.session, job, delay_s)


def _put_off(work: Work, later: Later) -> None:
    """Enqueue the next attempt for when what is waited for may have come; it is no failed try."""
    try:
        with work.transaction() as held:
            held.series.reason, held.job.executor_id = str(later), None
            held.job.attempt += 1
            work.context.queue.enqueue(held.session, held.job, later.delay_s)
    except Stopped as stopped:
        log.info("job stopped", job=work.job_id, reason=str(stopped))


def backoff_s(retry: Retry, tries: int) -> float:
    """Seconds until the next try after so many failed ones: exponential, with full jitter so that jobs spread out.

    Not below half of the first delay, lest a try follow at once.
    """
    ceiling_s = min(retry.first_delay_s * retry.factor ** (tries - 1), retry.max_delay_s)
    return random.uniform(min(retry.first_delay_s / 2, ceiling_s), ceiling_s)  # noqa: S311


def _hung(work: Work, state: State) -> None:
    """A step ran past its time. The process ends next, for nothing else ends a step."""
    _stop(work, state, f"{state} took longer than {work.context.config.process.step_timeout_s:g} s and was stopped")


def _overgrown(work: Work, state: State, limit_mb: int, used_mb: int) -> None:
    """A step used too much memory. The process ends next."""
    limit = f"{limit_mb} MiB are allowed (process.memory_limit_mb)"
    _stop(work, state, f"{state} used {used_mb} MiB of memory and was stopped: {limit}")


def _stop(work: Work, state: State, said: str) -> None:
    with work.transaction() as held:
        if State(held.series.state) is state:  # else it ended in the last moment
            held.rest(State.FAILED, Event.FAILURE, said, kind=ErrorKind.PERMANENT, detail={"step": state.value})


def _patiently(write: Callable[[], R]) -> R:
    """What becomes of a job must be written, else it would stay in a working state: wait for the database."""
    delay_s = 1.0
    while True:
        try:
            return write()
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            log.warning("the database does not answer, trying again", delay_s=delay_s, error=str(error))
            time.sleep(delay_s)
            delay_s = min(2 * delay_s, 30.0)
