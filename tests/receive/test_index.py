"""The database follows the spool, whatever happens to either."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from node import audit
from node.journey import ACTIVE, State
from node.receive import Indexer, Intake, Reconciled, Refusal, reconcile
from node.receive.index import AT_REST, index
from node.series import Arrival, Sender
from node.store.session import Database, upgrade
from node.store.spool import Spool
from node.store.tables import AuditRecord, Instance, Quarantined, Series

SENDER = Sender("CT1", "HARMONODE", "10.1.2.3")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def arrival(number: int, series: str = "1.2.3", **changes) -> Arrival:
    given = {
        "study_instance_uid": "1.2",
        "series_instance_uid": series,
        "sop_instance_uid": f"{series}.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "path": f"00/{series}/{number}.dcm",
        "size_bytes": 1000,
        "sha256": f"{number:064x}",
        "received_at": NOON + timedelta(seconds=number),
        "sender": SENDER,
    }
    return Arrival(**{**given, **changes})


def write(database, *items) -> None:
    with database.write() as session:
        index(session, items)


def rows(database, table) -> list:
    with database.read() as session:
        return list(session.scalars(sa.select(table)))


def test_a_batch_is_one_audit_record_a_series(database):
    write(database, arrival(1), arrival(1, "1.2.4"), arrival(2))
    first, second = rows(database, Series)
    assert (first.series_instance_uid, first.instance_count, first.state) == ("1.2.3", 2, "receiving")
    assert (first.first_arrival_at, first.last_arrival_at) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=2))
    assert (first.calling_ae_title, first.called_ae_title, first.address) == ("CT1", "HARMONODE", "10.1.2.3")
    told = rows(database, AuditRecord)
    assert [(row.event, row.series_instance_uid) for row in told] == [("arrival", "1.2.3"), ("arrival", "1.2.4")]
    assert told[0].message == "2 instances arrived from CT1 at 10.1.2.3"
    assert told[0].detail["instances"] == [
        {"sop_instance_uid": "1.2.3.1", "sha256": f"{1:064x}"},
        {"sop_instance_uid": "1.2.3.2", "sha256": f"{2:064x}"},
    ]
    assert second.instance_count == 1


def test_the_log_speaks_of_what_is_committed(database):
    with capture_logs() as told, pytest.raises(RuntimeError), database.write() as session:
        index(session, [arrival(1)])
        raise RuntimeError("database or disk is full")
    assert told == []
    with capture_logs() as told:
        write(database, arrival(1))
    assert [(line["event"], line["count"]) for line in told] == [("instances indexed", 1)]


def test_the_same_arrival_twice_is_one(database):
    write(database, arrival(1), arrival(1))
    write(database, arrival(1), arrival(2))
    assert rows(database, Series)[0].instance_count == len(rows(database, Instance)) == 2
    assert [len(row.detail["instances"]) for row in rows(database, AuditRecord)] == [1, 1]


def test_what_came_again_is_indexed_only_where_it_is_not_known(database):
    write(database, arrival(1, again=True))
    with database.write() as session:
        (series,) = session.scalars(sa.select(Series))
        series.state = str(State.DONE)
    later = NOON + timedelta(hours=1)
    write(database, arrival(1, again=True, received_at=later, sender=Sender("CT2", "HARMONODE", "10.1.2.4")))
    (series,) = rows(database, Series)
    assert (series.state, series.instance_count, series.calling_ae_title) == (State.DONE, 1, "CT1")
    # Its file had vanished, was made again, and came a third time meanwhile.
    write(database, arrival(1, received_at=later), arrival(1, again=True, received_at=later + timedelta(seconds=1)))
    (series,) = rows(database, Series)
    assert (series.state, series.instance_count, series.last_arrival_at) == (State.RECEIVING, 1, later)


@pytest.mark.parametrize("state", sorted(State))
def test_a_late_instance_reopens_a_series_at_rest_and_leaves_one_that_is_worked_on(database, state):
    write(database, arrival(1))
    with database.write() as session:
        (series,) = session.scalars(sa.select(Series))
        series.state = str(state)
    write(database, arrival(2))
    (series,) = rows(database, Series)
    assert series.state == (State.RECEIVING if state in AT_REST else state)
    assert series.instance_count == 2
    assert [instance.round for instance in rows(database, Instance)] == [None, None]
    last = rows(database, AuditRecord)[-1]
    assert last.event == "arrival"
    if state in AT_REST:
        assert (last.detail["from"], last.detail["to"]) == (state, "receiving")
        assert last.detail["instances"][0]["sop_instance_uid"] == "1.2.3.2"


def test_every_state_is_at_rest_or_not_on_purpose():
    assert AT_REST.isdisjoint(ACTIVE)
    # What a person stopped, or must mend, no instance opens again: `series retry` does, and looks at all there are.
    assert set(State) - AT_REST - ACTIVE == {State.RECEIVING, State.WAITING, State.CANCELLED}


def test_a_refusal_is_a_record(database):
    write(database, Refusal("association of 'X' rejected", {"address": "10.9.9.9"}))
    (told,) = rows(database, AuditRecord)
    assert (told.event, told.message, told.detail) == (
        "refusal",
        "association of 'X' rejected",
        {"address": "10.9.9.9"},
    )


class Stubborn:
    """A database that fails the first times it is written to."""

    def __init__(self, database: Database, failures: list[Exception]) -> None:
        self._database, self.failures = database, failures

    @contextmanager
    def write(self):
        if self.failures:
            raise self.failures.pop(0)
        with self._database.write() as session:
            yield session


def locked() -> sa.exc.OperationalError:
    return sa.exc.OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))


def test_a_database_that_fails_is_tried_again(database, wait, monkeypatch):
    monkeypatch.setattr("node.receive.index._FIRST_DELAY_S", 0.01)
    indexer = Indexer(Stubborn(database, [locked(), locked(), locked()]))
    indexer.start()
    for number in range(10):
        indexer.put(arrival(number))
    wait(lambda: len(rows(database, Instance)) == 10, "indexed")
    indexer.stop()
    assert len(rows(database, AuditRecord)) == 1  # one batch


def test_one_item_that_cannot_be_indexed_does_not_hold_up_the_others(database):
    indexer = Indexer(database)
    indexer.put(arrival(1))
    indexer.put(arrival(2, sha256=None))
    indexer.put(arrival(3))
    indexer.start()
    indexer.stop()
    assert [instance.sop_instance_uid for instance in rows(database, Instance)] == ["1.2.3.1", "1.2.3.3"]


def test_stopping_writes_what_is_queued(database):
    indexer = Indexer(database)
    for number in range(1200):
        indexer.put(arrival(number))
    indexer.start()
    indexer.stop()
    assert len(rows(database, Instance)) == 1200


def test_stopping_does_not_wait_for_a_database_that_is_gone(database):
    indexer = Indexer(Stubborn(database, [locked() for _ in range(1000)]))
    indexer.start()
    indexer.put(arrival(1))
    stopper = threading.Thread(target=indexer.stop)
    stopper.start()
    stopper.join(5)
    assert not stopper.is_alive()


@pytest.fixture
def spool(tmp_path, slice_path):
    """A spool with five instances of one series, and a conflict in the quarantine; `told` is what it told."""
    spool, told = Spool(tmp_path / "node" / "spool", 0), []
    intake = Intake(spool, told.append)
    for number in (1, 2, 3, 4, 5):
        with slice_path(number=number).open("rb") as file:
            assert intake.accept(file, SENDER).status == 0
    with slice_path(number=5, PatientID="OTHER").open("rb") as file:
        assert intake.accept(file, SENDER).status == 0xC111
    spool.told = told
    return spool


def test_a_lost_database_is_rebuilt_from_the_spool(spool, database, tmp_path):
    assert reconcile(database, spool) == Reconciled(indexed=5, damaged=0, vanished=0, kept=1)
    (series,) = rows(database, Series)
    assert (series.instance_count, series.calling_ae_title, series.called_ae_title, series.address) == (
        5,
        "CT1",
        "HARMONODE",
        "10.1.2.3",
    )
    told = {item.sop_instance_uid: item for item in spool.told if isinstance(item, Arrival)}
    for instance in rows(database, Instance):
        item = told[instance.sop_instance_uid]
        assert (instance.path, instance.sha256, instance.size_bytes) == (item.path, item.sha256, item.size_bytes)
        assert abs(instance.received_at - item.received_at) < timedelta(seconds=1)
    assert [(row.sop_instance_uid, row.address) for row in rows(database, Quarantined)] == [
        ("1.2.826.0.1.1.5", "10.1.2.3")
    ]
    assert reconcile(database, spool) == Reconciled(0, 0, 0, 0)
    assert [row.event for row in rows(database, AuditRecord)] == ["arrival", "conflict"]
    with database.read() as session:
        assert audit.verify(session) == (2, [])


def test_reconciling_starts_the_quiet_time_anew(spool, database):
    before = datetime.now(UTC)
    reconcile(database, spool)
    (series,) = rows(database, Series)
    assert series.last_arrival_at >= before


def test_a_file_that_is_damaged_is_kept_aside_and_told(spool, database):
    path = spool.root / next(spool.walk())
    path.write_bytes(path.read_bytes()[:-50])
    assert reconcile(database, spool) == Reconciled(indexed=4, damaged=1, vanished=0, kept=1)
    assert not path.exists()
    reasons = {row.reason for row in rows(database, Quarantined)}
    assert any(reason.startswith("damaged in the spool: the data set breaks off") for reason in reasons)


def test_a_file_that_vanished_is_told_once_and_the_series_is_not_silently_fine(spool, database):
    reconcile(database, spool)
    gone = sorted(spool.walk())[:2]
    for path in gone:
        (spool.root / path).unlink()
    assert reconcile(database, spool).vanished == 2
    assert reconcile(database, spool).vanished == 2
    (failure,) = [row for row in rows(database, AuditRecord) if row.event == "failure"]
    assert sorted(failure.detail["vanished"]) == gone
    assert failure.message.startswith("2 of 5 instances have vanished from the spool, the first is 1.2.826.0.1.1.")
    assert rows(database, Series)[0].state == "refused"


@pytest.mark.parametrize("state", [State.DONE, State.HARMONIZING, State.PASSED])
def test_a_file_that_vanished_from_a_series_that_was_dealt_with_is_told(spool, database, state):
    reconcile(database, spool)
    with database.write() as session:
        session.execute(sa.update(Series).values(state=str(state)))
    (spool.root / next(spool.walk())).unlink()
    reconcile(database, spool)
    assert rows(database, AuditRecord)[-1].event == "failure"
    assert rows(database, Series)[0].state == state


def test_a_vanished_instance_that_is_sent_again_heals_the_series(spool, database, slice_path):
    reconcile(database, spool)
    for path in list(spool.walk()):
        (spool.root / path).unlink()
    reconcile(database, spool)
    assert rows(database, Series)[0].state == "refused"
    told = []
    for number in (1, 2, 3, 4, 5):
        with slice_path(number=number).open("rb") as file:
            assert Intake(spool, told.append).accept(file, SENDER).status == 0
    write(database, *told)
    (series,) = rows(database, Series)
    assert (series.state, series.instance_count, len(rows(database, Instance))) == ("receiving", 5, 5)
    assert reconcile(database, spool) == Reconciled(0, 0, 0, 0)


def test_what_was_not_indexed_before_a_stop_is_indexed_at_the_next_start(spool, tmp_path):
    url = f"sqlite:///{tmp_path / 'second.sqlite3'}"
    upgrade(url)
    database = Database(url)
    write(database, *[item for item in spool.told if isinstance(item, Arrival)][:2])
    assert reconcile(database, spool).indexed == 3
    assert rows(database, Series)[0].instance_count == 5
    database.close()
