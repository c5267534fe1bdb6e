"""Who tries wrong tokens waits: each failure from an address doubles its wait, for an hour."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

FREE = 5  # failures without a wait: people mistype
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 900.0
FORGET_S = 3600.0
_REMEMBERED = 10_000  # addresses; the oldest are forgotten first


@dataclass(slots=True)
class _Tries:
    failures: int
    last: float


class Throttle:
    """Failed tries by address, in memory."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """How long the address must wait until it may try again; 0 where it may."""
        with self._lock:
            tries = self._tries.get(address)
            if tries is None or tries.failures < FREE:
                return 0.0
            wait = min(FIRST_WAIT_S * 2.0 ** (tries.failures - FREE), LONGEST_WAIT_S)
            return max(0.0, tries.last + wait - time.monotonic())

    def failed(self, address: str) -> int:
        """Count a failure; returns how many there were within the hour."""
        now = time.monotonic()
        with self._lock:
            tries = self._tries.pop(address, None)
            if tries is None or now - tries.last > FORGET_S:
                tries = _Tries(0, now)
            tries.failures, tries.last = tries.failures + 1, now
            self._tries[address] = tries
            while len(self._tries) > _REMEMBERED:
                self._tries.popitem(last=False)
            return tries.failures

    def succeeded(self, address: str) -> None:
        """Forget the failures of an address."""
        with self._lock:
            self._tries.pop(address, None)
