"""The clock: wakes sweeps that find their own work. It keeps no queue, so nothing is lost when it stops."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

log = structlog.get_logger(__name__)


class Clock:
    """Calls sweeps at intervals, each never twice at a time; one that was missed is made up for once."""

    def __init__(self) -> None:
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

    def stop(self) -> None:
        """Call no more sweeps, and wait for those that run."""
        self._scheduler.shutdown(wait=True)
