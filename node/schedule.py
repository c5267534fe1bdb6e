"""The clock: wakes sweeps that find their own work. It keeps no queue, so nothing is lost when it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

log = structlog.get_logger(__name__)


_LOOK_S = 1.0
_SET_BACK_S = 2.0  # more than the drift that is mended within a look


class Clock:
    """Calls sweeps at intervals, each never twice at a time; one that was missed is made up for once.

    Where the machine's clock is set back, the sweeps do not wait until it has caught up.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_the_time, name="clock", daemon=True)
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(4)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )

    def every(self, seconds: float, name: str, sweep: Callable[[], object]) -> None:
        """Call `sweep` every so many seconds, the first time at once. One that raises is logged and called again."""

        def run() -> None:
            try:
                sweep()
            except Exception:
                log.exception("a sweep failed and runs again at its next turn", sweep=name, interval_s=seconds)

        self._scheduler.add_job(run, "interval", seconds=seconds, name=name, next_run_time=datetime.now(UTC))

    def start(self) -> None:
        self._scheduler.start()
        self._watch.start()

    def stop(self) -> None:
        """Call no more sweeps, and wait for those that run."""
        self._stopping.set()
        self._scheduler.shutdown(wait=True)

    def _watch_the_time(self) -> None:
        ahead = time.time() - time.monotonic()
        while not self._stopping.wait(_LOOK_S):
            last, ahead = ahead, time.time() - time.monotonic()
            if ahead < last - _SET_BACK_S:
                log.warning("the clock was set back, the sweeps start anew", seconds=round(last - ahead))
                for job in self._scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(UTC))
