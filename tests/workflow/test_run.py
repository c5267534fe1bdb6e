"""The workflow with a real queue: each series ends once, with its reason, whatever happens to the workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from workshop import WHOLE, Double, Workshop

from node.audit import Event
from node.config import Retry
from node.journey import State
from node.store.tables import Delivery, Instance, Job, Series
from node.workflow import retry, take_over
from node.workflow.run import backoff_s

COPIED = (
    *("sop_instance_uid", "sop_class_uid", "transfer_syntax_uid", "path", "size_bytes", "sha256"),
    *("received_at", "calling_ae_title"),
)


def test_a_series_goes_through_every_step_once(shop: Workshop):
    row = shop.series(4, destinations=("pacs", "archive"))
    done = shop.wait(row)
    assert (done.state, shop.moves(row)) == ("done", WHOLE)
    assert len(shop.derived(row)) == 4
    assert shop.derived(row) == shop.held(row, "pacs") == shop.held(row, "archive")
    job = shop.job(row)
    assert job.measurement["quantities"]["f50"]["value"] == 0.4
    assert job.verdict["passed"]
    assert job.report["before"]["mean"]["value"] is None  # JSON has no NaN
    assert job.finished_at > job.started_at


def test_nothing_is_left_of_the_work_but_what_was_made(shop: Workshop):
    row = shop.series(2)
    shop.wait(row)
    folder = shop.config.derived_dir / shop.job(row).id
    names = {path.name for path in folder.iterdir()}
    assert names == {"0000.dcm", "0001.dcm", "___slice.png", "report.json"}
    told = json.loads((folder / "report.json").read_text())
    assert told["verdict"] == shop.job(row).verdict
    assert told["measurement"] == shop.job(row).measurement
    assert told["before"]["mean"]["value"] is None


def test_what_was_harmonized_is_made_anew_where_the_worker_lost_it(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    harmonize, slices = Double.harmonize, []

    def counted(*arguments: Any) -> Iterator[np.ndarray]:
        for hu in harmonize(*arguments):
            slices.append(hu)
            yield hu

    monkeypatch.setattr(Double, "harmonize", counted)
    (shop.folder / "fail-deriving").write_text("TransientError: the power is cut")
    row = shop.series(2)
    assert shop.wait(row).state == "done"
    assert len(slices) == 4
    assert len(shop.held(row, "pacs")) == 2


def test_padding_is_not_filtered(shop: Workshop):
    row = shop.series(1)
    shop.wait(row)
    content = (shop.folder / "pacs" / shop.derived(row).pop()).read_bytes()
    hu = np.frombuffer(content[-8 * 8 * 4 :], "<f4").reshape(8, 8)
    assert hu[0, 0] == -1000
    assert hu[0, 1] == -999


def test_a_series_without_destinations_is_done(shop: Workshop):
    row = shop.series(2, destinations=())
    assert shop.wait(row).state == "done"
    assert "sent nowhere" in shop.wait(row).reason


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
    assert shop.held(row) == shop.derived(row) == set()
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


def test_a_destination_that_fails_does_not_hold_up_the_others(shop: Workshop):
    row = shop.series(2, destinations=("nowhere", "archive"))
    series = shop.wait(row)
    assert series.state == "waiting"
    assert "no destination 'nowhere' in the configuration" in series.reason
    assert shop.held(row, "archive") == shop.derived(row) != set()


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
        delivery = session.scalars(sa.select(Delivery).where(Delivery.job_id == shop.job(row).id)).one()
        assert (delivery.confirmed_count, delivery.confirmed_at is None) == (None, False)


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
    assert shop.held(row) == shop.derived(row)
    assert len(shop.held(row)) == 5
    assert len({(shop.folder / "pacs" / uid).read_bytes().split()[2] for uid in shop.held(row)}) == 1, "one series date"


def test_a_later_round_makes_up_for_one_that_failed(shop: Workshop):
    row = shop.series(3, behave="raise")
    assert shop.wait(row).state == "failed"
    with shop.database.write() as session:
        series = session.get_one(Series, row)
        series.state = "complete"
        shop.arrive(session, series, 1, 2)
        shop.enqueue(session, series, 2, {}, ["pacs"])
    shop.wait(row, State.DONE)
    assert len(shop.held(row)) == 4


def test_instances_that_come_meanwhile_open_the_series_again(shop: Workshop):
    row = shop.series(10, behave="slow")
    with shop.database.write() as session:
        shop.arrive(session, session.get_one(Series, row), 1, None)
    series = shop.wait(row)
    assert series.state == "receiving"
    assert shop.moves(row) == [*WHOLE, "receiving"]
    assert "1 instances came while the series was processed" in series.reason


def test_the_same_instances_in_another_study_are_not_derived_twice(shop: Workshop):
    row, again = shop.series(2), shop.series(1)
    shop.wait(row), shop.wait(again)
    with shop.database.write() as session:
        series = session.get_one(Series, again)
        series.state = "complete"
        source = session.scalars(sa.select(Instance).where(Instance.series_id == row)).first()
        session.add(Instance(series_id=again, round=2, **{name: getattr(source, name) for name in COPIED}))
        shop.enqueue(session, series, 2, {}, ["pacs"])
    series = shop.wait(again, State.FAILED, State.DONE)
    assert series.state == "failed"
    assert "the same source instances were received before, as series" in series.reason
    assert len(shop.held(again)) == 1


def test_a_job_that_the_queue_lost_is_enqueued_anew(shop: Workshop):
    row = shop.series(2)
    with shop.database.write() as session:
        shop.wait(row, State.QUEUED)
        job = session.get_one(Job, shop.job(row).id)
        job.attempt += 1  # no workflow has this attempt
    assert take_over(shop.database, shop.queue, datetime.now(UTC), 60) == 1
    assert shop.wait(row).state == "done"
    assert take_over(shop.database, shop.queue, datetime.now(UTC), 60) == 0


def test_delays_grow_are_bounded_and_differ():
    retry = Retry(first_delay_s=5, factor=3, max_delay_s=100)
    for tries, ceiling in ((1, 5), (2, 15), (3, 45), (4, 100), (9, 100)):
        delays = [backoff_s(retry, tries) for _ in range(200)]
        assert 2.5 <= min(delays) < max(delays) <= ceiling
        assert max(delays) - min(delays) > 0.8 * (ceiling - 2.5)
