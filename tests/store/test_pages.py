"""Lists by key: every row once, in order, whatever is asked for."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from postgres import Postgres

from node.audit import Event, record
from node.journey import State
from node.store import pages
from node.store.session import Database, upgrade
from node.store.tables import AuditRecord, Series

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Undone(Exception):
    """Raised so that a transaction leaves nothing."""


@pytest.fixture(scope="module")
def on_postgres():
    server = Postgres("pages")
    upgrade(server.url)
    database = Database(server.url)
    yield database
    database.close()
    server.close()


@pytest.fixture(params=["SQLite", "Postgres, record by record", "Postgres, by its index"])
def session(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Twelve series, of which many arrived at one moment, and their audit records."""
    if request.param == "Postgres, by its index":  # but for the newest two
        monkeypatch.setattr(pages, "_READ_ONE_BY_ONE", 2)
    database = request.getfixturevalue("database" if request.param == "SQLite" else "on_postgres")
    with suppress(Undone), database.write() as session:
        for index in range(12):
            series = Series(
                study_instance_uid=f"1.7.{index // 2}", series_instance_uid=f"1.9.{index}",
                state=str(State.DONE if index % 3 else State.WAITING), state_since=NOW, first_arrival_at=NOW,
                last_arrival_at=NOW + timedelta(hours=index // 5), calling_ae_title="CT1" if index % 2 else "CT2",
                called_ae_title="H", address="", rule_name="lung" if index > 5 else None,
            )  # fmt: skip
            session.add(series)
            session.flush()
            event = Event.ARRIVAL if index % 2 else Event.DECISION
            record(session, event, f"Instance 1.9.{index} came 100 % from_{index}", actor="node", series=series)
        yield session
        raise Undone


def through(page, **asked) -> list:
    """All rows, page by page."""
    rows, before = [], None
    while True:
        found = page(before=before, limit=4, **asked)
        rows += found.rows
        if found.next is None:
            return rows
        before = found.next


class TestSeries:
    def uids(self, session, **asked) -> list[int]:
        rows = through(lambda **more: pages.series_page(session, **more), **asked)
        return [int(row.series_instance_uid.rpartition(".")[2]) for row in rows]

    def test_every_series_once_the_newest_first(self, session):
        assert self.uids(session) == list(range(11, -1, -1))

    @pytest.mark.parametrize(
        ("asked", "holds"),
        [
            ({"states": [State.WAITING]}, lambda n: n % 3 == 0),
            ({"states": [State.WAITING, State.DONE]}, lambda n: True),
            ({"rule": "lung", "calling_ae_title": "CT1"}, lambda n: n > 5 and n % 2),
            ({"uid": "9.1"}, lambda n: n in {1, 10, 11}),
            ({"uid": "1.7.2"}, lambda n: n in {4, 5}),
            ({"uid": "%"}, lambda n: False),
            ({"since": NOW + timedelta(hours=1)}, lambda n: n >= 5),
        ],
    )
    def test_what_is_asked_for(self, session, asked, holds):
        assert self.uids(session, **asked) == [n for n in range(11, -1, -1) if holds(n)]

    def test_states_are_counted(self, session):
        counts = pages.states(session)
        assert (counts[State.WAITING], counts[State.DONE], counts[State.QUEUED]) == (4, 8, 0)
        assert set(counts) == set(State)


class TestAudit:
    def seqs(self, session, **asked) -> list[int]:
        return [row.seq for row in through(lambda **more: pages.audit_page(session, **more), **asked)]

    def test_every_record_once_the_newest_first(self, session):
        assert self.seqs(session) == list(range(12, 0, -1))

    @pytest.mark.parametrize(
        ("asked", "seqs"),
        [
            ({"series_instance_uid": "1.9.4"}, [5]),
            ({"event": Event.ARRIVAL}, [12, 10, 8, 6, 4, 2]),
            ({"text": "INSTANCE 1.9.11"}, [12]),
            ({"text": "came 1.9.7", "event": "arrival"}, [8]),
            ({"text": "inst 1.9"}, list(range(12, 0, -1))),
            ({"text": "node from_3"}, [4]),
            ({"text": "nce"}, []),
            ({"text": "%"}, []),
            ({"text": "a OR b NOT (c* ^d:e \\ '"}, []),
            ({"text": "nothing of the kind"}, []),
            ({"text": 'from_3 100 "% ('}, [4]),
        ],
    )
    def test_what_is_asked_for(self, session, asked, seqs):
        assert self.seqs(session, **asked) == seqs

    def test_a_time_also_where_the_clock_was_set_back(self, session):
        then = datetime.now(UTC) + timedelta(days=900)
        for seq, hour in zip(range(100, 105), (1, 2, 5, 3, 4), strict=True):
            at = then + timedelta(hours=hour)
            session.add(
                AuditRecord(
                    seq=seq, at=at, event="start", actor="node", message="", detail={}, previous_hash="", hash=""
                )
            )
        assert self.seqs(session, since=then + timedelta(hours=3), until=then + timedelta(hours=5)) == [104, 103, 102]
        assert self.seqs(session, since=then, until=then + timedelta(hours=2)) == [101, 100]
        assert self.seqs(session, until=then) == list(range(12, 0, -1))
        assert self.seqs(session, since=then + timedelta(hours=6)) == []
