"""The memory of a worker between two series: kept while one follows another, given back when none does.

The system gives the hundreds of megabytes of a volume in fresh pages, which a virtual machine first has to get from its
host. That took 0.8 s for 300 slices, and filling the same pages once more 0.06 s.
"""

from __future__ import annotations

import ctypes
import time
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # mallopt(3)
_NEVER = -1
IDLE_S = 60.0


def keep() -> None:
    """Let what is freed stay with the process; where the C library is not glibc, nothing changes.

    To be called before a thread is started: each would have an arena of its own, which is not made for large pieces.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_ARENA_MAX, 1)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def give_back() -> None:
    """Give what is free to the system, malloc_trim(3)."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


class Keeper:
    """Gives back what is kept once the worker has had no job for a minute."""

    def __init__(self) -> None:
        self._worked_at, self._kept = time.monotonic(), False

    def look(self, *, busy: bool) -> None:
        """To be called every now and then."""
        if busy:
            self._worked_at, self._kept = time.monotonic(), True
        elif self._kept and time.monotonic() - self._worked_at >= IDLE_S:
            self._kept = False
            give_back()


@cache
def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
