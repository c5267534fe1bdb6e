"""The audit chain: append-only, and every kind of tampering is found."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError
from structlog.testing import capture_logs

from node import audit
from node.audit import Event
from node.errors import ErrorKind, PermanentError
from node.journey import State
from node.store.session import Database
from node.store.tables import AuditRecord, Series


def write(database: Database, count: int = 5) -> None:
    for number in range(count):
        with database.write() as session:
            audit.record(session, Event.ARRIVAL, f"récit {number}", detail={"number": number, "share": 0.1 * number})


def flaws(database: Database) -> list[str]:
    with database.read() as session:
        return [flaw.what for flaw in audit.verify(session)[1]]


def tamper(database: Database, *statements: str) -> None:
    """As somebody with the database file would: the triggers are dropped first."""
    with database.write() as session:
        for action in ("update", "delete"):
            session.execute(sa.text(f"DROP TRIGGER audit_record_no_{action}"))
        for statement in statements:
            session.execute(sa.text(statement))


def new_series(database: Database) -> int:
    now = datetime.now(UTC)
    with database.write() as session:
        series = Series(
            study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", state=State.RECEIVING, state_since=now,
            first_arrival_at=now, last_arrival_at=now, calling_ae_title="CT", called_ae_title="HARMONODE", address="127.0.0.1",
        )  # fmt: skip
        session.add(series)
        session.flush()
        return series.id


def test_a_move_is_told_to_the_log_once_it_is_committed(database: Database):
    number = new_series(database)
    with capture_logs() as told, pytest.raises(RuntimeError), database.write() as session:
        audit.move(session, session.get_one(Series, number), State.COMPLETE, Event.COMPLETE, "quiet for 30 s")
        raise RuntimeError("rolled back")
    assert told == []
    with capture_logs() as told, database.write() as session:
        audit.move(session, session.get_one(Series, number), State.COMPLETE, Event.COMPLETE, "quiet for 30 s")
        audit.move(session, session.get_one(Series, number), State.REFUSED, Event.REFUSAL, "two patients")
    assert [(line["log_level"], line["series"], line["now"], line["reason"]) for line in told] == [
        ("info", "1.2.3.4", "complete", "quiet for 30 s"),
        ("warning", "1.2.3.4", "refused", "two patients"),
    ]


def test_an_untouched_chain_is_intact(database: Database):
    write(database)
    with database.read() as session:
        assert audit.verify(session) == (5, [])


def test_an_empty_chain_is_intact(database: Database):
    with database.read() as session:
        assert audit.verify(session) == (0, [])


def test_a_long_trail_tells_how_far_it_is_and_names_so_many_flaws_at_most(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audit, "_AT_A_TIME", 4)
    write(database, 10)
    told: list[tuple[int, int]] = []
    with database.read() as session:
        assert audit.verify(session, lambda *far: told.append(far)) == (10, [])
    assert told == [(0, 10), (4, 10), (8, 10)]
    tamper(database, "UPDATE audit_record SET message = 'x'")
    assert flaws(database) == [
        *(f"record {seq} was changed after it was written" for seq in range(1, 5)),
        "and 6 more flaws up to here",
    ]


@pytest.mark.parametrize("statement", ["UPDATE audit_record SET message = 'x'", "DELETE FROM audit_record"])
def test_the_database_refuses_to_change_a_record(database: Database, statement: str):
    write(database)
    with pytest.raises(DatabaseError, match="append-only"), database.write() as session:
        session.execute(sa.text(statement))
    assert flaws(database) == []


@pytest.mark.parametrize(
    "change",
    [
        "message = 'x'",
        "event = 'start'",
        "actor = 'x'",
        "detail = '{}'",
        "series_instance_uid = '1'",
        "at = '2020-01-01'",
    ],
)
def test_a_changed_field_is_found(database: Database, change: str):
    write(database)
    tamper(database, f"UPDATE audit_record SET {change} WHERE seq = 3")
    assert flaws(database) == ["record 3 was changed after it was written"]


def test_a_missing_record_is_found(database: Database):
    write(database)
    tamper(database, "DELETE FROM audit_record WHERE seq = 3")
    assert flaws(database) == ["record 3 missing before record 4"]


def test_a_cut_off_tail_is_found(database: Database):
    write(database)
    tamper(database, "DELETE FROM audit_record WHERE seq > 3")
    assert flaws(database) == ["records 4 to 5 are missing at the end"]


def test_reordered_records_are_found(database: Database):
    write(database)
    tamper(
        database,
        "UPDATE audit_record SET seq = 99 WHERE seq = 2",
        "UPDATE audit_record SET seq = 2 WHERE seq = 3",
        "UPDATE audit_record SET seq = 3 WHERE seq = 99",
    )
    assert "record 2 does not follow record 1: reordered or replaced" in flaws(database)


def test_a_record_that_was_forged_with_its_own_hash_is_found(database: Database):
    write(database)
    with database.read() as session:
        row = session.get(AuditRecord, 3)
        assert row
        row.message = "forged"
        forged = audit.chain_hash(row)
    tamper(database, f"UPDATE audit_record SET message = 'forged', hash = '{forged}' WHERE seq = 3")
    assert flaws(database) == ["record 4 does not follow record 3: reordered or replaced"]


def test_a_rolled_back_record_leaves_no_gap(database: Database):
    write(database, 1)
    with pytest.raises(RuntimeError), database.write() as session:
        audit.record(session, Event.ARRIVAL, "never")
        raise RuntimeError
    write(database, 1)
    with database.read() as session:
        assert audit.verify(session) == (2, [])


def test_many_writers_make_one_chain(database: Database):
    threads = [threading.Thread(target=write, args=(database, 20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert audit.verify(session) == (80, [])


def test_a_move_is_a_row_with_both_states(database: Database):
    series_id = new_series(database)
    with database.write() as session:
        series = session.get_one(Series, series_id)
        audit.move(session, series, State.REFUSED, Event.REFUSAL, "two patients", kind=ErrorKind.PERMANENT)
    with database.read() as session:
        series = session.get_one(Series, series_id)
        row = session.scalars(sa.select(AuditRecord)).one()
    assert (series.state, series.reason, series.error_kind) == ("refused", "two patients", "permanent")
    assert row.detail == {"from": "receiving", "to": "refused"}
    assert row.series_instance_uid == "1.2.3.4"


def test_an_illegal_move_changes_nothing(database: Database):
    series_id = new_series(database)
    with (
        pytest.raises(PermanentError, match=r"1\.2\.3\.4 is receiving and cannot become done"),
        database.write() as session,
    ):
        audit.move(session, session.get_one(Series, series_id), State.DONE, Event.CONFIRMATION, "too early")
    with database.read() as session:
        assert session.get_one(Series, series_id).state == "receiving"
        assert audit.verify(session) == (0, [])
