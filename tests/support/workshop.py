"""A workflow with doubles at its edges, in this process or in one that a test can kill.

Run as a program it is a worker: `python workshop.py FOLDER EXECUTOR_ID`. What the doubles do is told by files in the
folder, so that a test tells a worker in another process too:

    block-STEP      the step stops there for ever; `in-STEP` appears when it is reached
    fail-STEP       a line a failure still to come, as `TransientError: the disk is full`; the first line is taken
    short           how many instances the destination loses
    unasked         the destination cannot be asked
    newer           the plugin is of a newer version
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import sqlalchemy as sa
from pydantic import BaseModel
from pydicom import Dataset

import node.dicom.volume
import node.plugin
from node import audit, errors
from node.config import Config, FolderDestination, Process, Retry
from node.dicom.uids import derived_instance_uid
from node.journey import WORKING, State
from node.plugin import Measurement, Method, Quantity, Report, Verdict
from node.queue import Queue
from node.store.session import Database, upgrade
from node.store.tables import AuditRecord, DerivedInstance, Instance, Job, Series
from node.workflow import Steps, run_worker
from node.workflow.worker import Worker

SHAPE = (8, 8)
WHOLE = ["queued", "measuring", "harmonizing", "checking", "deriving", "sending", "confirming", "done"]
AT_REST = {State.DONE, State.FAILED, State.WAITING, State.REFUSED, State.CANCELLED, State.RECEIVING}


class Parameters(BaseModel):
    behave: str = ""  # "nan", "shape", "few", "integers", "raise", "refuse", "not passed", "slow", "unjson"


class Double:
    """A plugin that adds one HU, or misbehaves as its parameters say."""

    name, version, Parameters = "double", "1", Parameters

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def measure(self, volume, parameters):
        _reach(self.folder, "measuring")
        if parameters.behave == "refuse":
            raise errors.SeriesRefused("no lung in the series")
        data = {"what": {1, 2}} if parameters.behave == "unjson" else {"stamp": str(uuid4())}
        return Measurement(data, {"f50": Quantity(0.4, "/mm", 0.39, 0.41)})

    def method(self, measurement, parameters):
        return Method("double", "2" if (self.folder / "newer").exists() else "1", "one HU more", "00")

    def harmonize(self, volume, measurement, parameters):
        for index, hu in enumerate(volume.hu):
            if index == 1:
                _reach(self.folder, "harmonizing")
                match parameters.behave:
                    case "nan":
                        yield np.full(SHAPE, np.nan, np.float32)
                    case "shape":
                        yield np.zeros((3, 3), np.float32)
                    case "integers":
                        yield hu.astype(np.int16)
                    case "raise":
                        raise ZeroDivisionError("a fault of the plugin")
                    case "few":
                        return
            if parameters.behave == "slow":
                time.sleep(0.05)
            yield hu + np.float32(1)

    def check(self, volume, harmonized, measurement, parameters):
        _reach(self.folder, "checking")
        failed = parameters.behave == "not passed"
        return Verdict(
            not failed, ("bias 12 HU, at most 1 allowed",) if failed else (), {"bias": Quantity(1.0, "[hnsf'U]")}
        )

    def report(self, volume, harmonized, measurement, parameters, verdict):
        return Report({"mean": Quantity(float("nan"), "1")}, {}, {}, {"../slice": b"png"}, ("a note",))


def load_volume(paths: Sequence[Path]) -> node.dicom.volume.LoadedVolume:
    """The spool of a test holds arrays."""
    hu = np.stack([np.load(path) for path in paths])
    padding = np.zeros(hu.shape, bool)
    padding[:, 0, 0] = True
    headers = []
    for path in paths:
        header = Dataset()
        header.SOPInstanceUID = path.stem
        headers.append(header)
    return node.dicom.volume.LoadedVolume(
        "1.2", hu, (1.0, 1.0, 1.0), 1.0, padding, tuple({} for _ in paths), tuple(headers), tuple(paths)
    )


def steps(folder: Path) -> Steps:
    """Doubles of the stages; the destination is a folder."""

    def derive(loaded, harmonized, method, measurement, settings, into, only, made_at):
        made = []
        for index, source in enumerate(loaded.sources):
            uid = str(source.SOPInstanceUID)
            if only is None or uid in only:
                derived = derived_instance_uid(uid, method.name, method.version, method.fingerprint)
                path = into / f"{index:04}.dcm"
                path.write_bytes(f"{derived} {uid} {made_at.isoformat()} ".encode() + harmonized[index].tobytes())
                made.append(_Derived(uid, derived, path, hashlib.sha256(path.read_bytes()).hexdigest()))
        _reach(folder, "deriving")
        return made

    def send(destination, paths, progress):
        destination.path.mkdir(exist_ok=True)
        for done, path in enumerate(paths, start=1):
            content = path.read_bytes()
            (destination.path / content.split()[0].decode()).write_bytes(content)
            progress(done)
        _reach(folder, "sending")
        return len(paths)

    def confirm(destination, study_uid, series_uid, among):
        _reach(folder, "confirming")
        if (folder / "unasked").exists():
            return None
        lost = folder / "short"
        return len(_held(destination.path, study_uid)) - (int(lost.read_text()) if lost.exists() else 0)

    def commit(destination, request):
        raise AssertionError("a folder commits itself to nothing")

    return Steps(derive=derive, send=send, confirm=confirm, commit=commit)


@dataclass(frozen=True)
class _Derived:
    source_sop_instance_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str


def _held(destination: Path, series_uid: str) -> set[str]:
    """The derived instances there of the source series, whose UID is its study's too."""
    files = destination.iterdir() if destination.exists() else ()
    return {path.name for path in files if path.read_bytes().split()[1].startswith(f"{series_uid}.".encode())}


