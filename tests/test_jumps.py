"""Jumps of the wall clock are seen, kept, and taken off ages."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from node import audit, jumps
from node.audit import Event
from node.jumps import Watch
from node.store.session import Database
from node.store.tables import AuditRecord

DAY = timedelta(days=1)
SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    real = time.time

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(time.time(), tz)

    monkeypatch.setattr(jumps, "datetime", Clock)
    return lambda by: monkeypatch.setattr(time, "time", lambda: real() + by.total_seconds())


def jump(database: Database, by: timedelta) -> None:
    with database.write() as session:
        jumps.witness(session, by.total_seconds())


def before(database: Database, cutoff: datetime) -> datetime:
    with database.read() as session:
        return jumps.before(session, cutoff)


def test_a_watch_tells_of_a_jump_until_it_is_dealt_with(set_clock: SetClock):
    watch = Watch()
    assert watch.moved_s() == 0
    set_clock(timedelta(seconds=1))
    assert watch.moved_s() == 0, "NTP mends as much"
    for by in (DAY, -DAY):
        set_clock(by)
        moved_s = watch.moved_s()
        assert watch.moved_s() == pytest.approx(moved_s)
        watch.seen(moved_s)
        assert watch.moved_s() == 0
    assert moved_s == pytest.approx(-2 * DAY.total_seconds(), abs=0.5)


def test_what_was_there_before_a_jump_forward_is_younger_than_it_seems(database: Database, set_clock: SetClock):
    now = datetime.now(UTC)
    set_clock(10 * DAY)
    jump(database, 10 * DAY)
    seems = now + 10 * DAY
    assert before(database, seems - 5 * DAY) == now - 5 * DAY
    assert before(database, seems + DAY) == seems + DAY, "what came after it is as old as it seems"


def test_what_is_taken_back_counts_no_more(database: Database, set_clock: SetClock):
    now = datetime.now(UTC)
    set_clock(10 * DAY)
    jump(database, 10 * DAY)
    set_clock(2 * DAY)
    jump(database, -8 * DAY)
    at = before(database, now)
    assert now - at == pytest.approx(2 * DAY, abs=timedelta(seconds=1))
    set_clock(timedelta())
    jump(database, -2 * DAY)
    assert before(database, now - DAY) == now - DAY


@given(days=st.lists(st.integers(-400, 400).filter(bool), max_size=6), keep=st.integers(1, 100))
def test_nothing_seems_as_old_as_it_is_not(days: list[int], keep: int):
    """A day passes after each jump. What was dated before them all is not older than the days that passed."""
    wall, records, truly = datetime(2026, 1, 1, tzinfo=UTC), [], 0
    dated = wall
    for by in days:
        wall += by * DAY
        records.append({"moved_s": by * DAY.total_seconds(), "to": wall.isoformat()})
        wall += DAY
        truly += 1

    class Trail:
        def scalars(self, _query: object) -> list[dict[str, object]]:
            return records[::-1]

    if truly < keep:
        assert dated > jumps.before(Trail(), wall - keep * DAY)  # type: ignore[arg-type]


def test_a_jump_that_came_while_no_node_ran_is_seen_at_the_next_start(database: Database, set_clock: SetClock):
    def start() -> None:
        with database.write() as session:
            jumps.witness_start(session)
            audit.record(session, Event.START, "the node started", detail={"clock": jumps.reading()})

    start()
    start()
    set_clock(-3 * DAY)
    start()
    start()
    with database.read() as session:
        (told,) = session.scalars(sa.select(AuditRecord.message).where(AuditRecord.event == str(Event.CLOCK)))
    assert told == "the clock was set back by 3 days, 0:00:00"


def test_another_running_of_the_machine_tells_nothing(database: Database, set_clock: SetClock):
    with database.write() as session:
        clock = {"boot": "another", "ahead_s": 0.0}
        audit.record(session, Event.START, "the node started", detail={"clock": clock})
        jumps.witness_start(session)
        assert session.scalar(sa.select(sa.func.count()).where(AuditRecord.event == str(Event.CLOCK))) == 0
