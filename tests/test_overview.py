"""The queries behind `harmonode top` and the page's first view."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from node.config import Config
from node.journey import State
from node.overview import Overview, overview
from node.store import leases
from node.store.session import Database
from node.store.tables import Delivery, Instance, Job, Series

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).astimezone().replace(hour=12)  # noon here, wherever here is


def a_series(session: Session, state: State, *, minutes: float = 0, **values: Any) -> Series:
    at = NOW - timedelta(minutes=minutes)
    count = values.pop("instance_count", 3)
    series = Series(
        study_instance_uid="1.2", series_instance_uid=f"1.2.{uuid4().int >> 64}", state=str(state), state_since=at,
        first_arrival_at=at, last_arrival_at=at, instance_count=count, calling_ae_title="CT",
        called_ae_title="NODE", address="127.0.0.1", **values,
    )  # fmt: skip
    session.add(series)
    session.flush()
    for number in range(count):
        session.add(
            Instance(
                series_id=series.id, sop_instance_uid=f"{series.series_instance_uid}.{number}", sop_class_uid="1.2",
                transfer_syntax_uid="1.2", path=f"{number}", size_bytes=500_000, sha256="", received_at=at,
                calling_ae_title="CT",
            )
        )  # fmt: skip
    return series


def a_job(session: Session, series: Series, **values: Any) -> Job:
    job = Job(
        id=uuid4().hex, series_id=series.id, **{
            "round": 1, "rule_name": "lung", "rule_version": 1, "plugin": "double", "parameters": {},
            "destinations": ["pacs"], "created_at": NOW, **values,
        },
    )  # fmt: skip
    session.add(job)
    session.flush()
    return job


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {"data_dir": str(tmp_path), "destinations": [{"kind": "folder", "name": "pacs", "path": "/out"}]}
    )


def look(database: Database, config: Config, **options: Any) -> Overview:
    with database.read() as session:
        return overview(session, config, now=NOW, **options)


def test_an_empty_node_is_shown_as_empty(database: Database, config: Config):
    seen = look(database, config)
    assert set(seen.counts) == set(State)
    assert sum(seen.counts.values()) == 0
    assert (seen.arriving, seen.queued, seen.running, seen.trouble, seen.workers) == ((), (), (), (), ())
    assert seen.disk.total > seen.disk.free > 0
    assert [(one.name, one.last_sent_at, one.unfinished) for one in seen.destinations] == [("pacs", None, 0)]


def test_a_data_dir_that_is_not_there_yet_has_a_disk_all_the_same(database: Database, config: Config):
    nowhere = config.model_copy(update={"data_dir": config.data_dir / "not" / "yet"})
    assert look(database, nowhere).disk.total == look(database, config).disk.total


def test_each_series_stands_where_it_is(database: Database, config: Config):
    with database.write() as session:
        arriving = a_series(session, State.RECEIVING, expected_count=40)
        late = a_series(session, State.QUEUED, minutes=3)
        a_job(session, late)
        early = a_series(session, State.QUEUED, minutes=9, reason="sending failed: refused (try 1 of 6)")
        a_job(session, early, tries=1)
        urgent = a_series(session, State.QUEUED)
        a_job(session, urgent, priority=5)
        running = a_series(session, State.HARMONIZING)
        a_job(session, running, executor_id="worker-0", progress_done=7, progress_total=30, started_at=NOW)
        a_series(session, State.DONE)
        leases.renew(session, "worker-0", NOW, 60)
        leases.renew(session, "worker-1", NOW - timedelta(minutes=9), 60)
        leases.renew(session, "worker-2", NOW - timedelta(days=9), 60)
        leases.renew(session, "sweep:takeover", NOW, 60)
        uids = [one.series_instance_uid for one in (urgent, early, late)]
    seen = look(database, config)
    assert [(one.series_instance_uid, one.expected) for one in seen.arriving] == [(arriving.series_instance_uid, 40)]
    assert [one.series_instance_uid for one in seen.queued] == uids
    assert (seen.queued[1].tries, seen.queued[1].reason) == (1, "sending failed: refused (try 1 of 6)")
    (one,) = seen.running
    assert (one.state, one.done, one.total, one.worker) == (State.HARMONIZING, 7, 30, "worker-0")
    assert [(worker.name, worker.alive, worker.series_instance_uid) for worker in seen.workers] == [
        ("worker-0", True, running.series_instance_uid),
        ("worker-1", False, None),
    ]
    assert (seen.total(State.QUEUED), seen.today.done) == (3, 1)
    assert seen.destinations[0].unfinished == 4


def test_the_job_of_the_last_round_is_shown(database: Database, config: Config):
    with database.write() as session:
        series = a_series(session, State.MEASURING)
        a_job(session, series, finished_at=NOW, executor_id="worker-7")
        a_job(session, series, round=2, executor_id="worker-0")
    assert [one.worker for one in look(database, config).running] == ["worker-0"]


def test_what_waits_for_a_person_comes_first(database: Database, config: Config):
    with database.write() as session:
        for state, minutes in ((State.REFUSED, 0), (State.FAILED, 1), (State.WAITING, 5), (State.WAITING, 2)):
            a_series(session, state, minutes=minutes, reason=f"{state} {minutes}", error_kind="operator")
    assert [one.reason for one in look(database, config).trouble] == ["waiting 2", "waiting 5", "failed 1", "refused 0"]
    cut = look(database, config, limit=2)
    assert len(cut.trouble) == 2
    assert cut.total(State.WAITING, State.FAILED, State.REFUSED) == 4


def test_rates_and_the_day_are_counted(database: Database, config: Config):
    with database.write() as session:
        a_series(session, State.RECEIVING, minutes=1, instance_count=10)
        done = a_series(session, State.DONE, minutes=30, instance_count=2)
        job = a_job(session, done, finished_at=NOW - timedelta(minutes=30))
        session.add(Delivery(job_id=job.id, destination="pacs", sent_at=NOW, confirmed_at=NOW))
        a_series(session, State.DONE, minutes=26 * 60, instance_count=5)  # yesterday
    seen = look(database, config)
    assert (seen.rates.instances_per_min, seen.rates.series_done_last_hour) == (2, 1)
    assert seen.rates.mb_per_s == pytest.approx(10 * 0.5 / 300)
    assert (seen.today.instances, seen.today.arrived, seen.today.done) == (12, 2, 1)
    assert (seen.destinations[0].last_confirmed_at, seen.destinations[0].unfinished) == (NOW, 0)
