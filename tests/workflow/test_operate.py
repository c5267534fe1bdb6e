"""What a person may ask: another try, or to stop."""

from __future__ import annotations

import pytest
from workshop import WHOLE, Workshop

from node.audit import Event
from node.errors import PermanentError
from node.journey import State
from node.store.tables import Job, Series
from node.workflow import cancel, retry


def test_what_needs_a_person_waits_and_goes_on_where_it_stood(shop: Workshop):
    shop.tell("fail-sending", "OperatorError: the AE title is not known there")
    row = shop.series(3)
    series = shop.wait(row)
    assert (series.state, series.error_kind) == ("waiting", "operator")
    assert f"`harmonode series retry {series.series_instance_uid}`" in series.reason
    stamp = shop.job(row).measurement
    with shop.database.write() as session:
        retry(session, shop.queue, session.get_one(Series, row), "user:ann")
    assert shop.wait(row, State.DONE).state == "done"
    assert shop.job(row).measurement == stamp
    assert shop.moves(row) == [*WHOLE[:6], "waiting", "queued", "sending", "confirming", "done"]
    assert shop.records(row, Event.RETRY)[0].actor == "user:ann"


def test_a_failed_series_is_made_anew_with_its_measurement(shop: Workshop):
    row = shop.series(2, behave="raise")
    assert shop.wait(row).state == "failed"
    with shop.database.write() as session:
        session.get_one(Job, shop.job(row).id).parameters = {}
        retry(session, shop.queue, session.get_one(Series, row), "ann")
    assert shop.wait(row, State.DONE).state == "done"
    assert "takes the measurement of an earlier attempt" in shop.records(row, Event.MEASUREMENT)[1].message


def test_a_series_that_is_made_anew_by_another_version_is_delivered_anew(shop: Workshop):
    shop.tell("fail-confirming", "PermanentError: it went up in smoke")
    row = shop.series(3, destinations=("archive", "pacs"))
    assert shop.wait(row).state == "failed"
    first = shop.job(row).derived_series_uid
    shop.tell("newer")
    with shop.database.write() as session:
        retry(session, shop.queue, session.get_one(Series, row), "ann")
    done = shop.wait(row, State.DONE, State.WAITING)
    assert (done.state, done.reason) == (
        "done",
        f"the derived series {shop.job(row).derived_series_uid} of 3 instances is delivered to archive, pacs",
    )
    assert shop.job(row).derived_series_uid != first
    assert shop.derived(row) == shop.held(row, "archive") == shop.held(row, "pacs")
    assert len(shop.derived(row)) == 6, "what was sent before is still known, should it come back"


def test_what_was_delivered_of_a_series_that_failed_is_not_sent_again(shop: Workshop):
    shop.tell("fail-sending", "PermanentError: it is understood nowhere")
    row = shop.series(3, destinations=("archive", "pacs"))
    assert shop.wait(row).state == "failed"
    assert [one.detail["destination"] for one in shop.records(row, Event.CONFIRMATION)] == ["pacs"]
    with shop.database.write() as session:
        retry(session, shop.queue, session.get_one(Series, row), "ann")
    assert shop.wait(row, State.DONE).state == "done"
    sent = [
        one.detail["destination"]
        for one in shop.records(row, Event.TRANSMISSION)
        if "begins" not in one.detail and "destination" in one.detail
    ]
    assert sent == ["pacs", "archive"]


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
    assert shop.held(row) == shop.derived(row) == set()


def test_a_cancelled_series_can_be_taken_up_again(shop: Workshop):
    row = shop.series(30, behave="slow")
    shop.wait(row, State.HARMONIZING)
    with shop.database.write() as session:
        cancel(session, session.get_one(Series, row), "user:ann")
        retry(session, shop.queue, session.get_one(Series, row), "user:ann")
    assert shop.wait(row, State.DONE).state == "done"
    assert shop.held(row) == shop.derived(row)
