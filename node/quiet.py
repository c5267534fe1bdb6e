"""How long series have been quiet, whatever happens to the wall clock meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime

from node.jumps import since_boot_s


@dataclass(frozen=True, slots=True)
class _Seen:
    """A series as it was when it was first seen to stand so."""

    stands: Hashable
    age_s: float  # then
    at_s: float


class Quiet:
    """Measures by the machine's own clock from one look to the next.

    What a look finds changed is no older than the look before. What the first look finds, when the node starts, is as old
    as the wall clock says.
    """

    def __init__(self, clock: Callable[[], float] = since_boot_s) -> None:
        self._clock = clock
        self._seen: dict[int, _Seen] = {}
        self._looked_at: float | None = None

    def look(self, series: Mapping[int, tuple[Hashable, datetime]], now: datetime) -> dict[int, float]:
        """Seconds of quiet: of each series how it stands, which changes when an instance comes, and since when."""
        clock = self._clock()
        most_s = float("inf") if self._looked_at is None else clock - self._looked_at
        self._looked_at = clock
        self._seen = {
            key: seen
            if (seen := self._seen.get(key)) and seen.stands == stands
            else _Seen(stands, min(max((now - since).total_seconds(), 0.0), most_s), clock)
            for key, (stands, since) in series.items()
        }
        return {key: seen.age_s + clock - seen.at_s for key, seen in self._seen.items()}
