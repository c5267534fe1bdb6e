"""What leaves the disk, and what never does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner

from node import audit, complete, retention
from node.cli import app
from node.config import Config, FolderDestination, Receive, Retention
from node.errors import PermanentError
from node.journey import State
from node.queue import Queue
from node.receive import Intake, Status, reconcile
from node.receive.index import index
from node.series import Sender
from node.store import watermark
from node.store.session import Database
from node.store.spool import Spool
from node.store.tables import AuditRecord, Delivery, DerivedInstance, Instance, Job, Series
from node.workflow import retry

CT = Sender("CT1", "HARMONODE", "10.0.0.1")
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=31)


class Shelf:
    """A node's disk and database without its processes."""

    def __init__(self, folder: Path, migrated: Path, crafted, **settings: object) -> None:
        self.crafted = crafted
        self.config = Config(
            data_dir=folder / "data",
            receive=Receive(disk_reserve_mb=0),
            retention=Retention(disk_warn_mb=0, disk_low_mb=0, **settings),
            destinations=(FolderDestination(name="pacs", path=folder / "pacs"),),
        )
        self.config.data_dir.mkdir()
        shutil.copy(migrated, self.config.data_dir)
        self.database = Database(self.config.url)
        self.spool = Spool(self.config.spool_dir, 0)

    def receive(self, paths: list[Path]) -> list[Status]:
        told = []
        intake = Intake(self.spool, told.append)
        statuses = []
        for path in paths:
            with path.open("rb") as file:
                statuses.append(intake.accept(file, CT).status)
        with self.database.write() as session:
            index(session, told)
        return statuses

    def set(self, state: State, *, since: datetime = LONG_AGO) -> None:
        """Age the series, and put it in a state."""
        with self.database.write() as session:
            session.execute(sa.update(Series).values(state=str(state), state_since=since, last_arrival_at=since))

    def deliver(self, *destinations: str, confirmed: int | None = 3, since: datetime = LONG_AGO) -> Path:
        """What a finished job leaves: derived files, and deliveries. Returns the job's folder."""
        with self.database.write() as session:
            series = session.scalars(sa.select(Series)).one()
            last = session.scalar(sa.select(sa.func.max(Job.round))) or 0
            job = Job(
                id=uuid4().hex, series_id=series.id, round=last + 1, rule_name="r", rule_version=1, plugin="identity",
                parameters={}, destinations=list(destinations), created_at=since, finished_at=since,
                derived_series_uid="2.25.1",
            )  # fmt: skip
            session.add(job)
            folder = self.config.derived_dir / job.id
            folder.mkdir(parents=True)
            for instance in session.scalars(sa.select(Instance).where(Instance.round.is_(None))):
                instance.round = job.round
                file = folder / f"{instance.id:04}.dcm"
                file.write_bytes(b"derived")
                session.add(
                    DerivedInstance(
                        job_id=job.id,
                        source_instance_id=instance.id,
                        sop_instance_uid=f"2.25.{uuid4().int}",
                        path=f"{job.id}/{file.name}",
                        sha256="",
                    )
                )
            for name in destinations:
                at = None if confirmed == 0 else since
                session.add(
                    Delivery(job_id=job.id, destination=name, confirmed_at=at, confirmed_count=confirmed, sends=1)
                )
        (folder / "report.json").write_text("{}")
        self.set(State.DONE, since=since)
        return folder

    def files(self) -> list[Path]:
        return [self.spool.root / path for path in self.spool.walk()]

    def series(self) -> Series:
        with self.database.read() as session:
            return session.scalars(sa.select(Series)).one()

    def events(self, event: audit.Event) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(sa.select(AuditRecord.message).where(AuditRecord.event == str(event))))

    def sweep(self) -> int:
        return retention.sweep(self.config, self.database, NOW)


