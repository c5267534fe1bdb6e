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
    assert not list(shop.config.derived_dir.rglob("*.npy*"))


def test_a_cancelled_series_can_be_taken_up_again(shop: Workshop):
    row = shop.series(30, behave="slow")
    shop.wait(row, State.HARMONIZING)
    with shop.database.write() as session:
        cancel(session, session.get_one(Series, row), "user:ann")
        retry(session, shop.queue, session.get_one(Series, row), "user:ann")
    assert shop.wait(row, State.DONE).state == "done"
    assert shop.held(row) == shop.derived(row)
