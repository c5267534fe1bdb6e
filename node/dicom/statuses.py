"""What the status of a store means: PS3.4 Table B.2-1, PS3.7 Annex C; STOW-RS uses the same codes, PS3.18 Table I.2-2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from node.errors import ErrorKind

_TRANSIENT, _PERMANENT, _OPERATOR = ErrorKind.TRANSIENT, ErrorKind.PERMANENT, ErrorKind.OPERATOR


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The verdict of a peer over one instance."""

    code: int
    meaning: str
    outcome: Literal["stored", "warning"] | ErrorKind

    @property
    def stored(self) -> bool:
        """Whether the peer says that it holds the instance, perhaps with reservations."""
        return self.outcome in ("stored", "warning")

    def __str__(self) -> str:
        return f"0x{self.code:04X} ({self.meaning})"


_EXACT: dict[int, tuple[str, Literal["stored", "warning"] | ErrorKind]] = {
    0x0000: ("success", "stored"),
    0x0001: ("optional attributes not supported", "warning"),
    0x0107: ("attribute list error", "warning"),
    # A full disk or a locked table, more often than not: worth another try.
    0x0110: ("processing failure", _TRANSIENT),
    # What it holds under this UID is counted when the destination is asked.
    0x0111: ("it holds this SOP Instance already", "warning"),
    0x0116: ("attribute value out of range", "warning"),
    0x0122: ("SOP class not supported", _OPERATOR),
    0x0124: ("not authorised", _OPERATOR),
    0x0213: ("resource limitation", _TRANSIENT),
    0xB000: ("stored with coerced attributes", "warning"),
    0xB006: ("stored with elements discarded", "warning"),
    0xB007: ("stored, does not match its SOP class", "warning"),
}

_RANGES: tuple[tuple[int, int, str, Literal["stored", "warning"] | ErrorKind], ...] = (
    (0xA700, 0xA7FF, "out of resources", _TRANSIENT),
    (0xA900, 0xA9FF, "data set does not match its SOP class", _PERMANENT),
    (0xB000, 0xBFFF, "stored with a warning", "warning"),
    (0xC000, 0xCFFF, "cannot understand the data set", _PERMANENT),
)


def store_status(code: int) -> StoreStatus:
    """The meaning of a C-STORE status, a STOW-RS failure reason (0008,1197) or a warning reason (0008,1196).

    A code that the standard does not know is a failure: nothing unknown counts as stored.
    """
    if code in _EXACT:
        return StoreStatus(code, *_EXACT[code])
    for first, last, meaning, outcome in _RANGES:
        if first <= code <= last:
            return StoreStatus(code, meaning, outcome)
    return StoreStatus(code, "failure", _PERMANENT)


def known_statuses() -> Iterator[tuple[str, str, str]]:
    """Each code or range that has a meaning of its own, as the standard writes it; its meaning; its outcome."""
    for code, (meaning, outcome) in _EXACT.items():
        yield f"{code:04X}H", meaning, outcome
    for first, last, meaning, outcome in _RANGES:
        yield f"{first:04X}H to {last:04X}H", meaning, outcome
    yield "any other", "failure", ErrorKind.PERMANENT
