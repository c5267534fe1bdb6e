"""How times, sizes, UIDs and quantities are written on the pages: the filters of the templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from node.journey import ACTIVE, TROUBLE, State
from node.plugin import Quantity

_HINT = re.compile(r"\s*(?:It waits for|Mend that, then) `harmonode series retry [^`]+`\.?\s*$")

_HU, _NOTHING = "[hnsf'U]", 5e-4  # what is less than a thousandth HU is rounding


def clock(at: datetime | None) -> str:
    """The time of this machine; with the date where it is not today."""
    if at is None:
        return ""
    local = at.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def hour(at: datetime | None) -> str:
    """The time of day of this machine, where the date is told elsewhere."""
    return f"{at.astimezone():%H:%M:%S}" if at else ""


def moment(at: datetime | None) -> str:
    """Date and time of this machine, whole."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}" if at else ""


def ago(at: datetime | None) -> str:
    """How long ago, as people say it."""
    if at is None:
        return "never"
    seconds = (datetime.now(UTC) - at).total_seconds()
    return "just now" if seconds < 10 else f"{duration(timedelta(seconds=seconds))} ago"


def duration(span: timedelta | float | None) -> str:
    """A span of time in its largest unit."""
    if span is None:
        return ""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float | None) -> str:
    """Bytes with a decimal prefix."""
    if count is None:
        return ""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}" if count < 1000 * scale else f"{count / scale:.0f} {unit}"
    return f"{count:.0f} B"


def short(uid: str | None) -> str:
    """The end of a UID, by which people tell two apart."""
    return "" if not uid else uid if len(uid) <= 20 else f"…{uid[-18:]}"


def quantity(stored: Mapping[str, Any] | None) -> str:
    """A stored quantity with its unit and interval; nothing where it is no number."""
    if not stored or stored.get("value") is None:
        return ""
    value = 0.0 if abs(stored["value"]) < _NOTHING and stored["unit"] == _HU else stored["value"]
    return str(Quantity(value, stored["unit"], stored.get("low"), stored.get("high"))).replace("-", "\N{MINUS SIGN}")


def reason(text: str | None) -> str:
    """Why a series stands, without the command that the page has a button for."""
    return _HINT.sub("", text or "")


def state_class(state: str) -> str:
    """How a state is drawn."""
    return "active" if State(state) in ACTIVE or state in (State.RECEIVING, State.COMPLETE) else state


def needs(state: str, kind: str | None) -> str:
    """What a person can do for a series that stands."""
    if State(state) not in TROUBLE:
        return ""
    if state == State.WAITING and kind == "transient":
        return "The node has given up trying by itself. See that what it names is back, then retry."
    if state == State.WAITING:
        return "Mend what it names, then retry."
    if state == State.FAILED:
        return (
            "Nothing was sent; the original is untouched. The node does not try again by itself: retry once the"
            " cause is gone, or cancel to have it off this list."
        )
    return "Nothing is to be done unless it should have been harmonized: then the sender must send it right."


FILTERS = {
    filter_.__name__: filter_
    for filter_ in (clock, hour, moment, ago, duration, size, short, quantity, reason, state_class)
}
