"""The journey of a series as a line of stations, read off its audit records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from node.audit import Event
from node.journey import State
from node.store.tables import AuditRecord

_STATIONS = (
    (Event.ARRIVAL, "received"),
    (Event.COMPLETE, "complete"),
    (Event.DECISION, "selected"),
    (Event.MEASUREMENT, "measured"),
    (Event.HARMONIZATION, "harmonized"),
    (Event.CHECK, "checked"),
    (Event.DERIVATION, "derived"),
    (Event.TRANSMISSION, "sent"),
    (Event.CONFIRMATION, "confirmed"),
)
_ORDER = [event for event, _name in _STATIONS]
# What a state works at; a series that stands has come to the one that its last move left.
_WORKS_AT = {
    State.RECEIVING: Event.COMPLETE,
    State.COMPLETE: Event.DECISION,
    State.QUEUED: Event.MEASUREMENT,
    State.MEASURING: Event.MEASUREMENT,
    State.HARMONIZING: Event.HARMONIZATION,
    State.CHECKING: Event.CHECK,
    State.DERIVING: Event.DERIVATION,
    State.SENDING: Event.TRANSMISSION,
    State.CONFIRMING: Event.CONFIRMATION,
}
_ENDS = frozenset({State.DONE, State.PASSED})


@dataclass(frozen=True, slots=True)
class Station:
    """One station of the journey."""

    name: str
    kind: str  # "past", "here", "stop", "ahead"
    at: datetime | None = None
    took: timedelta | None = None  # since the station before


def timeline(state: State, records: Iterable[AuditRecord]) -> list[Station]:
    """The stations, in their order; what a later round or another try does again counts as of then."""
    reached: dict[Event, datetime] = {}
    stopped_at: Event | None = None
    for record in records:
        event = Event(record.event)
        moved = record.detail.get("to")
        if moved is not None:
            _again(reached, State(moved))
            stopped_at = _WORKS_AT.get(State(record.detail.get("from", moved)), stopped_at)
        stands = State(moved or state) in {State.FAILED, State.WAITING, State.REFUSED}
        if event in _ORDER and not stands and not record.detail.get("begins"):
            reached[event] = record.at
    here = _WORKS_AT.get(state)
    stations = []
    before: datetime | None = None
    for event, name in _STATIONS:
        at = reached.get(event)
        took = at - before if at and before and at >= before else None
        kind = "past" if at else "ahead"
        if state not in _ENDS and here is None and event is stopped_at:
            kind = "stop"
        stations.append(Station(name, kind, at, took))
        before = at or before
    if here is not None:
        place = _ORDER.index(here)
        stations[place] = replace(stations[place], kind="here")
    return stations


def _again(reached: dict[Event, datetime], state: State) -> None:
    """Forget what lies ahead of a state that the series has come back to."""
    works_at = _WORKS_AT.get(state)
    if works_at is not None and state is not State.QUEUED:
        for event in _ORDER[_ORDER.index(works_at) :]:
            reached.pop(event, None)
