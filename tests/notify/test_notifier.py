"""What needs a person is told once when it begins, when it grows, as a reminder and when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from node import audit
from node.audit import Event
from node.config import Config
from node.journey import State
from node.notify import Letter, Notifier, outbox
from node.store import leases
from node.store.session import Database
from node.store.tables import AuditCursor, AuditRecord, Delivery, Job, Posted, Series

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
REASON = "PACS says: Doe^Jane is unknown"


class Ear:
    """A channel that hears, or is deaf."""

    def __init__(self, name: str = "ear") -> None:
        self.name, self.heard, self.deaf = name, [], False

    heard: list[Letter]

    def send(self, letter: Letter) -> None:
        if self.deaf:
            raise ConnectionRefusedError(111, "Connection refused")
        self.heard.append(letter)

    @property
    def told(self) -> list[tuple[str, str, int]]:
        return [(letter.kind, letter.what, letter.count) for letter in self.heard]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "data_dir": str(tmp_path),
            "receive": {"disk_reserve_mb": 0},
            "retention": {"disk_warn_mb": 0, "disk_low_mb": 0},
            "process": {"workers": 0},
            "notify": {"page_url": "https://node.example/"},
        }
    )


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def notifier(config: Config, database: Database, ear: Ear) -> Notifier:
    return Notifier(config, database, [ear])


def changed(config: Config, section: str, **values: Any) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def stand(database: Database, state: State, count: int = 1, **values: Any) -> list[str]:
    """So many series that stand there; their UIDs."""
    uids = [f"1.2.{uuid4().int >> 64}" for _ in range(count)]
    with database.write() as session:
        for uid in uids:
            session.add(
                Series(
                    study_instance_uid="1.2", series_instance_uid=uid, calling_ae_title="CT", called_ae_title="N",
                    address="127.0.0.1", instance_count=1, **{
                        "state": str(state), "state_since": NOW, "first_arrival_at": NOW, "last_arrival_at": NOW,
                        "reason": REASON, "error_kind": "operator", **values,
                    },
                )
            )  # fmt: skip
    return uids


def move(database: Database, uids: list[str], state: State) -> None:
    with database.write() as session:
        session.execute(sa.update(Series).where(Series.series_instance_uid.in_(uids)).values(state=str(state)))


def test_nothing_wrong_tells_nothing(notifier: Notifier, ear: Ear, database: Database):
    stand(database, State.DONE)
    stand(database, State.REFUSED)
    notifier.turn(NOW)
    assert ear.told == []


def test_a_problem_is_told_when_it_begins_grows_stays_and_ends(notifier: Notifier, ear: Ear, database: Database):
    def after(**passed: float) -> list[tuple[str, str, int]]:
        before = len(ear.heard)
        notifier.turn(NOW + timedelta(**passed))
        return ear.told[before:]

    uids = stand(database, State.WAITING, 3)
    assert after() == [("waiting", "begun", 3)]
    assert after(minutes=1) == []
    uids += stand(database, State.WAITING, 1)
    assert after(minutes=2) == []  # one more is no news yet
    uids += stand(database, State.WAITING, 2)
    assert after(minutes=3) == [("waiting", "grown", 6)]  # it has doubled
    uids += stand(database, State.WAITING, 1)
    assert after(minutes=62) == []
    assert after(minutes=64) == [("waiting", "grown", 7)]
    assert after(hours=25) == []
    assert after(hours=26) == [("waiting", "still", 7)]
    move(database, uids, State.DONE)
    assert after(hours=26, minutes=1) == []  # it may come back at once
    assert after(hours=26, minutes=4) == [("waiting", "over", 0)]
    assert after(hours=60) == []


def test_what_comes_back_at_once_was_never_over(notifier: Notifier, ear: Ear, database: Database):
    uids = stand(database, State.FAILED)
    notifier.turn(NOW)
    move(database, uids, State.DONE)
    notifier.turn(NOW + timedelta(seconds=30))
    move(database, uids, State.FAILED)
    notifier.turn(NOW + timedelta(minutes=5))
    assert ear.told == [("failed", "begun", 1)]


def test_a_restart_tells_nothing_twice(config: Config, database: Database, ear: Ear):
    stand(database, State.WAITING)
    for minute in range(3):
        Notifier(config, database, [ear]).turn(NOW + timedelta(minutes=minute))
    assert ear.told == [("waiting", "begun", 1)]


def test_a_letter_holds_uids_and_links_and_nothing_of_a_patient(
    notifier: Notifier, config: Config, ear: Ear, database: Database
):
    uids = stand(database, State.WAITING, 12)
    notifier.turn(NOW)
    text = "\n".join(ear.heard[0].lines)
    assert sum(uid in text for uid in uids) == 10
    assert "and 2 more" in text
    assert "https://node.example/series/" in text
    assert "Doe" not in text
    talkative = Ear()
    with database.write() as session:
        session.execute(sa.text("DELETE FROM notice"))
    Notifier(changed(config, "notify", reasons=True), database, [talkative]).turn(NOW)
    assert REASON in "\n".join(talkative.heard[0].lines)


def test_refused_series_are_told_of_where_asked(config: Config, database: Database, ear: Ear):
    stand(database, State.REFUSED, 2)
    Notifier(changed(config, "notify", refused=True), database, [ear]).turn(NOW)
    assert ear.told == [("refused", "begun", 2)]


def test_a_deaf_channel_keeps_its_letters_and_holds_up_no_other(config: Config, database: Database):
    deaf, ear = Ear("deaf"), Ear("ear")
    deaf.deaf = True
    notifier = Notifier(config, database, [deaf, ear])
    stand(database, State.WAITING)
    with capture_logs() as told:
        notifier.turn(NOW)
        stand(database, State.WAITING, 5)
        notifier.turn(NOW + timedelta(minutes=1))
        notifier.turn(NOW + timedelta(minutes=2))
    assert ear.told == [("waiting", "begun", 1), ("waiting", "grown", 6)]
    assert deaf.told == []
    with database.read() as session:
        (left,) = session.scalars(sa.select(Posted))
    assert (left.channel, left.letter["what"], left.letter["count"]) == ("deaf", "grown", 6)  # the newest alone
    assert {line["channel"] for line in told if line["event"] == "a notification was not taken"} == {"deaf"}
    deaf.deaf = False
    later = NOW + timedelta(hours=2)
    assert outbox.deliver(database, [deaf], later) == 1
    assert deaf.told == [("waiting", "grown", 6)]
    assert outbox.deliver(database, [deaf], later) == 0


def test_a_channel_that_failed_waits_longer_each_time(config: Config, database: Database):
    deaf = Ear("deaf")
    deaf.deaf = True
    stand(database, State.WAITING)
    Notifier(config, database, [deaf]).turn(NOW)
    at, delays = NOW, []
    for _ in range(12):
        with database.read() as session:
            due = session.scalars(sa.select(Posted.next_at)).one()
        delays.append((due - at).total_seconds())
        at = due
        outbox.deliver(database, [deaf], at)
    assert delays[0] <= 31
    assert delays[5] >= 480
    assert max(delays) <= 3600


def test_letters_for_a_channel_that_is_gone_go_too(config: Config, database: Database):
    deaf = Ear("old")
    deaf.deaf = True
    stand(database, State.WAITING)
    Notifier(config, database, [deaf]).turn(NOW)
    Notifier(config, database, [Ear("new")]).turn(NOW)
    with database.read() as session:
        assert session.scalars(sa.select(Posted)).all() == []


def test_a_full_disk_is_told_of(config: Config, database: Database, ear: Ear):
    Notifier(changed(config, "receive", disk_reserve_mb=1 << 40), database, [ear]).turn(NOW)
    assert ear.told == [("disk", "begun", 1)]
    assert "refused with A700" in "\n".join(ear.heard[0].lines)


def test_workers_that_die_and_nodes_without_any_are_told_of(config: Config, database: Database, ear: Ear):
    now = datetime.now(UTC)
    with database.write() as session:
        audit.record(session, Event.START, "the node started")
        for _ in range(5):
            audit.record(session, Event.START, "worker worker-1 started", actor="worker-1")
        audit.record(session, Event.START, "worker worker-0 started", actor="worker-0")
        leases.renew(session, "worker-0", now, 600)
        leases.renew(session, "sweep:retention", now + timedelta(hours=1), 600)
    notifier = Notifier(changed(config, "process", workers=2), database, [ear])
    notifier.turn(now)
    assert ear.told == [("worker", "begun", 1)]
    assert "worker worker-1 started 5 times" in "\n".join(ear.heard[0].lines)
    notifier.turn(now + timedelta(hours=2))  # the lease has lapsed, and the starts are long ago
    assert "no worker is alive" in "\n".join(ear.heard[-1].lines)


def test_a_destination_and_an_audit_server_out_of_reach_are_told_of(config: Config, database: Database, ear: Ear):
    (uid,) = stand(
        database, State.SENDING, error_kind="transient", reason="pacs is down", state_since=NOW - timedelta(minutes=20)
    )
    with database.write() as session:
        series = session.scalars(sa.select(Series).where(Series.series_instance_uid == uid)).one()
        job = Job(
            id="j", series_id=series.id, round=1, rule_name="r", rule_version=1, plugin="p", parameters={},
            destinations=["archive", "pacs"], created_at=NOW, tries=2, derived_series_uid="1.3",
        )  # fmt: skip
        session.add(job)
        session.flush()
        session.add(Delivery(job_id="j", destination="archive", sent_at=NOW, confirmed_at=NOW))
        session.add(AuditCursor(server="arr", seq=0, down_since=NOW - timedelta(minutes=20), reason="refused"))
    server = {"name": "arr", "host": "h"}
    with_server = config.model_copy(update={"audit": Config.model_validate({"audit": {"servers": [server]}}).audit})
    Notifier(with_server, database, [ear]).turn(NOW - timedelta(minutes=6))
    assert ear.told == []
    Notifier(with_server, database, [ear]).turn(NOW)
    assert ear.told == [("destination", "begun", 1), ("audit-server", "begun", 1)]
    assert "destination pacs: 1 series" in "\n".join(ear.heard[0].lines)


def test_a_broken_trail_is_told_of_and_recorded_once(config: Config, database: Database, ear: Ear):
    with database.write() as session:
        for number in range(3):
            audit.record(session, Event.ARRIVAL, f"{number}")
    with database.write() as session:
        session.execute(sa.text("DROP TRIGGER audit_record_no_update"))
        session.execute(sa.text("UPDATE audit_record SET message = 'x' WHERE seq = 2"))
    for days in (0, 0.5, 2):  # a restart, each: it is walked at each start
        Notifier(config, database, [ear]).turn(NOW + timedelta(days=days))
    assert ear.told == [("audit-chain", "begun", 1), ("audit-chain", "still", 1)]
    with database.read() as session:
        (alert,) = session.scalars(sa.select(AuditRecord).where(AuditRecord.event == str(Event.ALERT)))
    assert alert.detail["flaws"] == ["record 2 was changed after it was written"]


def test_one_node_tells_at_a_time(notifier: Notifier, ear: Ear, database: Database):
    stand(database, State.WAITING)
    with database.write() as session:
        leases.renew(session, "sweep:notify", NOW, 60)
    notifier.turn(NOW)
    assert ear.told == []
    notifier.turn(NOW + timedelta(minutes=2))
    assert ear.told == [("waiting", "begun", 1)]
