"""What ends a worker: a step that hangs, a parent that is gone. A plugin's code cannot be interrupted within a thread."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)

EXIT_HUNG = 75
_GRACE_S = 30.0


@contextmanager
def time_limit(seconds: float, give_up: Callable[[], None]) -> Iterator[None]:
    """End the process when the block takes longer, after `give_up` recorded why.

    Code that hangs without releasing the interpreter keeps `give_up` from running too; the process then ends
    all the same, a little later, with its tracebacks on standard error, and counts as lost.
    """

    def expire() -> None:
        log.error("a step took too long, the worker ends", limit_s=seconds)
        try:
            give_up()
        except Exception:
            log.exception("what became of the step could not be recorded")
        os._exit(EXIT_HUNG)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(seconds + _GRACE_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()


def when_parent_ends(let_go: Callable[[], None], within_s: float = 1.0) -> None:
    """Call `let_go` and end the process when standard input closes: its other end is the parent's life line.

    The process ends even where `let_go` does not return in time.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        last = threading.Thread(target=let_go, daemon=True)
        last.start()
        last.join(within_s)
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()
