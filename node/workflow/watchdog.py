"""What ends a worker: a step that hangs or eats all memory, a parent that is gone. A plugin's code cannot be interrupted within a thread."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from node.workflow import memory

log = structlog.get_logger(__name__)

EXIT_HUNG = 75
EXIT_OVERGROWN = 76
_GRACE_S = 30.0
_LOOK_S = 0.05  # a plugin can fill a hundred megabytes meanwhile
_STATM = Path("/proc/self/statm")


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


@contextmanager
def memory_limit(limit_mb: int, give_up: Callable[[int], None]) -> Iterator[None]:
    """End the process when its resident memory grows above the limit within the block, after `give_up` recorded why.

    Not RLIMIT_AS: torch and CUDA reserve many times the memory that they use. Without /proc there is no limit; code that
    allocates without releasing the interpreter is left to the system's own limit, and then counts as lost.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            if resident_mb() <= limit_mb:
                continue
            memory.give_back()  # what the series before left is not this step's
            used_mb = resident_mb()
            if used_mb <= limit_mb:
                continue
            log.error("a step used too much memory, the worker ends", limit_mb=limit_mb, used_mb=used_mb)
            # The step may eat what is left before its end is recorded.
            last = threading.Thread(target=_or_log, args=(give_up, used_mb), daemon=True)
            last.start()
            last.join(_GRACE_S)
            os._exit(EXIT_OVERGROWN)

    if _STATM.exists():
        threading.Thread(target=watch, name="memory", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _or_log(give_up: Callable[[int], None], used_mb: int) -> None:
    try:
        give_up(used_mb)
    except Exception:
        log.exception("what became of the step could not be recorded")


def resident_mb() -> int:
    """Memory that this process holds, MiB."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20


def machine_mb() -> int:
    """Memory of the machine, MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >> 20


def when_parent_ends(let_go: Callable[[], None], within_s: float = 5.0) -> None:
    """Call `let_go` and end the process when standard input closes: its other end is the parent's life line.

    The process ends even where `let_go` does not return in time, and counts as lost then: a busy machine or database
    may take seconds over it.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        last = threading.Thread(target=let_go, daemon=True)
        last.start()
        last.join(within_s)
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()
