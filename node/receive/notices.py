"""What the node itself has to say on an association that a peer opened: N-EVENT-REPORT (PS3.7 section 10.1.1).

It follows an answer, and waits until the peer is silent: one that releases, or goes on with something, does so at once.
One request at a time, for no asynchronous operations window is negotiated (PS3.7 section D.3.3.3).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from node.dicom import command as commands
from node.dicom.command import SUCCESS, Command, Element, Field

QUIET_S = 0.2  # a peer that has been silent for so long waits for something
ANSWER_S = 10.0  # for the peer to answer
PATIENCE_S = 5.0  # for the followup to have something to say


@dataclass(frozen=True, slots=True)
class Notice:
    """A request of the node's own; in the presentation context of the answer that it follows."""

    field: Field
    elements: Mapping[int, str | int]  # of its command set, but for those that every request has
    data_set: bytes


class Followup(Protocol):
    """What may follow an answer on its association. Raises nothing; ends with `told` or `dropped`, once."""

    def say(self) -> Notice | None:
        """What to send now; None: nothing yet. It is asked again."""
        ...

    def told(self) -> None:
        """The peer has answered with success."""
        ...

    def dropped(self, why: str) -> None:
        """The peer was not told, or perhaps was: the association ended, or it did not answer, or not with success."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    context_id: int
    followup: Followup
    until: float


class Notices:
    """Those of one association; times are of `time.monotonic`."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._asked: Followup | None = None
        self._message_id = 0
        self.due_at = math.inf  # when to call `next`, unless the peer says something until then

    def add(self, context_id: int, followup: Followup) -> None:
        now = time.monotonic()
        self._waiting.append(_Waiting(context_id, followup, now + PATIENCE_S))
        self.heard()

    def heard(self) -> None:
        """The peer is not silent."""
        if self._asked is None and self._waiting:
            self.due_at = time.monotonic() + QUIET_S

    def next(self) -> tuple[int, bytes, bytes] | None:
        """What to send now: presentation context, command set, data set."""
        if self._asked is not None:
            self._settle(None, f"the peer has not answered in {ANSWER_S:g} s")
        if not self._waiting:
            return None
        first, now = self._waiting[0], time.monotonic()
        notice = first.followup.say()
        if notice is None:
            if now >= first.until:
                self._waiting.popleft()
                first.followup.dropped("there was nothing to tell in time")
            self.due_at = now + QUIET_S if self._waiting else math.inf
            return None
        self._waiting.popleft()
        self._asked, self.due_at = first.followup, now + ANSWER_S
        self._message_id = self._message_id % 0xFFFF + 1
        fields: dict[int, int | str] = {
            Element.COMMAND_FIELD: notice.field,
            Element.MESSAGE_ID: self._message_id,
            Element.COMMAND_DATA_SET_TYPE: commands.WITH_DATA_SET,
            **notice.elements,
        }
        return first.context_id, commands.encode(fields), notice.data_set

    def take(self, response: Command) -> None:
        """A response came; one that answers nothing that is open is of no account."""
        if response.number(Element.MESSAGE_ID_BEING_RESPONDED_TO) == self._message_id:
            self._settle(response.number(Element.STATUS), "")

    def drop(self) -> None:
        """The association is over."""
        self._settle(None, "the association ended")
        while self._waiting:
            self._waiting.popleft().followup.dropped("the association ended")

    def _settle(self, status: int | None, why: str) -> None:
        asked, self._asked, self.due_at = self._asked, None, math.inf
        self.heard()
        if asked is None:
            return
        if status == SUCCESS:
            asked.told()
        else:
            asked.dropped(why or f"the peer answers with status {'none' if status is None else f'0x{status:04X}'}")
