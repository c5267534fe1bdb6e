"""The journey as stations, of records alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from node.audit import Event
from node.journey import State
from node.store.tables import AuditRecord
from node.web.timeline import timeline

START = datetime(2026, 1, 1, tzinfo=UTC)
TO_SENDING = [
    (Event.ARRIVAL, {}),
    (Event.COMPLETE, {"from": "receiving", "to": "complete"}),
    (Event.DECISION, {"from": "complete", "to": "queued"}),
    (Event.START, {"from": "queued", "to": "measuring"}),
    (Event.MEASUREMENT, {"from": "measuring", "to": "harmonizing"}),
    (Event.HARMONIZATION, {"from": "harmonizing", "to": "checking"}),
    (Event.CHECK, {"from": "checking", "to": "deriving"}),
    (Event.DERIVATION, {"from": "deriving", "to": "sending"}),
    (Event.TRANSMISSION, {"destination": "pacs", "begins": True}),
]
FAILED = (Event.FAILURE, {"from": "sending", "to": "waiting"})
RETRIED = (Event.RETRY, {"from": "waiting", "to": "queued"})


def told(state: State, *records: tuple[Event, dict[str, Any]]) -> tuple[str, str]:
    """The last station that is past, and the one that the series stands or works at."""
    rows = [
        AuditRecord(event=str(event), detail=detail, at=START + timedelta(seconds=number))
        for number, (event, detail) in enumerate(records)
    ]
    stations = timeline(state, rows)
    past = [station.name for station in stations if station.kind == "past"]
    here = [station.name for station in stations if station.kind in {"here", "stop"}]
    return past[-1], " ".join(here)


@pytest.mark.parametrize(
    ("state", "more", "expected"),
    [
        (State.SENDING, [], ("derived", "sent")),
        (State.WAITING, [FAILED], ("derived", "sent")),
        (State.QUEUED, [FAILED, RETRIED], ("derived", "measured")),
        (State.CONFIRMING, [(Event.TRANSMISSION, {"from": "sending", "to": "confirming"})], ("sent", "confirmed")),
    ],
)
def test_what_has_only_begun_to_be_sent_is_not_sent(state, more, expected):
    assert told(state, *TO_SENDING, *more) == expected
