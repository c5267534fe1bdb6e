"""Workers that die, hang or are told to stop: another finishes their work, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from dbos._dbos import _get_dbos_instance
from workshop import WHOLE, Workshop, worker

from node.audit import Event
from node.errors import ConfigError, PermanentError
from node.journey import State
from node.store import leases
from node.store.tables import Job, Series
from node.workflow import retry, start_now


def test_a_higher_priority_goes_first(workshop: Workshop):
    last, first = workshop.series(1, priority=0), workshop.series(1, priority=5)
    with worker(workshop):
        workshop.wait(last)
        assert workshop.job(first).finished_at < workshop.job(last).started_at


def test_a_flood_of_high_priority_does_not_starve_what_waited_longer(workshop: Workshop):
    """Five points of priority are worth five minutes of waiting, and no more."""
    ten_minutes_ago = datetime.now(UTC) - timedelta(minutes=10)
    flood = [workshop.series(1, priority=5) for _ in range(3)]
    low = workshop.series(1, priority=0, created_at=ten_minutes_ago)
    with worker(workshop):
        for row in flood:
            workshop.wait(row)
        assert workshop.job(low).finished_at < min(workshop.job(row).started_at for row in flood)


def hours(begin: timedelta, end: timedelta) -> dict:
    """The window of a rule that opens and closes so long from now."""
    now = datetime.now(UTC)
    return {"zone": "UTC", "windows": [{"hours": f"{now + begin:%H:%M}-{now + end:%H:%M}"}]}


def test_a_job_whose_hours_ended_before_a_worker_was_free_waits_for_the_next_ones(workshop: Workshop):
    row = workshop.series(1, window=hours(timedelta(hours=2), timedelta(hours=4)))
    with worker(workshop):
        deadline = time.monotonic() + 25
        while workshop.job(row).attempt == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        job, series = workshop.job(row), workshop.wait(row, State.QUEUED)
        assert series.reason.startswith("waits until ")
        assert "`harmonode series start-now " in series.reason
        assert timedelta(hours=1) < job.starts_at - datetime.now(UTC) <= timedelta(hours=2)
        assert workshop.records(row, Event.DECISION)[-1].message == series.reason
        with workshop.database.write() as session:
            start_now(session, workshop.queue, session.get_one(Series, row), "user:ann")
        assert workshop.wait(row, State.DONE).state == "done"
    assert workshop.moves(row) == WHOLE
    assert workshop.records(row, Event.DECISION)[-1].actor == "user:ann"
    with pytest.raises(PermanentError, match="is done: only a queued one"), workshop.database.write() as session:
        start_now(session, workshop.queue, session.get_one(Series, row), "ann")


def test_a_job_within_its_hours_starts(workshop: Workshop):
    row = workshop.series(1, window=hours(timedelta(hours=-2), timedelta(hours=2)))
    with worker(workshop):
        assert workshop.wait(row).state == "done"


def test_a_job_that_costs_three_workers_is_stopped(workshop: Workshop):
    row = workshop.series(4)
    with workshop.database.write() as session:
        session.get_one(Series, row).state = "harmonizing"
        job = session.get_one(Job, workshop.job(row).id)
        job.executor_id, job.takeovers = "worker-7", 2
    with worker(workshop):
        series = workshop.wait(row)
        assert series.state == "failed"
        assert "worker worker-7 was lost while the series was harmonizing, the 3rd one" in series.reason
        with workshop.database.write() as session:
            retry(session, workshop.queue, session.get_one(Series, row), "ann")
        assert workshop.wait(row, State.DONE).state == "done"


@pytest.mark.parametrize("steps", [("measuring", "harmonizing"), ("checking", "deriving"), ("sending", "confirming")])
def test_a_worker_killed_in_a_step_is_followed_by_one_that_finishes_once(workshop: Workshop, steps: tuple[str, str]):
    for step in steps:
        workshop.tell(f"block-{step}")
    row = workshop.series(4)
    for step in steps:
        killed = workshop.start()
        workshop.reached(step)
        killed.kill()
        killed.wait()
        workshop.forget(f"block-{step}")
    with worker(workshop):
        assert workshop.wait(row).state == "done"
    assert workshop.moves(row) == WHOLE
    assert len(workshop.held(row)) == 4
    assert workshop.held(row) == workshop.derived(row)
    taken_up = workshop.records(row, Event.RETRY)
    assert [one.detail["state"] for one in taken_up] == list(steps)
    assert workshop.job(row).takeovers == 2


def test_another_worker_takes_over_when_the_lease_lapses(workshop: Workshop):
    workshop.tell("block-checking")
    row = workshop.series(2)
    killed = workshop.start("worker-0", lease_s=1)
    workshop.reached("checking")
    killed.kill()
    killed.wait()
    workshop.forget("block-checking")
    with worker(workshop, "worker-1", lease_s=1):
        assert workshop.wait(row).state == "done"
    assert workshop.job(row).executor_id == "worker-1"
    assert workshop.moves(row) == WHOLE


@pytest.mark.parametrize("how", ["parent", "signal"])
def test_a_worker_that_is_told_to_stop_does_not_count_as_lost(workshop: Workshop, how: str):
    workshop.tell("block-harmonizing")
    row = workshop.series(2)
    process = workshop.start()
    workshop.reached("harmonizing")
    process.stdin.close() if how == "parent" else process.terminate()
    assert process.wait(10) == 0
    workshop.forget("block-harmonizing")
    with worker(workshop):
        assert workshop.wait(row).state == "done"
    assert workshop.job(row).takeovers == 0


def test_a_job_that_the_queue_gave_up_while_the_database_was_away_is_taken_up_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
):
    """The moment between two steps cannot be met from outside: the queue's own database fails there, and once more as it
    writes that it gave the workflow up."""
    away = sa.exc.OperationalError("the server is gone", None, Exception())
    left = {"check_operation_execution": 1, "update_workflow_outcome": 1}
    row = workshop.series(1)
    with worker(workshop, lease_s=2.0):
        database = _get_dbos_instance()._sys_db
        for name in left:
            monkeypatch.setattr(database, name, partial(_fails_once, left, name, getattr(database, name), away))
        assert workshop.wait(row, State.DONE).state == "done"
    assert set(left.values()) == {0}
    assert workshop.job(row).takeovers == 0
    assert workshop.moves(row) == WHOLE


def _fails_once(
    left: dict[str, int], name: str, call: Callable[..., Any], fault: Exception, /, *args: Any, **more: Any
) -> Any:
    if left[name]:
        left[name] -= 1
        raise fault
    return call(*args, **more)


def test_a_step_that_hangs_is_stopped_with_its_worker(workshop: Workshop):
    workshop.tell("block-harmonizing")
    row = workshop.series(2)
    process = workshop.start(step_timeout_s=0.5)
    series = workshop.wait(row)
    assert (series.state, series.reason) == ("failed", "harmonizing took longer than 0.5 s and was stopped")
    assert process.wait(10) == 75
    workshop.forget("block-harmonizing")
    with worker(workshop):
        assert workshop.wait(workshop.series(1)).state == "done"
    assert workshop.wait(row).state == "failed"


def test_a_worker_waits_for_another_of_its_name(workshop: Workshop):
    workshop.tell("block-harmonizing")
    row = workshop.series(2)
    first = workshop.start()
    workshop.reached("harmonizing")
    workshop.forget("block-harmonizing")
    killer = threading.Timer(1.0, first.kill)
    killer.start()
    began = time.monotonic()
    with worker(workshop):
        assert time.monotonic() - began > 0.9, "it takes nothing while the other lives"
        assert workshop.wait(row).state == "done"
    killer.join()
    first.wait()


def test_a_worker_that_waits_for_its_name_can_be_told_to_stop_and_harms_no_other(workshop: Workshop):
    workshop.tell("block-harmonizing")
    row = workshop.series(2)
    first = workshop.start()
    workshop.reached("harmonizing")
    second = workshop.start()
    deadline = time.monotonic() + 20
    while "another process has this worker's name" not in workshop.log():
        assert time.monotonic() < deadline, workshop.log()
        time.sleep(0.02)
    second.terminate()
    assert second.wait(5) == 0
    assert workshop.job(row).executor_id == "worker-0"
    with workshop.database.read() as session:
        assert leases.alive(session, datetime.now(UTC)) == {"worker-0"}
    first.kill()


def test_a_worker_must_have_a_name_that_a_file_can_have(workshop: Workshop):
    with pytest.raises(ConfigError, match=r"cannot be called '\.\./x'"), worker(workshop, "../x"):
        pass