def _reach(folder: Path, step: str) -> None:
    """Do here what the test wants done."""
    failures = folder / f"fail-{step}"
    if failures.exists():
        first, *rest = failures.read_text().splitlines()
        failures.write_text("\n".join(rest)) if rest else failures.unlink()
        kind, _, message = first.partition(": ")
        raise getattr(errors, kind, None)(message) if hasattr(errors, kind) else OSError(28, message)
    if (folder / f"block-{step}").exists():
        (folder / f"in-{step}").touch()
        time.sleep(600)


def config(folder: Path, url: str = "", **process: Any) -> Config:
    return Config(
        data_dir=folder,
        database_url=url,
        destinations=(
            FolderDestination(name="pacs", path=folder / "pacs"),
            FolderDestination(name="archive", path=folder / "archive"),
        ),
        process=Process(retry=Retry(attempts=3, first_delay_s=0.02, max_delay_s=0.05), **process),
    )


def install(folder: Path, patch: Callable[[Any, str, Any], None]) -> None:
    """Put the doubles where the workflow finds the plugin and the volume."""
    patch(node.plugin, "load", lambda _name: Double(folder))
    patch(node.dicom.volume, "load_volume", load_volume)


class Workshop:
    """A node's database and folder, with series to work on."""

    def __init__(self, folder: Path, url: str = "", **process: Any) -> None:
        self.folder, self.config = folder, config(folder, url, **process)
        upgrade(self.config.url)
        self.database = Database(self.config.url)
        self.queue = Queue(self.database)
        self.processes: list[subprocess.Popen[str]] = []

    def series(self, count: int = 4, *, behave: str = "", destinations: Sequence[str] = ("pacs",), **job: Any) -> int:
        """A series that is complete and enqueued; returns its row."""
        now = datetime.now(UTC)
        uid = f"1.2.{uuid4().int >> 40}"
        with self.database.write() as session:
            series = Series(
                study_instance_uid=uid, series_instance_uid=uid, state=str(State.COMPLETE), state_since=now,
                first_arrival_at=now, last_arrival_at=now, calling_ae_title="CT", called_ae_title="NODE",
                address="127.0.0.1", instance_count=count, facts={"number_of_slices": count},
            )  # fmt: skip
            session.add(series)
            session.flush()
            self.arrive(session, series, count, 1)
            self.enqueue(session, series, 1, {"behave": behave}, list(destinations), **job)
            return series.id

    def arrive(self, session: Any, series: Series, count: int, in_round: int | None) -> None:
        for _ in range(count):
            uid = f"{series.series_instance_uid}.{uuid4().int >> 100}"
            path = self.config.spool_dir / f"{uid}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.full(SHAPE, -1000, np.float32))
            session.add(
                Instance(
                    series_id=series.id,
                    sop_instance_uid=uid,
                    sop_class_uid="1.2",
                    transfer_syntax_uid="1.2",
                    path=path.name,
                    size_bytes=1,
                    sha256="",
                    received_at=datetime.now(UTC),
                    calling_ae_title="CT",
                    round=in_round,
                )
            )

    def enqueue(
        self, session: Any, series: Series, in_round: int, parameters: dict, destinations: list[str], **job: Any
    ) -> None:
        """What the select stage does."""
        row = Job(
            id=uuid4().hex, series_id=series.id, round=in_round, rule_name="r", rule_version=1, plugin="double",
            parameters=parameters, destinations=destinations, **{"created_at": datetime.now(UTC), **job},
        )  # fmt: skip
        session.add(row)
        audit.move(session, series, State.QUEUED, audit.Event.DECISION, "a rule selects it")
        self.queue.enqueue(session, row)

    def wait(self, series_id: int, *states: State, timeout_s: float = 25.0) -> Series:
        """The series when it has come to one of the states, to rest by default."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self.database.read() as session:
                series = session.get_one(Series, series_id)
                if State(series.state) in (states or AT_REST):
                    return series
            if time.monotonic() > deadline:
                raise AssertionError(f"still {series.state} after {timeout_s} s: {series.reason}\n{self.log()}")
            time.sleep(0.02)

    def job(self, series_id: int, in_round: int = 1) -> Job:
        with self.database.read() as session:
            return session.scalars(sa.select(Job).where(Job.series_id == series_id, Job.round == in_round)).one()

    def moves(self, series_id: int) -> list[str]:
        """The states that the audit trail says the series went through."""
        return [row.detail["to"] for row in self.records(series_id) if "to" in row.detail]

    def records(self, series_id: int, event: audit.Event | None = None) -> list[AuditRecord]:
        with self.database.read() as session:
            uid = session.get_one(Series, series_id).series_instance_uid
            query = sa.select(AuditRecord).where(AuditRecord.series_instance_uid == uid).order_by(AuditRecord.seq)
            return [row for row in session.scalars(query) if event is None or row.event == event]

    def held(self, series_id: int, destination: str = "pacs") -> set[str]:
        """The SOP Instance UIDs that a destination got for a series."""
        with self.database.read() as session:
            uid = session.get_one(Series, series_id).series_instance_uid
        return _held(self.folder / destination, uid)

    def derived(self, series_id: int) -> set[str]:
        with self.database.read() as session:
            return set(
                session.scalars(
                    sa.select(DerivedInstance.sop_instance_uid)
                    .join(Job, Job.id == DerivedInstance.job_id)
                    .where(Job.series_id == series_id)
                )
            )

    def assert_sound(self) -> None:
        """The audit chain holds."""
        with self.database.read() as session:
            assert audit.verify(session)[1] == []

    def tell(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text)

    def forget(self, name: str) -> None:
        (self.folder / name).unlink()

    def forget_all(self) -> None:
        for name in ("short", "unasked", "newer", *(f"fail-{state}" for state in WORKING)):
            (self.folder / name).unlink(missing_ok=True)

    def reached(self, step: str, timeout_s: float = 25.0) -> None:
        """Wait until a worker stands in the step."""
        deadline = time.monotonic() + timeout_s
        while not (self.folder / f"in-{step}").exists():
            assert time.monotonic() < deadline, f"{step} was not reached\n{self.log()}"
            time.sleep(0.01)

    def start(self, executor_id: str = "worker-0", **options: Any) -> subprocess.Popen[str]:
        """A worker in a process of its own."""
        arguments = [f"{name}={value}" for name, value in options.items()]
        with (self.folder / "log.txt").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", "-W", "error", __file__, str(self.folder), self.config.database_url, executor_id, *arguments],
                stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def log(self) -> str:
        """What the workers in processes of their own said."""
        file = self.folder / "log.txt"
        return file.read_text() if file.exists() else ""

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
        self.queue.close()
        self.database.close()


@contextmanager
def worker(workshop: Workshop, executor_id: str = "worker-0", **options: Any) -> Iterator[Worker]:
    """A worker in this process; it must be idle when it ends."""
    running = Worker(workshop.config, workshop.database, executor_id, steps(workshop.folder), poll_s=0.02, **options)
    assert running.start(threading.Event())
    try:
        yield running
    finally:
        assert running.stop()


def main(folder: Path, url: str, executor_id: str, *options: str) -> None:
    install(folder, setattr)
    told = {name: float(value) for name, value in (option.split("=") for option in options)}
    lease_s = told.pop("lease_s", 60.0)
    settings = config(folder, url, **told)
    run_worker(
        settings,
        Database(settings.url),
        executor_id,
        steps(folder),
        exit_with_parent=True,
        poll_s=0.02,
        lease_s=lease_s,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *sys.argv[3:])
