"""Quiet time by a clock that nobody sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from node.quiet import Quiet

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clocks:
    """The machine's own clock, and a wall clock that is set at will."""

    def __init__(self) -> None:
        self.own_s, self.wall = 1000.0, NOON
        self.quiet = Quiet(lambda: self.own_s)

    def go(self, seconds: float) -> None:
        self.own_s += seconds
        self.wall += timedelta(seconds=seconds)

    def look(self, count: int, arrived: datetime) -> float:
        return self.quiet.look({7: (count, arrived)}, self.wall)[7]


def test_what_the_first_look_finds_is_as_old_as_the_wall_clock_says():
    assert Clocks().look(3, NOON - timedelta(seconds=25)) == 25


def test_it_grows_whatever_the_wall_clock_does():
    for days in (3, -3):
        clocks = Clocks()
        assert clocks.look(3, NOON) == 0
        clocks.go(1)
        clocks.wall += timedelta(days=days)
        assert clocks.look(3, NOON) == 1
        clocks.go(10)
        assert clocks.look(3, NOON) == 11


def test_what_came_since_the_last_look_is_no_older_than_that():
    clocks = Clocks()
    assert clocks.look(3, NOON) == 0
    clocks.go(2)
    arrived = clocks.wall - timedelta(seconds=0.5)
    clocks.wall += timedelta(days=3)
    assert clocks.look(4, arrived) == 2
    clocks.go(1)
    assert clocks.look(4, arrived) == 3


def test_what_is_dated_in_the_future_has_been_quiet_for_no_time():
    clocks = Clocks()
    assert clocks.look(3, NOON + timedelta(days=3)) == 0
    clocks.go(5)
    assert clocks.look(3, NOON + timedelta(days=3)) == 5


def test_one_that_is_no_longer_received_is_forgotten():
    clocks = Clocks()
    clocks.look(3, NOON)
    clocks.go(60)
    assert clocks.quiet.look({}, clocks.wall) == {}
    clocks.go(1)
    assert clocks.look(3, NOON) == 1
