"""kill -9 before every system call and every SQL statement of receiving, completing, selecting and retention.

A process that has all imported forks a child for each point, and the child kills itself there. A second child takes up
what it left. So the loop has no gaps: it ends when a child comes to the end of its work.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node import audit
from node.config import Config, Receive
from node.journey import State
from node.receive import Intake
from node.series import Sender
from node.store.session import Database, upgrade
from node.store.spool import Spool, data_set_sha256
from node.store.tables import AuditRecord, Instance, Job, Series

POINTS = 200  # more than any of the steps has

NURSERY = """
    import os, signal, sys
    from datetime import UTC, datetime, timedelta
    from pathlib import Path
    import sqlalchemy as sa
    from node import complete, retention, select
    from node.config import Config, FolderDestination, Receive, Retention
    from node.queue import Queue
    from node.receive import Intake, reconcile
    from node.receive.index import index
    from node.series import Sender
    from node.store.session import Database
    from node.store.spool import Spool
    import pynetdicom, dbos

    LATER = datetime.now(UTC) + timedelta(days=40)

    def receive(config, database, argument):
        told = []
        intake = Intake(Spool(config.spool_dir, 0), told.append)
        for path in sorted(Path(argument).glob("*.dcm")):
            with path.open("rb") as file:
                outcome = intake.accept(file, Sender("CT1", "HARMONODE", "10.0.0.1"))
            if outcome.status == 0:  # as the answer to the sender
                os.write(3, path.name.encode() + b"\\n")
        with database.write() as session:
            index(session, told)

    def settle(config, database, argument):
        complete.sweep(config, database, config.spool_dir, LATER)
        select.sweep(config, database, Queue(database))

    def retain(config, database, argument):
        lapsed = timedelta(minutes=10) if argument else timedelta()  # a killed sweep keeps its lease for a while
        retention.sweep(config, database, LATER + lapsed)

    def start(config, database, argument):
        reconcile(database, Spool(config.spool_dir, 0))

    def arm(at):
        left = at
        def count(real):
            def call(*arguments, **options):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)
            return call
        for name in ("open", "fsync", "fdatasync", "link", "unlink", "replace", "rename", "mkdir", "write"):
            setattr(os, name, count(getattr(os, name)))
        statement = count(lambda *_: None)
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", lambda *_: statement())
        sa.event.listen(sa.engine.Engine, "commit", lambda *_: statement())

    for line in sys.stdin:
        step, at, folder, argument = line.rstrip("\\n").split("\\t")
        child = os.fork()
        if child == 0:
            config = Config(
                data_dir=Path(folder), receive=Receive(disk_reserve_mb=0),
                destinations=(FolderDestination(name="out", path=Path(folder) / "out"),),
                retention=Retention(passed_days=30, disk_warn_mb=0, disk_low_mb=0),
            )
            database = Database(config.url)
            handle = os.open(Path(folder) / "answered", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 3)
            with database.read() as session:
                session.execute(sa.text("SELECT 1"))
            if int(at):
                arm(int(at))
            globals()[step](config, database, argument)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def child() -> Iterator[Callable[..., bool]]:
    """`child(step, at, folder, argument)` runs a step; returns whether it came to its end, False where it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(NURSERY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def run(step: str, at: int, folder: Path, argument: object = "") -> bool:
        process.stdin.write(f"{step}\t{at}\t{folder}\t{argument}\n")
        process.stdin.flush()
        status = process.stdout.readline().strip()
        while status not in {"0", str(-signal.SIGKILL)}:
            if not status or status.lstrip("-").isdigit():
                process.kill()
                raise AssertionError(f"{step} at {at} ended with {status!r}: {process.stderr.read()[-3000:]}")
            status = process.stdout.readline().strip()  # a line of the log
        return status == "0"

    yield run
    process.stdin.close()
    process.wait(10)
    process.stdout.close()
    process.stderr.close()


class Place:
    """A node's folder, copied afresh for each point."""

    def __init__(self, template: Path, folder: Path) -> None:
        shutil.copytree(template, folder)
        self.folder, self.config = folder, Config(data_dir=folder, receive=Receive(disk_reserve_mb=0))

    @property
    def answered(self) -> list[str]:
        file = self.folder / "answered"
        return file.read_text().split() if file.exists() else []

    def look(self) -> tuple[list[Series], list[Instance], list[Job], list[AuditRecord]]:
        database = Database(self.config.url)
        with database.read() as session:
            assert audit.verify(session)[1] == []
            tables = Series, Instance, Job, AuditRecord
            series, instances, jobs, records = (list(session.scalars(sa.select(table))) for table in tables)
        database.close()
        return series, instances, jobs, sorted(records, key=lambda record: record.seq)


