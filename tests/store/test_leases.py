"""Leases say who lives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from node.store import leases
from node.store.session import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_lease_holds_until_it_lapses_and_is_prolonged_by_renewal(database: Database):
    with database.write() as session:
        leases.renew(session, "worker-0", NOON, 60)
        leases.renew(session, "worker-1", NOON, 60)
    with database.write() as session:
        leases.renew(session, "worker-1", at(50), 60)
    with database.read() as session:
        assert leases.alive(session, at(59)) == {"worker-0", "worker-1"}
        assert leases.alive(session, at(60)) == {"worker-1"}
        assert leases.lapsed(session, at(60)) == {"worker-0"}


def test_a_released_lease_neither_holds_nor_lapses(database: Database):
    with database.write() as session:
        leases.renew(session, "worker-0", NOON, 60)
        leases.release(session, "worker-0")
    with database.read() as session:
        assert leases.alive(session, NOON) == leases.lapsed(session, at(99)) == set()


def test_a_sweep_is_held_by_one_until_it_is_released_or_lapses(database: Database):
    with database.write() as session:
        assert leases.acquire(session, "sweep", NOON, 30)
        assert not leases.acquire(session, "sweep", at(29), 30)
        assert leases.acquire(session, "sweep", at(30), 30)
        leases.release(session, "sweep")
        assert leases.acquire(session, "sweep", at(31), 30)


def test_a_lease_from_the_future_does_not_hold(database: Database):
    """The clock was set back: the dead are not alive until it has caught up."""
    with database.write() as session:
        leases.renew(session, "worker-0", at(3600), 60)
        assert leases.alive(session, NOON) == set()
        assert leases.acquire(session, "worker-0", NOON, 60)
        leases.renew(session, "elsewhere", at(50), 60)
        assert leases.alive(session, NOON) == {"worker-0", "elsewhere"}, "clocks differ a little"
