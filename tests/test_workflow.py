"""The workflow with a real queue: each series ends once, with its reason, whatever happens to the workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from workshop import Workshop, install, worker

from node.audit import Event
from node.errors import PermanentError
from node.journey import State
from node.store.tables import Delivery, Job, Series
from node.workflow import cancel, retry

WHOLE = ["queued", "measuring", "harmonizing", "checking", "deriving", "sending", "confirming", "done"]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workshop with a worker in this process."""
    install(tmp_path, monkeypatch.setattr)
    monkeypatch.setattr("node.workflow.deliver.POLLS_S", (0.0,))
    opened = Workshop(tmp_path)
    with worker(opened):
        yield opened
    opened.assert_sound()
    opened.close()


def test_a_series_goes_through_every_step_once(shop: Workshop):
    row = shop.series(4, destinations=("pacs", "archive"))
    done = shop.wait(row)
    assert (done.state, shop.moves(row)) == ("done", WHOLE)
    assert len(shop.derived(row)) == 4
    assert shop.derived(row) == shop.held("pacs") == shop.held("archive")
    job = shop.job(row)
    assert job.measurement["quantities"]["f50"]["value"] == 0.4
    assert job.verdict["passed"]
    assert job.report["before"]["mean"]["value"] is None  # JSON has no NaN
    assert job.finished_at > job.started_at


def test_nothing_is_left_of_the_work_but_what_was_made(shop: Workshop):
    row = shop.series(2)
    shop.wait(row)
    names = {path.name for path in (shop.config.derived_dir / shop.job(row).id).iterdir()}
    assert names == {"0000.dcm", "0001.dcm", "___slice.png", "report.json"}


def test_padding_is_not_filtered(shop: Workshop):
    row = shop.series(1)
    shop.wait(row)
    content = next((shop.folder / "pacs").iterdir()).read_bytes()
    hu = np.frombuffer(content[-8 * 8 * 4 :], "<f4").reshape(8, 8)
    assert hu[0, 0] == -1000
    assert hu[0, 1] == -999


def test_a_series_without_destinations_is_done(shop: Workshop):
    row = shop.series(2, destinations=())
    assert shop.wait(row).state == "done"
    assert "sent nowhere" in shop.wait(row).reason


def test_a_higher_priority_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, monkeypatch.setattr)
    shop = Workshop(tmp_path)
    last, first = shop.series(1, priority=0), shop.series(1, priority=5)
    with worker(shop):
        shop.wait(last)
        assert shop.job(first).finished_at < shop.job(last).started_at
    shop.close()


@pytest.mark.parametrize(
    ("behave", "state", "reason"),
    [
        ("nan", "failed", "plugin 'double' returned 63 pixels that are no numbers in slice 2 of 4"),
        ("shape", "failed", "plugin 'double' returned shape (3, 3) for slice 2 of 4"),
        ("integers", "failed", "plugin 'double' returned int16 for slice 2 of 4"),
        ("few", "failed", "plugin 'double' returned 1 slices for the 4"),
        ("raise", "failed", "harmonizing failed: ZeroDivisionError: a fault of the plugin"),
        ("unjson", "failed", "plugin 'double' returned a measurement that is not JSON"),
        ("refuse", "refused", "no lung in the series"),
        ("not passed", "failed", "bias 12 HU, at most 1 allowed"),
    ],
)
def test_what_a_plugin_does_wrong_stops_the_series_with_the_reason(
    shop: Workshop, behave: str, state: str, reason: str
):
    row = shop.series(4, behave=behave)
    series = shop.wait(row)
    assert (series.state, series.error_kind) == (state, "permanent")
    assert reason in series.reason
    assert shop.held() == shop.derived(row) == set()
    assert shop.job(row).finished_at is not None
    assert not list(shop.config.derived_dir.rglob("*.tmp"))


def test_a_fault_that_passes_is_tried_again_and_says_so(shop: Workshop):
    shop.tell("fail-sending", "TransientError: the PACS is down\nOSError: No space left on device")
    row = shop.series(3)
    assert shop.wait(row).state == "done"
    retries = shop.records(row, Event.RETRY)
    assert [(one.detail["try"], one.detail["of"]) for one in retries] == [(1, 3), (2, 3)]
    assert "sending failed: the PACS is down (try 1 of 3, the next is due at " in retries[0].message
    assert "OSError: [Errno 28] No space left" in retries[1].message
    assert shop.moves(row) == WHOLE
    assert shop.job(row).tries == 0


def test_faults_that_do_not_pass_wait_for_a_person(shop: Workshop):
    shop.tell("fail-measuring", "\n".join(["TransientError: no route"] * 3))
    row = shop.series(2)
    series = shop.wait(row)
    assert (series.state, series.error_kind) == ("waiting", "transient")
    assert "measuring failed 3 times, at last: no route" in series.reason


