"""The state machine of an association acceptor: PS3.8 Table 9-10, the columns and rows that an acceptor can meet.

An acceptor may ask for the release too (a node that stops does), and may then meet a collision.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """PS3.8 Tables 9-1 to 9-5."""

    IDLE = "Sta1"
    OPEN = "Sta2"  # transport connection open, awaiting A-ASSOCIATE-RQ
    ASKED = "Sta3"  # awaiting the local A-ASSOCIATE response
    ESTABLISHED = "Sta6"
    RELEASING = "Sta7"  # awaiting A-RELEASE-RP
    ASKED_TO_RELEASE = "Sta8"  # awaiting the local A-RELEASE response
    COLLIDED = "Sta10"  # release collision, acceptor: awaiting A-RELEASE-RP
    COLLIDED_ANSWERED = "Sta12"  # release collision, acceptor: awaiting the local A-RELEASE response
    CLOSING = "Sta13"  # awaiting the transport connection's close


class Event(StrEnum):
    """PS3.8 Table 9-10, left column."""

    ASSOCIATE_AC = "Evt3"
    ASSOCIATE_RJ = "Evt4"
    CONNECTED = "Evt5"
    ASSOCIATE_RQ = "Evt6"
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    SEND_DATA = "Evt9"
    DATA = "Evt10"
    RELEASE = "Evt11"
    RELEASE_RQ = "Evt12"
    RELEASE_RP = "Evt13"
    ANSWER_RELEASE = "Evt14"
    ABORT = "Evt15"
    ABORTED = "Evt16"
    CLOSED = "Evt17"
    ARTIM_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


# Action and next state, "." where the event cannot be. AE-6 goes on to Sta13 itself where the request is not acceptable.
_TABLE_9_10 = """
       Sta1   Sta2    Sta3    Sta6    Sta7    Sta8    Sta10   Sta12   Sta13
Evt3   .      AA-1:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-6:13
Evt4   .      AA-1:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-6:13
Evt5   AE-5:2 .       .       .       .       .       .       .       .
Evt6   .      AE-6:3  AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-7:13
Evt7   .      .       AE-7:6  .       .       .       .       .       .
Evt8   .      .       AE-8:13 .       .       .       .       .       .
Evt9   .      .       .       DT-1:6  .       AR-7:8  .       .       .
Evt10  .      AA-1:13 AA-8:13 DT-2:6  AR-6:7  AA-8:13 AA-8:13 AA-8:13 AA-6:13
Evt11  .      .       .       AR-1:7  .       .       .       .       .
Evt12  .      AA-1:13 AA-8:13 AR-2:8  AR-8:10 AA-8:13 AA-8:13 AA-8:13 AA-6:13
Evt13  .      AA-1:13 AA-8:13 AA-8:13 AR-3:1  AA-8:13 AR-10:12 AA-8:13 AA-6:13
Evt14  .      .       .       .       .       AR-4:13 .       AR-4:13 .
Evt15  .      .       AA-1:13 AA-1:13 AA-1:13 AA-1:13 AA-1:13 AA-1:13 .
Evt16  .      AA-2:1  AA-3:1  AA-3:1  AA-3:1  AA-3:1  AA-3:1  AA-3:1  AA-2:1
Evt17  .      AA-5:1  AA-4:1  AA-4:1  AA-4:1  AA-4:1  AA-4:1  AA-4:1  AR-5:1
Evt18  .      AA-2:1  .       .       .       .       .       .       AA-2:1
Evt19  .      AA-1:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-7:13
"""


def _read(table: str) -> dict[tuple[Event, State], tuple[str, State]]:
    head, *rows = table.strip().splitlines()
    found = {}
    for row in rows:
        event, *cells = row.split()
        for state, cell in zip(head.split(), cells, strict=True):
            if cell != ".":
                action, _, then = cell.partition(":")
                found[Event(event), State(state)] = (action, State(f"Sta{then}"))
    return found


TRANSITIONS = _read(_TABLE_9_10)
"""(event, state) -> (action of PS3.8 Tables 9-6 to 9-9, next state)."""
