"""What a rule would have selected among past series, against what was selected then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from node.errors import PermanentError
from node.rules import load
from node.rules.match import InForce
from node.rules.replay import Change, Past, ask_again, on_trial, past_series, replay
from node.series import SeriesFacts, TagValues
from node.store.session import Database
from node.store.tables import Series

NOW = datetime(2026, 3, 1, tzinfo=UTC)
THIN = {"tag": "SliceThickness", "between": [None, 5]}
THICK = {"tag": "SliceThickness", "between": [5, None]}


def a_rule(name: str, match: object, **fields):
    return load.parse_rule({"name": name, "match": match, "plugin": "identity", **fields})


@pytest.fixture
def past(chest: SeriesFacts) -> Callable[..., Past]:
    """A past series of this slice thickness."""
    count = iter(range(1000))

    def make(mm: float, then: str | None = None, station: str = "CT1", **facts) -> Past:
        uid = f"1.2.{next(count)}"
        tags = {
            **chest.tags,
            "SliceThickness": TagValues((mm,)),
            "StationName": TagValues((station,)),
            "ProtocolName": TagValues(("Thorax",)),
        }
        known = replace(chest, series_instance_uid=uid, tags=tags, **facts)
        return Past("1.2", uid, NOW + timedelta(minutes=len(uid)), then, known)

    return make


def test_gained_lost_moved_and_same(past):
    rules = on_trial([InForce(a_rule("thin", THIN), 3, enabled=True)], [a_rule("thick", THICK, priority=1)])
    series = [past(8), past(4, "thick"), past(4, "thin"), past(8, "thin"), past(8, "thick"), past(1), past(8, "gone")]
    found = replay(series, rules, ["thick"])
    said = {one.series_instance_uid: (one.change, one.then, one.now) for one in found.outcomes}
    assert said == {
        "1.2.0": (Change.GAINED, None, "thick"),
        "1.2.1": (Change.MOVED, "thick", "thin"),
        "1.2.3": (Change.MOVED, "thin", "thick"),
        "1.2.4": (Change.SAME, "thick", "thick"),
        "1.2.6": (Change.MOVED, "gone", "thick"),
    }, "what another rule selected then and would now is not of this rule"
    assert found.looked_at == 7


def test_a_narrower_rule_says_what_it_loses_and_why(past):
    (lost,) = replay([past(8, "any")], on_trial([], [a_rule("any", THIN)]), ["any"]).of(Change.LOST)
    assert lost.now is None
    assert lost.why == "Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5"


def test_what_cannot_be_asked_is_counted(past):
    unknown = Past("1.2", "1.2.99", NOW, None, None)
    malformed = past(8, malformed=("a slice is missing",))
    derived = past(8, never=("it is derived",))
    found = replay([unknown, malformed, derived, past(8)], on_trial([], [a_rule("thick", THICK)]), ["thick"])
    assert (found.looked_at, found.lacking, found.malformed, found.never) == (4, 1, 1, 1)
    assert len(found.outcomes) == 1


def test_by_station_and_protocol_the_most_changed_first(past):
    series = [past(8, station="A"), past(8, "thick", station="B"), past(8, station="B"), past(8, station="B")]
    found = replay(series, on_trial([], [a_rule("thick", THICK)]), ["thick"])
    told = [(one.station, one.protocol, one.counts[Change.GAINED], one.counts[Change.SAME]) for one in found.groups]
    assert told == [("B", "Thorax", 2, 1), ("A", "Thorax", 1, 0)]
    data = json.loads(json.dumps(found.to_json()))
    assert (data["gained"], data["same"], data["lost"], data["moved"]) == (3, 1, 0, 0)
    assert {one["series_instance_uid"] for one in data["series"]} == {f"1.2.{n}" for n in range(4)}


def test_a_rule_on_trial_stands_in_its_own_place_and_is_asked_though_disabled():
    kept, off = InForce(a_rule("kept", THIN), 1, enabled=True), InForce(a_rule("off", THICK), 4, enabled=False)
    rules = on_trial([kept, off], [a_rule("off", THICK, enabled=False), a_rule("new", {"tag": "KVP", "equals": 80})])
    assert [(entry.rule.name, entry.version, entry.enabled) for entry in rules] == [
        ("kept", 1, True),
        ("off", 4, True),
        ("new", 0, True),
    ]


def test_past_series_are_those_that_met_the_rules(database: Database, chest: SeriesFacts):
    def add(session, uid: str, state: str, *, days: int = 1, decided: bool = True, known: bool = True) -> None:
        session.add(
            Series(
                study_instance_uid="1.2", series_instance_uid=uid, state=state, state_since=NOW, first_arrival_at=NOW,
                last_arrival_at=NOW - timedelta(days=days), calling_ae_title="CT1", called_ae_title="H",
                address="127.0.0.1", facts=chest.to_json() if known else None,
                explanation={"chosen": None} if decided else None, rule_name="thin" if decided else None,
            )
        )  # fmt: skip

    with database.write() as session:
        add(session, "done", "done")
        add(session, "old", "done", days=40)
        add(session, "arriving", "receiving", decided=False, known=False)
        add(session, "waiting", "complete", decided=False)
        add(session, "late", "receiving")
        add(session, "unknown", "refused", decided=False, known=False)
    with database.read() as session:
        found = {one.series_instance_uid: one for one in past_series(session, NOW - timedelta(days=30))}
        assert set(found) == {"done", "late", "unknown"}
        assert (found["done"].facts, found["done"].then) == (chest, "thin")
        assert found["unknown"].facts is None
        unknown = session.scalars(sa.select(Series).where(Series.series_instance_uid == "unknown")).one()
        with pytest.raises(PermanentError, match="nothing is known of series unknown"):
            ask_again(session, unknown)
        done = session.scalars(sa.select(Series).where(Series.series_instance_uid == "done")).one()
        assert ask_again(session, done, [a_rule("thick", THICK)]).chosen == "thick"
