"""The queue of jobs: durable, in the node's own database, and the only module that knows DBOS.

A job is enqueued in the transaction that writes its row and its audit record, so a rollback leaves neither. DBOS
records which steps of a workflow are finished and starts the workflow again at the first that is not. What it carries
is the job's id and attempt alone: everything else is read from our tables.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import ParamSpec, TypeVar

from sqlalchemy.orm import Session

from node.store.session import Database
from node.store.tables import Job

NAME = "gpu"
POLL_S = 0.2

_APPLICATION = "harmonode"
# Part of every enqueued job: a worker takes only jobs of its own version. Change it when the steps of the workflow
# change in number or order, so that a worker never resumes a workflow that another release began.
_VERSION = "1"
_WORKFLOW = "job"
_ALIVE = ["ENQUEUED", "DELAYED", "PENDING"]
_EPOCH_S = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
POINT_S = 60  # what a point of priority is worth, in seconds of waiting

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Taken:
    """A workflow that a worker took and has not finished."""

    workflow_id: str
    executor_id: str

    @property
    def job_id(self) -> str:
        return self.workflow_id.rpartition("-")[0]


def prepare(url: str) -> None:
    """Create the queue's tables, or bring them up to date. Any number of processes may do so at once."""
    from dbos import DBOS  # here and below, as most commands never touch the queue

    _quiet()
    DBOS.migrate(url)


def workflow_id(job: Job) -> str:
    """The workflow of this attempt at a job. Another attempt is another workflow, so each is enqueued once."""
    return _workflow_id(job.id, job.attempt)


def _workflow_id(job_id: str, attempt: int) -> str:
    return f"{job_id}-{attempt}"


def _turn(job: Job) -> int:
    """The number that DBOS sorts by, 1 first: the second in which the job began to wait, moved ahead by its priority.

    So of two jobs that come together the higher goes first, and a flood of high priority holds up a lower one for a
    minute a point and no longer: what comes after that goes behind it. Another try keeps its place.
    """
    waits_since = job.starts_at or job.created_at
    return min(max(int(waits_since.timestamp() - _EPOCH_S) - POINT_S * job.priority, 1), 2**31 - 1)


class Queue:
    """The queue as those see it who put jobs in and look after them."""

    def __init__(self, database: Database) -> None:
        from dbos import DBOSClient

        prepare(database.url)
        self._client = DBOSClient(system_database_url=database.url, application_name=_APPLICATION)

    def enqueue(self, session: Session, job: Job, delay_s: float = 0.0) -> None:
        """Enqueue this attempt at a job in the caller's transaction, to start neither before `delay_s` from now nor
        before its `starts_at`.
        """
        from dbos import EnqueueOptions

        session.flush()  # a new job has its defaults only then
        options = EnqueueOptions(
            workflow_name=_WORKFLOW,
            queue_name=NAME,
            workflow_id=workflow_id(job),
            app_version=_VERSION,
            priority=_turn(job),
        )
        if job.starts_at is not None:
            delay_s = max(delay_s, (job.starts_at - datetime.now(UTC)).total_seconds())
        if delay_s > 0:
            options["delay_seconds"] = delay_s
        self._client.enqueue_in_transaction(session, options, job.id, job.attempt)

    def cancel(self, job: Job) -> None:
        """Drop a cancelled job from the queue. Call it after the transaction that cancelled the series.

        Only tidies: a worker drops a cancelled job by itself, and a running one notices between two slices.
        """
        self._client.cancel_workflow(workflow_id(job))

    def taken(self) -> list[Taken]:
        """What workers have in hand, whether they live or not."""
        pending = self._client.list_workflows(status="PENDING", queue_name=NAME, load_input=False, load_output=False)
        return [Taken(workflow.workflow_id, workflow.executor_id or "") for workflow in pending]

    def give_back(self, taken: Taken) -> None:
        """Put what a dead worker had in hand back into the queue."""
        self._client.resume_workflow(taken.workflow_id, queue_name=NAME)

    def put_off(self) -> dict[str, datetime]:
        """The workflows that wait for a time, and until when."""
        waiting = self._client.list_workflows(status="DELAYED", queue_name=NAME, load_input=False, load_output=False)
        return {
            workflow.workflow_id: datetime.fromtimestamp(workflow.delay_until_epoch_ms / 1000, UTC)
            for workflow in waiting
            if workflow.delay_until_epoch_ms is not None
        }

    def put_off_until(self, job: Job, until: datetime) -> None:
        """Let this attempt at a job, which waits for a time, wait for another."""
        self._client.set_workflow_delay(workflow_id(job), delay_until_epoch_ms=int(until.timestamp() * 1000))

    def known(self, jobs: Iterable[Job]) -> set[str]:
        """Ids of those jobs whose attempt still waits in the queue or is in a worker's hand."""
        by_workflow = {workflow_id(job): job.id for job in jobs}
        if not by_workflow:
            return set()
        alive = self._client.list_workflows(
            workflow_ids=list(by_workflow), status=_ALIVE, load_input=False, load_output=False
        )
        return {by_workflow[workflow.workflow_id] for workflow in alive}

    def close(self) -> None:
        self._client.destroy()


class Executor:
    """The queue as a worker sees it: takes one job at a time and runs it. One in a process.

    `run` gets the job's id and attempt. Its calls of `step` are recorded: where the worker dies, the next one calls
    `run` again, and steps that are finished return what they returned then.
    """

    def __init__(
        self, database: Database, executor_id: str, run: Callable[[str, int], None], poll_s: float = POLL_S
    ) -> None:
        self._url, self._executor_id, self._run, self._poll_s = database.url, executor_id, run, poll_s
        self.busy = threading.Lock()
        self.in_hand: set[str] = set()  # the workflows that run, or wait for the one that does

    def start(self) -> None:
        """Resume what this worker had in hand when it died, then take jobs."""
        from dbos import DBOS, DBOSClient, DBOSConfig

        _quiet()
        client = DBOSClient(system_database_url=self._url, application_name=_APPLICATION)
        client.register_queue(NAME, worker_concurrency=1, polling_interval_sec=self._poll_s)
        client.destroy()
        DBOS(
            config=DBOSConfig(
                name=_APPLICATION,
                system_database_url=self._url,
                application_version=_VERSION,
                executor_id=self._executor_id,
                log_level="WARNING",
                sys_db_pool_size=5,  # it runs one job and a few loops
            )
        )
        # No limit: the workflow counts lost workers itself and stops the series with the reason.
        DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)(partial(self._one_at_a_time))
        DBOS.listen_queues([NAME])
        DBOS.launch()

    def _one_at_a_time(self, job_id: str, attempt: int) -> None:
        workflow = _workflow_id(job_id, attempt)
        self.in_hand.add(workflow)
        try:
            # DBOS counts a job as running a moment after it took it: a busy machine saw two at once.
            with self.busy:
                self._run(job_id, attempt)
        finally:
            self.in_hand.discard(workflow)

    def stop(self) -> None:
        """Take no more jobs. A job in hand is not waited for: it must have been let go of before."""
        from dbos import DBOS

        DBOS.destroy(destroy_registry=True)


def step(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function as a recorded step of the running job; its result must be plain data."""
    from dbos import DBOS

    return DBOS.run_step({"name": name}, function, *args, **kwargs)


def _quiet() -> None:
    """Leave DBOS's messages to the handlers of the process; a logger without any gets one of DBOS's own."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.WARNING)