@pytest.fixture
def shelf(tmp_path: Path, migrated: Path, crafted) -> Iterator[Shelf]:
    made = Shelf(tmp_path, migrated, crafted)
    yield made
    with made.database.read() as session:
        assert audit.verify(session)[1] == []
    made.database.close()


@pytest.fixture
def paths(crafted) -> list[Path]:
    return crafted.series(3)


def test_what_is_delivered_and_old_goes(shelf: Shelf, paths):
    shelf.receive(paths)
    folder = shelf.deliver("pacs")
    (going,) = retention.due(shelf.config, shelf.database, NOW)
    assert (going.instances, going.size_bytes) == (3, sum(file.stat().st_size for file in shelf.files()))
    assert shelf.sweep() == 1
    assert shelf.files() == []
    assert [file.name for file in folder.iterdir()] == ["report.json"], "the report stays"
    assert shelf.series().removed_at is not None
    assert shelf.series().state == State.DONE
    assert shelf.events(audit.Event.RETENTION) == [
        "the files left the disk, 3 received and 3 derived: delivered, and older than 30 days"
    ]
    assert shelf.sweep() == 0, "once"
    assert reconcile(shelf.database, shelf.spool).vanished == 0, "what left has not vanished"


@pytest.mark.parametrize("state", [state for state in State if state != State.DONE])
def test_nothing_else_goes(shelf: Shelf, paths, state: State):
    shelf.receive(paths)
    shelf.deliver("pacs")
    shelf.set(state)
    assert shelf.sweep() == 0
    assert len(shelf.files()) == 3


@pytest.mark.parametrize(
    ("destinations", "confirmed", "age_days"),
    [(["pacs"], 3, 29), (["pacs"], 0, 99), (["pacs"], None, 99), ([], 3, 99)],
    ids=["too young", "not confirmed", "cannot be asked", "sent nowhere"],
)
def test_what_is_young_or_not_confirmed_stays(shelf: Shelf, paths, destinations, confirmed, age_days):
    shelf.receive(paths)
    since = NOW - timedelta(days=age_days)
    shelf.deliver(*destinations, confirmed=confirmed, since=since)
    assert shelf.sweep() == 0
    assert len(shelf.files()) == 3
    told = retention.unconfirmed(shelf.config, shelf.database, NOW)
    assert told == ([] if age_days == 29 else [shelf.series().series_instance_uid])


def test_the_last_round_speaks_for_all(shelf: Shelf, paths, crafted):
    """A round that failed is made good by the next one, which sends all and is confirmed by the whole series."""
    shelf.receive(paths)
    shelf.deliver("pacs", confirmed=0)
    shelf.deliver("pacs", confirmed=3)
    assert shelf.sweep() == 1


def test_what_no_rule_selected_goes_where_the_site_says_so(tmp_path: Path, migrated: Path, crafted, paths):
    shelf = Shelf(tmp_path, migrated, crafted, passed_days=7)
    shelf.receive(paths)
    shelf.set(State.PASSED, since=NOW - timedelta(days=6))
    assert shelf.sweep() == 0
    shelf.set(State.PASSED, since=NOW - timedelta(days=8))
    assert shelf.sweep() == 1
    assert "not selected by any rule" in shelf.events(audit.Event.RETENTION)[0]
    with shelf.database.write() as session, pytest.raises(PermanentError, match="left the disk"):
        retry(session, Queue(shelf.database), session.scalars(sa.select(Series)).one(), "user:test")
    shelf.database.close()


def test_the_same_again_is_kept_again_and_starts_no_work(shelf: Shelf, paths):
    shelf.receive(paths)
    shelf.deliver("pacs")
    shelf.sweep()
    assert shelf.receive(paths) == [Status.SUCCESS] * 3
    assert len(shelf.files()) == 3
    series = shelf.series()
    assert (series.state, series.removed_at, series.instance_count) == (State.DONE, None, 3)
    assert "known already and removed since" in shelf.events(audit.Event.ARRIVAL)[-1]
    assert shelf.sweep() == 0, "its age begins anew"
    assert reconcile(shelf.database, shelf.spool) == reconcile(shelf.database, shelf.spool)
    assert len(shelf.events(audit.Event.ARRIVAL)) == 2, "a start tells nothing new"


