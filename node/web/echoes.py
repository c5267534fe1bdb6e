"""Whether the destinations can be reached: asked now and then by the clock, remembered until the next time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from node.config import Config, Destination
from node.errors import HarmonodeError
from node.send import echo

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Echo:
    """The last answer of a destination."""

    at: datetime
    reached: bool
    said: str


class Echoes:
    """The last echo of each destination, in memory."""

    def __init__(self, config: Config) -> None:
        self._destinations = config.destinations
        self._last: dict[str, Echo] = {}
        self._lock = threading.Lock()

    def sweep(self) -> None:
        """Ask every destination; they are asked at the same time, so that one that is down delays no other."""
        if self._destinations:
            with ThreadPoolExecutor(min(_AT_ONCE, len(self._destinations))) as pool:
                list(pool.map(self.ask, self._destinations))

    def ask(self, destination: Destination) -> Echo:
        """Ask one now."""
        try:
            found = Echo(datetime.now(UTC), reached=True, said=echo(destination))
        except HarmonodeError as error:
            found = Echo(datetime.now(UTC), reached=False, said=str(error))
        with self._lock:
            self._last[destination.name] = found
        return found

    @property
    def last(self) -> Mapping[str, Echo]:
        """By name; none of a destination that was not asked yet."""
        with self._lock:
            return dict(self._last)
