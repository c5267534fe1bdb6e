"""A worker process: one job at a time, under a lock, a lease and the eyes of its parent."""

from __future__ import annotations

import fcntl
import gc
import os
import re
import signal
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

import sqlalchemy as sa
import structlog

from node import audit
from node.config import Config
from node.errors import ConfigError
from node.jumps import Watch
from node.queue import POLL_S, Executor, Queue
from node.store import leases
from node.store.session import Database, DatabaseGone
from node.store.tables import Job
from node.workflow import memory
from node.workflow.commitment import LONGEST_DELAY_S
from node.workflow.run import run_job
from node.workflow.takeover import Orphans, take_over
from node.workflow.watchdog import when_parent_ends
from node.workflow.work import Context, Steps

log = structlog.get_logger(__name__)

LEASE_S = 60.0  # longer than any wait for the database, so that a worker that lives is not taken for dead
EXIT_GONE = 74  # EX_IOERR
_LOOK_S = 1.0  # how often it is looked whether the database is there
_PATIENCE_S = 2.0  # a step that tells its progress notices within a slice that the worker ends


def run_worker(
    config: Config,
    database: Database,
    executor_id: str,
    steps: Steps,
    *,
    exit_with_parent: bool = False,
    poll_s: float = POLL_S,
    lease_s: float = LEASE_S,
) -> None:
    """Take jobs and do them, until SIGTERM or SIGINT; the main thread of the process must call it.

    With `exit_with_parent` the process also ends as soon as its standard input closes. A job in hand is let go of at
    every such end, and taken up where it stood by the next worker.
    """
    memory.keep()
    worker = Worker(config, database, executor_id, steps, poll_s=poll_s, lease_s=lease_s)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if exit_with_parent:
        when_parent_ends(worker.let_go)
    if not worker.start(stopping):
        return
    gc.freeze()  # as in `serve`: what the libraries made stays to the end
    stopping.wait()
    if not worker.stop():
        log.warning("worker ends in the middle of a step", worker=executor_id)
        os._exit(0)


class Worker:
    """A worker within this process; there can be one."""

    def __init__(
        self,
        config: Config,
        database: Database,
        executor_id: str,
        steps: Steps,
        *,
        poll_s: float = POLL_S,
        lease_s: float = LEASE_S,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", executor_id):
            raise ConfigError(f"a worker cannot be called {executor_id!r}: use letters, digits, dots, dashes")
        self.database, self.executor_id, self._lease_s = database, executor_id, lease_s
        self._retry = config.process.retry
        self._lock_path = config.data_dir / "workers" / f"{executor_id}.lock"
        self._lock: BinaryIO | None = None
        self._queue = Queue(database)
        self._ending = threading.Event()
        context = Context(config, database, self._queue, steps, executor_id, self._ending)
        self._executor = Executor(database, executor_id, partial(run_job, context), poll_s)
        self._orphans = Orphans(database, self._queue, executor_id)
        self._heartbeat = threading.Thread(target=self._beat, name="lease", daemon=True)

    def start(self, stopping: threading.Event) -> bool:
        """Wait until no other process has this name, then take jobs: first those that it had in hand.

        Returns False where `stopping` was set before that.
        """
        self._lock = self._wait_for_name(stopping)
        if self._lock is None:
            return False
        with self.database.write() as session:
            leases.renew(session, self.executor_id, datetime.now(UTC), self._lease_s)
            audit.record(
                session, audit.Event.START, f"worker {self.executor_id} started", actor=self.executor_id,
                detail={"pid": os.getpid()},
            )  # fmt: skip
        self._take_over()
        self._executor.start()
        self._heartbeat.start()
        log.info("worker started", worker=self.executor_id)
        return True

    def stop(self) -> bool:
        """Take no more jobs, let go of the one in hand and end.

        Returns False where a step does not notice within a moment: then only the end of the process ends it.
        """
        self.let_go()
        with self.database.write() as session:
            audit.record(session, audit.Event.STOP, f"worker {self.executor_id} stopped", actor=self.executor_id)
        if not self._executor.busy.acquire(timeout=_PATIENCE_S):
            return False
        self._executor.stop()
        self._executor.busy.release()
        self._heartbeat.join()
        self._queue.close()
        if self._lock is not None:
            self._lock.close()
        return True

    def let_go(self) -> None:
        """Give up the lease and the job in hand, so that it does not count as lost with this worker."""
        self._ending.set()
        if self._lock is None:  # lease and job are those of the process that has the name still
            return
        with self.database.write() as session:
            leases.release(session, self.executor_id)
            session.execute(
                sa.update(Job)
                .where(Job.executor_id == self.executor_id, Job.finished_at.is_(None))
                .values(executor_id=None)
            )

    def _take_over(self) -> None:
        longest_s = 2 * max(self._retry.max_delay_s, LONGEST_DELAY_S)
        take_over(self.database, self._queue, datetime.now(UTC), longest_s)

    def _wait_for_name(self, stopping: threading.Event) -> BinaryIO | None:
        """The lock on this worker's name; the system takes it from a process that ends, however that ends."""
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._lock_path.open("wb")
        waits = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    log.warning("another process has this worker's name, waiting for its end", worker=self.executor_id)
                waits = True
            else:
                return lock
            if stopping.wait(0.2):
                lock.close()
                return None

    def _beat(self) -> None:
        """Renew the lease and look after the jobs of the dead; a database that does not answer is asked again."""
        wall, keeper = Watch(), memory.Keeper()
        due = time.monotonic() + self._lease_s / 4
        while not self._ending.wait(min(_LOOK_S, self._lease_s / 4)):
            keeper.look(busy=self._executor.busy.locked())
            try:
                self.database.require_there()
                moved_s = wall.moved_s()
                if not moved_s and time.monotonic() < due:
                    continue
                with self.database.write() as session:
                    leases.renew(session, self.executor_id, datetime.now(UTC), self._lease_s)
                if moved_s:  # the leases of others seem lapsed until they have seen it too
                    wall.seen(moved_s)
                    due = time.monotonic() + 3 * _LOOK_S
                    continue
                due = time.monotonic() + self._lease_s / 4
                self._take_over()
                self._orphans.give_back(self._executor.in_hand)
            except DatabaseGone as error:
                log.critical("the worker ends", worker=self.executor_id, reason=str(error))
                os._exit(EXIT_GONE)
            except Exception:
                log.exception("the lease could not be renewed, it is tried again", worker=self.executor_id)