def every_point(child, template: Path, tmp_path: Path, step: str, argument: object = "") -> Iterator[Place]:
    """The place as each kill left it; ends with the point that the step never came to."""
    for at in range(1, POINTS):
        place = Place(template, tmp_path / f"{step}-{at}")
        over = child(step, at, place.folder, argument)
        yield place
        shutil.rmtree(place.folder)
        if over:
            assert at > 5, "it was killed at many points"
            return
    raise AssertionError(f"{step} has more than {POINTS} points")


def moves(records: list[AuditRecord]) -> list[str]:
    return [record.detail["to"] for record in records if "to" in record.detail]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    url = Config(data_dir=folder).url
    upgrade(url)
    from node.queue import prepare
    from node.rules.load import parse_rule, save

    prepare(url)
    database = Database(url)
    document = {"name": "all", "match": {"tag": "Modality", "equals": "CT"}, "plugin": "identity"}
    with database.write() as session:
        save(session, parse_rule(document), author="test", why="")
    database.close()
    return folder


@pytest.fixture
def sources(crafted) -> Path:
    return crafted.series(2)[0].parent


def test_receiving(child, empty, tmp_path, sources):
    """What was answered is there, once; what was not is there whole or not at all, and can be sent again."""
    hashes = {data_set_sha256(path) for path in sources.iterdir()}
    for place in every_point(child, empty, tmp_path, "receive", sources):
        answered = len(place.answered)
        assert child("start", 0, place.folder)
        series, instances, _, _ = place.look()
        assert len(instances) in {answered, answered + 1}, "durable, and the answer was lost"
        assert {row.sha256 for row in instances} <= hashes
        assert all(data_set_sha256(place.config.spool_dir / row.path) == row.sha256 for row in instances)
        assert child("receive", 0, place.folder, sources)
        assert child("start", 0, place.folder)
        series, instances, _, records = place.look()
        assert {row.sha256 for row in instances} == hashes
        assert [(one.state, one.instance_count) for one in series] == [(State.RECEIVING, 2)]
        assert sum(len(row.detail["instances"]) for row in records if row.event == "arrival") == 2
        spool = Spool(place.config.spool_dir, 0)
        assert len(list(spool.walk())) == 2


def test_completing_selecting_and_enqueuing(child, empty, tmp_path, sources):
    """One decision, one job, one place in the queue."""
    assert child("receive", 0, empty, sources)
    for place in every_point(child, empty, tmp_path, "settle"):
        assert child("settle", 0, place.folder)
        (series,), _, (job,), records = place.look()
        assert series.state == State.QUEUED
        assert moves(records) == ["complete", "queued"]
        database = Database(place.config.url)
        with database.read() as session:
            queued = session.execute(sa.text("SELECT workflow_uuid FROM workflow_status")).all()
        database.close()
        assert [row[0] for row in queued] == [f"{job.id}-0"]


def test_retention(child, empty, tmp_path, sources):
    """Files are gone and known to be, or there; at the next turn they are gone."""
    assert child("receive", 0, empty, sources)
    database = Database(Config(data_dir=empty).url)
    with database.write() as session:
        session.execute(sa.update(Series).values(state=str(State.PASSED)))
    database.close()
    for place in every_point(child, empty, tmp_path, "retain"):
        assert child("start", 0, place.folder)
        series, instances, _, records = place.look()
        there = set(Spool(place.config.spool_dir, 0).walk())
        assert {row.path for row in instances if row.removed_at is None} == there, (
            "none has vanished, none is forgotten"
        )
        assert [row for row in records if row.event == "failure"] == []
        assert child("retain", 0, place.folder, "later")
        series, instances, _, records = place.look()
        assert [(one.state, one.removed_at is not None) for one in series] == [(State.PASSED, True)]
        assert list(Spool(place.config.spool_dir, 0).walk()) == []
        assert [row for row in records if row.event == "retention"]
        told = []
        with next(sources.iterdir()).open("rb") as file:
            assert Intake(Spool(place.config.spool_dir, 0), told.append).accept(file, Sender("A", "B", "c")).status == 0