def test_other_bytes_are_a_conflict_though_the_file_is_gone(shelf: Shelf, paths, crafted):
    shelf.receive(paths)
    shelf.deliver("pacs")
    shelf.sweep()

    def change(made, _index) -> None:
        made.SeriesDescription = "OTHER"

    assert shelf.receive(crafted.series(3, change)) == [Status.CONFLICT] * 3
    assert shelf.files() == []
    assert len(shelf.events(audit.Event.CONFLICT)) == 3


def test_a_late_slice_waits_for_the_rest(shelf: Shelf, paths, crafted):
    shelf.receive(paths)
    shelf.deliver("pacs")
    shelf.sweep()
    shelf.receive([late := crafted.one(3)])
    assert shelf.series().state == State.RECEIVING
    later = datetime.now(UTC) + timedelta(minutes=5)
    assert complete.sweep(shelf.config, shelf.database, shelf.config.spool_dir, later) == 1
    series = shelf.series()
    assert series.state == State.REFUSED
    assert "3 of 4 instances had left the disk" in (series.reason or "")
    assert len(shelf.files()) == 1, "and the late one is kept"
    with shelf.database.write() as session, pytest.raises(PermanentError, match="send the whole series again"):
        retry(session, Queue(shelf.database), session.scalars(sa.select(Series)).one(), "user:test")
    shelf.receive([*paths, late])
    assert shelf.series().state == State.RECEIVING
    assert complete.sweep(shelf.config, shelf.database, shelf.config.spool_dir, later) == 1
    assert shelf.series().state == State.COMPLETE


def test_a_database_from_before_the_removal_learns_of_it(shelf: Shelf, paths):
    shelf.receive(paths)
    shelf.deliver("pacs")
    with shelf.database.read() as session:
        hashes = {row.path: row.sha256 for row in session.scalars(sa.select(Instance))}
    shelf.spool.remove(hashes)  # and the transaction that would tell it is lost
    found = reconcile(shelf.database, shelf.spool)
    assert (found.removed, found.vanished) == (3, 0)
    assert shelf.series().removed_at is not None
    assert shelf.events(audit.Event.FAILURE) == []


def test_what_was_stored_again_and_not_indexed_is_found(shelf: Shelf, paths):
    shelf.receive(paths)
    shelf.deliver("pacs")
    shelf.sweep()
    intake = Intake(shelf.spool, lambda _: None)  # killed before the database heard of it
    for path in paths:
        with path.open("rb") as file:
            intake.accept(file, CT)
    assert reconcile(shelf.database, shelf.spool).indexed == 3
    assert shelf.series().removed_at is None


def test_a_series_that_moves_meanwhile_stays(shelf: Shelf, paths, crafted):
    shelf.receive(paths)
    shelf.deliver("pacs")
    (going,) = retention.due(shelf.config, shelf.database, NOW)
    shelf.receive([crafted.one(3)])
    assert retention.remove(shelf.config, shelf.database, going) == 0
    assert len(shelf.files()) == 4


def test_work_files_of_finished_jobs_go(shelf: Shelf, paths):
    shelf.receive(paths)
    finished = shelf.deliver("pacs")
    running = shelf.config.derived_dir / uuid4().hex
    running.mkdir()
    with shelf.database.write() as session:
        job = session.scalars(sa.select(Job)).one()
        session.add(
            Job(
                id=running.name,
                series_id=job.series_id,
                round=2,
                rule_name="r",
                rule_version=1,
                plugin="identity",
                parameters={},
                destinations=[],
                created_at=NOW,
            )
        )
    for folder in (finished, running):
        for name in (".report.json.7.tmp", "0000.7.tmp"):
            (folder / name).write_bytes(b"x")
    assert retention.clean_work(shelf.config, shelf.database) == 2
    assert not [file for file in finished.iterdir() if file.suffix == ".tmp"]
    assert len(list(finished.glob("*.dcm"))) == 3
    assert len(list(running.iterdir())) == 2, "of a job that is not finished"


