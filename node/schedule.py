"""The clock: wakes sweeps that find their own work. It keeps no queue, so nothing is lost when it stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from node.jumps import Watch

log = structlog.get_logger(__name__)


_LOOK_S = 1.0


class Clock:
    """Calls sweeps at intervals, each never twice at a time; one that was missed is made up for once.

    Where the machine's wall clock is set, `jumped` is told by how many seconds before any other sweep begins, and the
    sweeps do not wait until a clock that was set back has caught up.
    """

    def __init__(self, jumped: Callable[[float], object] = lambda _: None) -> None:
        self._jumped, self._wall, self._looking = jumped, Watch(), threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_the_time, name="clock", daemon=True)
        self._threads = ThreadPoolExecutor(4)
        self._scheduler = BackgroundScheduler(
            executors={"default": self._threads},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )

    def every(self, seconds: float, name: str, sweep: Callable[[], object]) -> None:
        """Call `sweep` every so many seconds, the first time at once. One that raises is logged and called again."""

        def run() -> None:
            try:
                self._look()
                sweep()
            except Exception:
                log.exception("a sweep failed and runs again at its next turn", sweep=name, interval_s=seconds)

        self._scheduler.add_job(run, "interval", seconds=seconds, name=name, next_run_time=datetime.now(UTC))

    def sooner(self, name: str, seconds: float) -> None:
        """Call the sweep of that name in so many seconds, unless its turn comes before that."""
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        for job in self._scheduler.get_jobs():
            if job.name == name and (job.next_run_time is None or job.next_run_time > at):
                with suppress(JobLookupError):  # the clock stops
                    job.modify(next_run_time=at)

    def start(self) -> None:
        self._scheduler.start()
        self._watch.start()

    def stop(self) -> None:
        """Call no more sweeps, and wait for those that run."""
        self._stopping.set()
        # Not `wait=True`: the scheduler would wait with a lock in its hand that a sweep needs to look at the clock.
        self._scheduler.shutdown(wait=False)
        self._threads.shutdown(wait=True)

    def _watch_the_time(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                self._look()
            except Exception:
                log.exception("that the clock was set could not be told, it is tried again")

    def _look(self) -> None:
        with self._looking:
            moved_s = self._wall.moved_s()
            if not moved_s:
                return
            if moved_s < 0:
                for job in self._scheduler.get_jobs():
                    with suppress(JobLookupError):
                        job.modify(next_run_time=datetime.now(UTC))
            self._jumped(moved_s)
            self._wall.seen(moved_s)
