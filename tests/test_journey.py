"""The table of states, exhaustively."""

from __future__ import annotations

import itertools

import pytest

from node.journey import ACTIVE, TRANSITIONS, WORKING, State, may_move

AT_REST = {State.PASSED, State.REFUSED, State.DONE, State.FAILED, State.WAITING, State.CANCELLED}


def test_every_state_has_a_line():
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(("here", "there"), list(itertools.product(State, State)))
def test_may_move_says_what_the_table_says(here: State, there: State):
    assert may_move(here, there) is (there in TRANSITIONS[here])


def test_no_state_moves_to_itself():
    assert not [state for state in State if may_move(state, state)]


def test_every_state_is_reached_from_receiving():
    reached, frontier = {State.RECEIVING}, [State.RECEIVING]
    while frontier:
        for there in TRANSITIONS[frontier.pop()] - reached:
            reached.add(there)
            frontier.append(there)
    assert reached == set(State)


def test_the_steps_follow_each_other():
    for here, there in itertools.pairwise(WORKING):
        assert may_move(here, there)
    assert may_move(State.CONFIRMING, State.DONE)


@pytest.mark.parametrize("state", sorted(ACTIVE))
def test_an_active_series_can_be_stopped_in_every_way(state: State):
    for stop in (State.FAILED, State.WAITING, State.CANCELLED, State.REFUSED):
        assert may_move(state, stop)


@pytest.mark.parametrize("state", sorted(AT_REST))
def test_nothing_at_rest_is_stuck(state: State):
    assert TRANSITIONS[state] & {State.RECEIVING, State.COMPLETE, State.QUEUED}


def test_a_series_may_wait_for_a_person_before_it_has_a_job_and_then_meets_the_rules_again():
    assert may_move(State.COMPLETE, State.WAITING)
    assert may_move(State.WAITING, State.COMPLETE)
    assert may_move(State.WAITING, State.RECEIVING)


def test_a_series_whose_late_instances_are_ignored_is_done_again():
    assert may_move(State.COMPLETE, State.DONE)


@pytest.mark.parametrize("state", sorted(ACTIVE - {State.CONFIRMING}))
def test_nothing_is_done_before_it_is_confirmed(state: State):
    assert not may_move(state, State.DONE)