class TestLowDisk:
    @pytest.fixture
    def free(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
        free_mb = {"now": 100_000}

        class Usage:
            @property
            def free(self) -> int:
                return free_mb["now"] << 20

        monkeypatch.setattr("node.store.watermark.shutil.disk_usage", lambda _: Usage())
        return free_mb

    @pytest.fixture
    def shelf(self, shelf: Shelf) -> Shelf:
        shelf.config = shelf.config.model_copy(
            update={"retention": Retention(), "receive": Receive(disk_reserve_mb=2048)}
        )
        return shelf

    @pytest.mark.parametrize(
        ("free_mb", "level"),
        [(9000, "ok"), (8191, "warn"), (4096, "warn"), (4095, "low"), (2048, "low"), (2047, "stop")],
    )
    def test_levels(self, shelf: Shelf, free, free_mb: int, level: str):
        free["now"] = free_mb
        space = watermark.look(shelf.config)
        assert (space.level, space.free_mb) == (level, free_mb)
        assert f"{free_mb} MiB free" in space.message

    def test_it_tells_before_it_acts_and_never_takes_what_was_not_sent(self, shelf: Shelf, free, paths):
        shelf.receive(paths)
        shelf.deliver("pacs", since=NOW - timedelta(days=2))
        free["now"] = 5000
        assert shelf.sweep() == 0
        free["now"] = 3000
        assert shelf.sweep() == 0, "told, and nothing done yet"
        assert [message.split(";")[0].partition(", ")[2] for message in shelf.events(audit.Event.DISK)] == [
            "under 8192", "under 4096: delivered series go after 2 days already".replace("2 days", "1 days"),
        ]  # fmt: skip
        with shelf.database.write() as session:
            session.execute(sa.update(Delivery).values(confirmed_at=None, confirmed_count=None))
        assert shelf.sweep() == 0, "not confirmed"
        assert len(shelf.files()) == 3
        with shelf.database.write() as session:
            session.execute(sa.update(Delivery).values(confirmed_at=NOW, confirmed_count=3))
        assert shelf.sweep() == 1
        assert shelf.files() == []
        assert shelf.events(audit.Event.RETENTION)[-1].endswith("delivered, and the disk is low")
        assert len(shelf.events(audit.Event.DISK)) == 2, "a level is told once"

    def test_no_more_goes_than_is_needed(self, shelf: Shelf, free, crafted, monkeypatch):
        shelf.receive(crafted.series(3))
        shelf.deliver("pacs", since=NOW - timedelta(days=2))
        free["now"] = 3000
        shelf.sweep()
        free["now"] = 5000
        assert shelf.sweep() == 0


def test_the_command_says_what_would_go_and_lets_it_go(shelf: Shelf, paths, tmp_path: Path):
    shelf.receive(paths)
    shelf.deliver("pacs")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(shelf.config.data_dir)}))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["--config", str(file), "retention", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    told = run("--dry-run")
    assert "1 series would leave the disk" in told
    assert shelf.series().series_instance_uid in told
    assert len(shelf.files()) == 3
    assert len(json.loads(run("--dry-run", "--json"))["series"]) == 1
    assert "1 series left the disk" in run()
    assert shelf.files() == []
    assert "0 series would leave" in run("--dry-run")
    with shelf.database.read() as session:
        row = session.scalars(sa.select(AuditRecord).where(AuditRecord.event == "retention")).one()
    assert row.actor.startswith("user:")
    done = CliRunner().invoke(app, ["--config", str(file), "series", "show", shelf.series().series_instance_uid])
    assert "files: left the disk at" in done.stdout
