"""The queue on SQLite and on Postgres: what is enqueued is committed with the job, and is run once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from postgres import Postgres
from workshop import WHOLE, Workshop

from node import queue
from node.audit import Event, record, verify
from node.queue import Executor, Queue, Taken
from node.store.session import Database, upgrade
from node.store.tables import AuditHead, Job, Series


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty database `queue` in a Postgres of our own."""
    server = Postgres("queue", "workflow")
    yield server.url
    server.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database at the newest migration; the one on Postgres is shared."""
    url = f"sqlite:///{tmp_path / 'x.sqlite3'}" if request.param == "sqlite" else request.getfixturevalue("postgres")
    upgrade(url)
    return url


@pytest.fixture
def opened(url: str) -> Iterator[tuple[Database, Queue]]:
    database = Database(url)
    queue = Queue(database)
    yield database, queue
    queue.close()
    database.close()


@contextmanager
def executor(database: Database, run: Callable[[str, int], None]) -> Iterator[None]:
    running = Executor(database, "worker-0", run, poll_s=0.02)
    running.start()
    try:
        yield
    finally:
        running.stop()


def add(session: sa.orm.Session, **job: int) -> Job:
    now = datetime.now(UTC)
    series = Series(
        study_instance_uid="1.1", series_instance_uid=f"1.2.{uuid4().int >> 40}", state="queued", state_since=now,
        first_arrival_at=now, last_arrival_at=now, calling_ae_title="CT", called_ae_title="NODE", address="",
    )  # fmt: skip
    session.add(series)
    session.flush()
    row = Job(
        id=uuid4().hex, series_id=series.id, round=1, rule_name="r", rule_version=1, plugin="p", parameters={},
        destinations=[], created_at=now, **job,
    )  # fmt: skip
    session.add(row)
    return row


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_rollback_leaves_neither_the_job_nor_the_audit_record_nor_the_queue(opened: tuple[Database, Queue]):
    database, queue = opened

    def head() -> int:
        with database.read() as session:
            return session.get_one(AuditHead, 1).seq if session.get(AuditHead, 1) else 0

    before = head()
    with pytest.raises(ZeroDivisionError), database.write() as session:
        job = add(session)
        queue.enqueue(session, job)
        record(session, Event.DECISION, "selected")
        1 / 0  # noqa: B018
    with database.read() as session:
        assert session.get(Job, job.id) is None
    assert queue.known([job]) == set()
    assert head() == before


def test_a_job_is_run_once_with_its_attempt(opened: tuple[Database, Queue]):
    database, queue = opened
    runs: list[tuple[str, int]] = []
    with database.write() as session:
        job = add(session)
        queue.enqueue(session, job)
        queue.enqueue(session, job)
    assert queue.known([job]) == {job.id}
    with executor(database, lambda job_id, attempt: runs.append((job_id, attempt))):
        wait(lambda: not queue.known([job]))
        with database.write() as session:
            again = session.get_one(Job, job.id)
            again.attempt += 1
            queue.enqueue(session, again)
        wait(lambda: not queue.known([again]))
    assert runs == [(job.id, 0), (job.id, 1)]


def test_the_higher_priority_goes_first_and_then_the_older(opened: tuple[Database, Queue]):
    database, queue = opened
    runs: list[str] = []
    jobs = []
    for priority in (0, 0, 7, -3, 7):
        with database.write() as session:
            jobs.append(add(session, priority=priority))
            queue.enqueue(session, jobs[-1])
        time.sleep(0.005)  # the queue orders by the millisecond
    with executor(database, lambda job_id, _attempt: runs.append(job_id)):
        wait(lambda: len(runs) == 5)
    assert runs == [jobs[index].id for index in (2, 4, 0, 1, 3)]


def test_one_job_at_a_time(opened: tuple[Database, Queue]):
    database, queue = opened
    running, most, done = 0, 0, 0

    def run(_job_id: str, _attempt: int) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        time.sleep(0.1)
        running -= 1
        done += 1

    with database.write() as session:
        for _ in range(3):
            queue.enqueue(session, add(session))
    with executor(database, run):
        wait(lambda: done == 3)
    assert most == 1


def test_a_delayed_job_is_not_run_before_its_time(opened: tuple[Database, Queue]):
    database, queue = opened
    ran = threading.Event()
    with executor(database, lambda _job_id, _attempt: ran.set()):
        began = time.monotonic()
        with database.write() as session:
            job = add(session)
            queue.enqueue(session, job, delay_s=0.7)
        assert queue.known([job]) == {job.id}
        assert ran.wait(10)
        assert time.monotonic() - began >= 0.7


def test_a_cancelled_job_is_not_run(opened: tuple[Database, Queue]):
    database, queue = opened
    runs: list[str] = []
    with database.write() as session:
        cancelled, other = add(session, priority=9), add(session)
        queue.enqueue(session, cancelled)
        queue.enqueue(session, other)
    queue.cancel(cancelled)
    with executor(database, lambda job_id, _attempt: runs.append(job_id)):
        wait(lambda: bool(runs))
    assert runs == [other.id]


def test_what_a_worker_has_in_hand_can_be_given_back(opened: tuple[Database, Queue]):
    database, queue = opened
    gate, runs = threading.Event(), []

    def run(job_id: str, attempt: int) -> None:
        runs.append((job_id, attempt))
        gate.wait(20)

    with database.write() as session:
        job = add(session)
        queue.enqueue(session, job)
    with executor(database, run):
        wait(lambda: bool(runs))
        assert queue.taken() == [Taken(f"{job.id}-0", "worker-0")]
        queue.give_back(queue.taken()[0])
        assert queue.taken() == []
        gate.set()
        wait(lambda: not queue.known([job]))
    assert runs == [(job.id, 0)] * 2


def test_steps_that_are_finished_return_what_they_returned(opened: tuple[Database, Queue]):
    database, queue_ = opened
    calls: list[str] = []
    results: list[list[str]] = []

    def run(_job_id: str, _attempt: int) -> None:
        results.append([queue.step(name, lambda name=name: calls.append(name) or name.upper()) for name in "ab"])
        if len(results) == 1:
            raise SystemExit  # the end of a worker: nothing is recorded of the job

    with database.write() as session:
        job = add(session)
        queue_.enqueue(session, job)
    with executor(database, run):
        wait(lambda: len(results) == 1)
    with executor(database, run):
        wait(lambda: not queue_.known([job]))
    assert (calls, results) == (["a", "b"], [["A", "B"]] * 2)


def test_two_processes_may_prepare_a_new_database_at_once(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'x.sqlite3'}"
    program = "import sys; from node.store.session import upgrade; from node.queue import prepare; upgrade(sys.argv[1]); prepare(sys.argv[1])"
    nodes = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [node.communicate(timeout=60)[1] for node in nodes] == ["", ""]


def test_a_series_goes_through_the_workflow_on_postgres_too(postgres: str, tmp_path: Path):
    workshop = Workshop(tmp_path, postgres.replace("/queue?", "/workflow?"))
    try:
        workshop.tell("block-harmonizing")
        row = workshop.series(3)
        killed = workshop.start()
        workshop.reached("harmonizing")
        killed.kill()
        killed.wait()
        workshop.forget("block-harmonizing")
        workshop.start()
        assert workshop.wait(row).state == "done"
        assert workshop.moves(row) == WHOLE
        assert workshop.held(row) == workshop.derived(row) != set()
        workshop.assert_sound()
    finally:
        workshop.close()


def test_what_is_read_belongs_to_one_moment(url: str):
    """Else an audit trail that grows while it is verified looks as if its end were missing."""
    database = Database(url)
    with database.read() as session:
        before = verify(session)
        with database.write() as writing:
            record(writing, Event.START, "meanwhile")
        assert verify(session) == before
    with database.read() as session:
        assert verify(session) == (before[0] + 1, [])
    database.close()