def test_what_needs_a_person_waits_and_goes_on_where_it_stood(shop: Workshop):
    shop.tell("fail-sending", "OperatorError: the AE title is not known there")
    row = shop.series(3)
    series = shop.wait(row)
    assert (series.state, series.error_kind) == ("waiting", "operator")
    stamp = shop.job(row).measurement
    with shop.database.write() as session:
        retry(session, shop.queue, session.get_one(Series, row), "user:ann")
    assert shop.wait(row, State.DONE).state == "done"
    assert shop.job(row).measurement == stamp
    assert shop.moves(row) == [*WHOLE[:6], "waiting", "queued", "sending", "confirming", "done"]
    assert shop.records(row, Event.RETRY)[0].actor == "user:ann"


def test_a_destination_that_fails_does_not_hold_up_the_others(shop: Workshop):
    row = shop.series(2, destinations=("nowhere", "archive"))
    series = shop.wait(row)
    assert series.state == "waiting"
    assert "no destination 'nowhere' in the configuration" in series.reason
    assert shop.held("archive") == shop.derived(row) != set()


def test_a_failed_series_is_made_anew_with_its_measurement(shop: Workshop):
    row = shop.series(2, behave="raise")
    assert shop.wait(row).state == "failed"
    with shop.database.write() as session:
        session.get_one(Job, shop.job(row).id).parameters = {}
        retry(session, shop.queue, session.get_one(Series, row), "ann")
    assert shop.wait(row, State.DONE).state == "done"
    assert "takes the measurement of an earlier attempt" in shop.records(row, Event.MEASUREMENT)[1].message


def test_only_what_stands_still_is_retried(shop: Workshop):
    row = shop.series(1)
    shop.wait(row)
    with pytest.raises(PermanentError, match="is done: there is nothing to retry"), shop.database.write() as session:
        retry(session, shop.queue, session.get_one(Series, row), "ann")


@pytest.mark.parametrize(("facts", "state"), [({"number_of_slices": 1}, "complete"), (None, "receiving")])
def test_a_series_without_a_job_meets_the_rules_again(shop: Workshop, facts: dict | None, state: str):
    row = shop.series(1)
    shop.wait(row)
    with shop.database.write() as session:
        series = session.get_one(Series, row)
        series.state, series.facts = "passed", facts
        retry(session, shop.queue, series, "ann")
        assert series.state == state


def test_what_a_destination_lost_is_sent_once_more(shop: Workshop):
    shop.tell("short", "1")
    row = shop.series(3)
    series = shop.wait(row)
    assert (series.state, series.error_kind) == ("waiting", "operator")
    assert "sent twice, and yet there are at pacs 2 of 3 instances" in series.reason
    assert shop.moves(row) == [*WHOLE[:7], "sending", "confirming", "waiting"]
    shop.forget("short")
    with shop.database.write() as session:
        retry(session, shop.queue, session.get_one(Series, row), "ann")
    assert shop.wait(row, State.DONE).state == "done"


def test_a_destination_that_cannot_be_asked_is_believed_and_that_is_said(shop: Workshop):
    shop.tell("unasked")
    row = shop.series(2)
    assert shop.wait(row).state == "done"
    assert "pacs cannot be asked what it holds" in [one.message for one in shop.records(row, Event.CONFIRMATION)]
    with shop.database.read() as session:
        assert session.scalars(sa.select(Delivery.confirmed_count)).all() == [None]


def test_a_cancelled_series_stops_between_two_slices(shop: Workshop):
    row = shop.series(200, behave="slow")
    shop.wait(row, State.HARMONIZING)
    while shop.job(row).progress_done == 0:
        pass
    assert shop.job(row).progress_total == 200
    with shop.database.write() as session:
        job = cancel(session, session.get_one(Series, row), "user:ann")
    shop.queue.cancel(job)
    other = shop.series(1)
    assert shop.wait(other).state == "done"
    assert shop.wait(row).state == "cancelled"
    assert shop.moves(row) == ["queued", "measuring", "harmonizing", "cancelled"]
    assert not list(shop.config.derived_dir.rglob("*.npy*"))


def test_a_cancelled_series_can_be_taken_up_again(shop: Workshop):
    row = shop.series(100, behave="slow")
    shop.wait(row, State.HARMONIZING)
    with shop.database.write() as session:
        cancel(session, session.get_one(Series, row), "user:ann")
        retry(session, shop.queue, session.get_one(Series, row), "user:ann")
    assert shop.wait(row, State.DONE).state == "done"
    assert shop.held() == shop.derived(row)


