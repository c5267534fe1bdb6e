"""The state table against the standard's, as pynetdicom has it."""

from __future__ import annotations

from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from node.receive.association import _ACTIONS
from node.receive.machine import TRANSITIONS, Event, State


def test_every_transition_is_the_standards():
    ours = {(str(event), str(state)): action for (event, state), (action, _) in TRANSITIONS.items()}
    events, states = {str(event) for event in Event}, {str(state) for state in State}
    theirs = {(event, state): action for (event, state), action in TRANSITION_TABLE.items()}
    expected = {key: action for key, action in theirs.items() if key[0] in events and key[1] in states}
    for never in (("Evt11", "Sta8"), ("Evt15", "Sta13")):  # an acceptor that is asked to release does not ask itself
        expected.pop(never, None)
    assert ours == expected


def test_every_action_leads_where_the_standard_says():
    for (event, state), (action, then) in TRANSITIONS.items():
        told = ACTIONS[action][2]
        assert (str(then) in told) if isinstance(told, tuple | list | set) else (str(then) == told), (event, state)


def test_every_action_that_does_something_is_there():
    silent = {"AA-2", "AA-3", "AA-4", "AA-5", "AA-6", "AR-3", "AR-5", "AR-6", "AR-8"}
    assert {action for action, _ in TRANSITIONS.values()} == set(_ACTIONS) | silent