def test_late_instances_join_the_same_derived_series_with_the_same_measurement(shop: Workshop):
    row = shop.series(3)
    shop.wait(row)
    first = shop.job(row)
    with shop.database.write() as session:
        series = session.get_one(Series, row)
        series.state = "complete"
        shop.arrive(session, series, 2, 2)
        shop.enqueue(session, series, 2, first.parameters, first.destinations)
    shop.wait(row, State.DONE)
    second = shop.job(row, 2)
    assert second.measurement == first.measurement
    assert second.derived_series_uid == first.derived_series_uid
    assert "takes the measurement of round 1" in shop.records(row, Event.MEASUREMENT)[1].message
    assert len(list((shop.config.derived_dir / second.id).glob("*.dcm"))) == 2
    assert shop.held() == shop.derived(row)
    assert len(shop.held()) == 5
    assert len({(shop.folder / "pacs" / uid).read_bytes().split()[1] for uid in shop.held()}) == 1, "one series date"


def test_a_later_round_makes_up_for_one_that_failed(shop: Workshop):
    row = shop.series(3, behave="raise")
    assert shop.wait(row).state == "failed"
    with shop.database.write() as session:
        series = session.get_one(Series, row)
        series.state = "complete"
        shop.arrive(session, series, 1, 2)
        shop.enqueue(session, series, 2, {}, ["pacs"])
    shop.wait(row, State.DONE)
    assert len(shop.held()) == 4


def test_instances_that_come_meanwhile_open_the_series_again(shop: Workshop):
    row = shop.series(40, behave="slow")
    with shop.database.write() as session:
        shop.arrive(session, session.get_one(Series, row), 1, None)
    series = shop.wait(row)
    assert series.state == "receiving"
    assert shop.moves(row) == [*WHOLE, "receiving"]
    assert "1 instances came while the series was processed" in series.reason


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """A workshop for workers in processes of their own, to be killed."""
    opened = Workshop(tmp_path)
    yield opened
    opened.close()


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
    workshop.start()
    assert workshop.wait(row).state == "done"
    assert workshop.moves(row) == WHOLE
    assert len(workshop.held()) == 4
    assert workshop.held() == workshop.derived(row)
    taken_up = workshop.records(row, Event.RETRY)
    assert [one.detail["state"] for one in taken_up] == list(steps)
    assert workshop.job(row).takeovers == 2
    workshop.assert_sound()


def test_a_job_that_costs_three_workers_is_stopped(workshop: Workshop):
    workshop.tell("block-harmonizing")
    row = workshop.series(4)
    for _ in range(3):
        killed = workshop.start()
        workshop.reached("harmonizing")
        killed.kill()
        killed.wait()
        workshop.forget("in-harmonizing")
    other = workshop.series(1)
    workshop.start()
    series = workshop.wait(row)
    assert series.state == "failed"
    assert "worker worker-0 was lost while the series was harmonizing, the 3rd one" in series.reason
    assert workshop.wait(other).state == "done"


def test_another_worker_takes_over_when_the_lease_lapses(workshop: Workshop):
    workshop.tell("block-checking")
    row = workshop.series(2)
    killed = workshop.start("worker-0", lease_s=1)
    workshop.reached("checking")
    killed.kill()
    killed.wait()
    workshop.forget("block-checking")
    workshop.start("worker-1", lease_s=1)
    assert workshop.wait(row).state == "done"
    assert workshop.job(row).executor_id == "worker-1"
    assert workshop.moves(row) == WHOLE


@pytest.mark.parametrize("how", ["parent", "signal"])
def test_a_worker_that_is_told_to_stop_does_not_count_as_lost(workshop: Workshop, how: str):
    workshop.tell("block-harmonizing")
    row = workshop.series(2)
    process = workshop.start()
    workshop.reached("harmonizing")
    if how == "parent":
        process.stdin.close()
    else:
        process.terminate()
    assert process.wait(10) == 0
    workshop.forget("block-harmonizing")
    workshop.start()
    assert workshop.wait(row).state == "done"
    assert workshop.job(row).takeovers == 0


def test_a_step_that_hangs_is_stopped_with_its_worker(workshop: Workshop):
    workshop.tell("block-harmonizing")
    row = workshop.series(2)
    process = workshop.start(step_timeout_s=0.5)
    series = workshop.wait(row)
    assert (series.state, series.reason) == ("failed", "harmonizing took longer than 0.5 s and was stopped")
    assert process.wait(10) == 75
    workshop.forget("block-harmonizing")
    workshop.start()
    assert workshop.wait(workshop.series(1)).state == "done"
    assert workshop.wait(row).state == "failed"


def test_a_worker_waits_for_another_of_its_name(workshop: Workshop):
    workshop.tell("block-harmonizing")
    row = workshop.series(2)
    first = workshop.start()
    workshop.reached("harmonizing")
    workshop.start()
    time.sleep(2)
    assert workshop.job(row).takeovers == 0, "the second takes nothing while the first lives"
    workshop.forget("block-harmonizing")
    first.kill()
    assert workshop.wait(row).state == "done"
