"""One association, from the connection to its end: a thread reads PDUs and lets the state machine say what to do.

DIMSE messages are put together from presentation data values as they come (PS3.8 annex E), one at a time, for no other
asynchronous operations window is negotiated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from node.dicom import command as commands
from node.dicom import pdu
from node.dicom.command import Command, Field
from node.dicom.pdu import Closed, InvalidPDU, PDUType, Silence, TimedOut, Wire, Woken
from node.errors import InvalidObject
from node.receive import negotiate
from node.receive.admission import Caller, Rejection
from node.receive.machine import TRANSITIONS, Event, State
from node.receive.negotiate import Agreed, Context, Requested, Titles
from node.receive.notices import Notices
from node.receive.services import Answer, Request, Service, Sink, Unanswerable, not_served
from node.series import Sender

LEAVE_S = 5.0  # how long a stopping node waits for the object that arrives
_RELEASE_S = 2.0  # for a peer to answer our A-RELEASE-RQ
_LAST_WORD_S = 0.5  # for a peer to take what it was told last by a node that stops
_USER, _PROVIDER = 0, 2  # sources of an A-ABORT
_UNRECOGNIZED, _UNEXPECTED, _INVALID_VALUE = 1, 2, 6  # reasons of a provider's A-ABORT, PS3.8 Table 9-26

_EVENTS = {
    PDUType.ASSOCIATE_RQ: Event.ASSOCIATE_RQ,
    PDUType.ASSOCIATE_AC: Event.ASSOCIATE_AC,
    PDUType.ASSOCIATE_RJ: Event.ASSOCIATE_RJ,
    PDUType.DATA: Event.DATA,
    PDUType.RELEASE_RQ: Event.RELEASE_RQ,
    PDUType.RELEASE_RP: Event.RELEASE_RP,
    PDUType.ABORT: Event.ABORTED,
}
_WITH_ARTIM = frozenset({State.OPEN, State.CLOSING})
_NOBODY = Sender("", "", "")


@dataclass(frozen=True, slots=True)
class Ending:
    """How an association ended otherwise than by a release."""

    why: str
    ours: bool  # the node ended it
    lost: str | None  # SOP Instance UID, perhaps "", of an object that had begun to arrive; its sender has it still
    answered: int  # requests that were answered before


@dataclass(frozen=True)
class Terms:
    """What an association may be: the same for all of a node."""

    services: Sequence[Service]
    max_pdu_bytes: int
    idle_s: float  # without a PDU, or for one that has begun to be whole
    artim_s: float  # PS3.8 section 9.1.5: for the A-ASSOCIATE-RQ to come, and for the peer to close at the end
    admit: Callable[[Caller], Rejection | None]  # whether a caller may open an association; it counts then
    agreed: Callable[[Caller, Agreed], None]  # told of what was negotiated
    ended: Callable[[Caller, Ending], None]  # told where it did not end by a release
    by_syntax: Mapping[str, Service] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_syntax", {service.abstract_syntax: service for service in self.services})


class Association:
    """Serves one connection; `run` returns when it has ended, and raises nothing that a peer can cause."""

    def __init__(self, wire: Wire, terms: Terms, address: str, names: frozenset[str] = frozenset()) -> None:
        self._wire, self._terms = wire, terms
        self.caller = Caller("", "", address, names)
        self.state = State.IDLE
        self._artim_at = self._leave_by = math.inf
        self._sender = _NOBODY
        self._contexts: Mapping[int, Context] = {}
        self._peer_max_bytes = 0
        self._messages = _Messages(self)
        self._notices = Notices()
        self._why, self._ours = "", False
        self._lost: str | None = None
        self._answered = 0

    def run(self) -> None:
        try:
            self._fire(Event.CONNECTED)
            while self.state is not State.IDLE:
                self._next()
        except (Closed, TimedOut) as error:  # while something was sent
            self._note(str(error), ours=isinstance(error, TimedOut))
        finally:
            self.state = State.IDLE
            self._drop()
            self._notices.drop()
            self._wire.close()
            if self._why:
                self._terms.ended(self.caller, Ending(self._why, self._ours, self._lost, self._answered))

    def _next(self) -> None:
        """Wait for what comes next, and act on it."""
        if self._leave_by < math.inf and self.state is State.ESTABLISHED and not self._messages.under_way:
            self._fire(Event.RELEASE)
        now = time.monotonic()
        by = min(self._leave_by, self._artim_at if self.state in _WITH_ARTIM else now + self._patience_s)
        if self.state is State.CLOSING and self._leave_by < math.inf:
            by = min(by, now + _LAST_WORD_S)
        if now > by:
            self._timed_out("it is time")
            return
        try:
            kind, body = self._read(by)
        except TimedOut as error:
            self._timed_out(str(error))
        except Woken:
            self._leave()
        except Closed as error:
            if self.state is not State.CLOSING:
                self._note(str(error))
            self._fire(Event.CLOSED)
        except InvalidPDU as error:
            self._end(Event.INVALID_PDU, str(error), _UNRECOGNIZED)
        else:
            if kind is PDUType.ABORT and self.state is not State.CLOSING:
                self._note("the peer aborted")
            self._fire(_EVENTS[kind], body)

    def _read(self, by: float) -> tuple[PDUType, memoryview]:
        """The next PDU, which must have begun by then; what the node has to say itself goes out before."""
        while self.state is State.ESTABLISHED and not self._messages.under_way and self._notices.due_at < by:
            try:
                return self._wire.read(self._notices.due_at, self._terms.idle_s)
            except Silence:
                self._speak()
        return self._wire.read(by, min(self._terms.idle_s, max(0.0, by - time.monotonic())))

    def _speak(self) -> None:
        notice = self._notices.next()
        if notice is not None:
            context_id, command, data_set = notice
            self._fire(Event.SEND_DATA, pdu.message(context_id, command, data_set, max_length=self._peer_max_bytes))

    @property
    def _patience_s(self) -> float:
        return _RELEASE_S if self.state in (State.RELEASING, State.COLLIDED) else self._terms.idle_s

    def _timed_out(self, what: str) -> None:
        if self.state is State.OPEN:
            self._note(f"no association was asked for in {self._terms.artim_s:g} s", ours=True)
        if self.state in _WITH_ARTIM:
            self._fire(Event.ARTIM_EXPIRED)
        elif self._leave_by < math.inf:
            self._note("the node stops")
            self._fire(Event.ABORT)
        else:
            self._end(Event.ABORT, f"{what} ({self._patience_s:g} s)")

    def _leave(self) -> None:
        """The node stops: an association is released between two messages, and has a few seconds until then."""
        self._wire.forget_wake()
        self._leave_by = time.monotonic() + LEAVE_S
        if self.state in _WITH_ARTIM:
            self._fire(Event.ARTIM_EXPIRED)

    def _note(self, why: str, *, ours: bool = False) -> None:
        """The first reason is the one that counts."""
        if not self._why:
            self._why, self._ours = why, ours

    def _end(self, event: Event, why: str, reason: int = 0) -> None:
        self._note(why, ours=True)
        self._fire(event, reason=reason)

    def _fire(self, event: Event, body: memoryview | bytes = b"", reason: int = _UNEXPECTED) -> None:
        """Look the event up in PS3.8 Table 9-10, and do what stands there."""
        action, then = TRANSITIONS[event, self.state]
        if action == "AA-8" or (action == "AA-1" and event is not Event.ABORT):
            self._note(f"{event.name} came unexpectedly, in {self.state} of PS3.8 Table 9-10", ours=True)
        self.state = then
        act = _ACTIONS.get(action)
        if act is not None:
            act(self, body, reason)

    def _start_artim(self) -> None:
        self._artim_at = time.monotonic() + self._terms.artim_s

    def _send(self, data: bytes) -> None:
        self._wire.write(data, time.monotonic() + self._terms.idle_s)

    def _send_last(self, data: bytes) -> None:
        self._drop()
        self._start_artim()
        self._send(data)

    def _drop(self) -> None:
        """What has come of a message is of no use."""
        if self._messages.under_way:
            self._lost = self._messages.discard()

    def _requested(self, body: bytes) -> None:
        """AE-6: the request is refused or agreed to (PS3.8 section 9.3.3; PS3.7 annex D)."""
        try:
            titles = negotiate.titles(body)
            self.caller = replace(
                self.caller, calling_ae_title=titles.calling_ae_title, called_ae_title=titles.called_ae_title
            )
            if rejection := _impossible(titles) or self._terms.admit(self.caller):
                self._reject(rejection)
                return
            asked = negotiate.read(body)  # only of those who may come in
            if rejection := _strange(asked):
                self._reject(rejection)
                return
        except InvalidPDU as error:
            self._end(Event.INVALID_PDU, str(error), _INVALID_VALUE)
            return
        supported = [service.context() for service in self._terms.services]
        agreed = negotiate.agree(asked, supported, self._terms.max_pdu_bytes)
        self._contexts, self._peer_max_bytes = agreed.contexts, asked.max_pdu_bytes
        self._sender = Sender(titles.calling_ae_title, titles.called_ae_title, self.caller.address)
        self._fire(Event.ACCEPT, agreed.answer)
        self._terms.agreed(self.caller, agreed)

    def _reject(self, rejection: Rejection) -> None:
        self._fire(Event.REJECT, pdu.rejection(rejection.result, rejection.source, rejection.diagnostic))

    def _take(self, body: memoryview | bytes) -> None:
        """DT-2: the values of one P-DATA-TF; a message that is whole is answered at once."""
        self._notices.heard()
        try:
            for context_id, control, fragment in pdu.values(memoryview(body)):
                if control & pdu.COMMAND:
                    self._messages.command(context_id, fragment, last=bool(control & pdu.LAST))
                else:
                    self._messages.data(context_id, fragment, last=bool(control & pdu.LAST))
        except (InvalidPDU, InvalidObject) as error:
            self._end(Event.INVALID_PDU, str(error), _INVALID_VALUE)
        except Unanswerable as error:
            self._end(Event.ABORT, str(error))

    def handler(self, context_id: int, request: Command) -> tuple[Request, Callable[[Request], Sink]]:
        """Who serves a request.

        Raises:
            InvalidPDU: there is no such presentation context.
        """
        context = self._contexts.get(context_id)
        if context is None:
            raise InvalidPDU(f"a message came in presentation context {context_id}, which was not accepted")
        service = self._terms.by_syntax[context.abstract_syntax]
        made = Request(request, self._sender, context.abstract_syntax, context.transfer_syntax)
        return made, service.operations.get(request.field or 0, not_served)

    def answer(self, context_id: int, request: Command, answer: Answer) -> None:
        """Send a response; without effect where the association may send nothing any more."""
        if (Event.SEND_DATA, self.state) not in TRANSITIONS:
            return
        data_set = answer.data_set
        encoded = commands.response(request, answer.status, answer.elements, data_set=bool(data_set))
        self._fire(Event.SEND_DATA, pdu.message(context_id, encoded, data_set, max_length=self._peer_max_bytes))
        self._answered += 1
        if answer.followup is not None:
            self._notices.add(context_id, answer.followup)

    def answered(self, response: Command) -> None:
        """The peer responds to what the node has said itself."""
        self._notices.take(response)


class _Messages:
    """Puts the messages of one association together."""

    def __init__(self, association: Association) -> None:
        self._association = association
        self._command = bytearray()
        self._context_id = 0
        self._request: Command | None = None  # whose data set is awaited
        self._sink: Sink | None = None

    @property
    def under_way(self) -> bool:
        return bool(self._command) or self._request is not None

    def command(self, context_id: int, fragment: memoryview, *, last: bool) -> None:
        if self._request is not None:
            raise InvalidPDU("a command came inside the data set of another")
        self._require_context(context_id, begins=not self._command)
        self._command += fragment
        if len(self._command) > commands.MAX_BYTES:
            raise InvalidPDU(f"a command set of more than {commands.MAX_BYTES} bytes came")
        if not last:
            return
        request = commands.decode(self._command)
        self._command.clear()
        if request.field is None or (request.has_data_set and request.field & commands.RESPONSE):
            raise InvalidPDU("a command came that is no request")
        if request.field & commands.RESPONSE:
            self._association.answered(request)
            return
        if request.field == Field.C_CANCEL:  # what it would cancel is over: messages are served one by one
            return
        if request.message_id is None and request.field != Field.C_STORE:  # whose data set is kept aside first
            raise InvalidPDU("a request without a Message ID (0000,0110) came")
        made, handle = self._association.handler(context_id, request)
        self._request, self._sink = request, handle(made)
        if not request.has_data_set:
            self._finish()

    def data(self, context_id: int, fragment: memoryview, *, last: bool) -> None:
        if self._sink is None:
            raise InvalidPDU("a data set came without a command")
        self._require_context(context_id, begins=False)
        self._sink.write(fragment)
        if last:
            self._finish()

    def discard(self) -> str | None:
        """Leave nothing of a message that is not whole; the SOP Instance UID of its request, if that has come."""
        request, sink = self._request, self._sink
        self._request = self._sink = None
        self._command.clear()
        if sink is not None:
            sink.discard()
        return request.sop_instance_uid if request else None

    def _finish(self) -> None:
        request, sink = self._request, self._sink
        self._request = self._sink = None
        if request is not None and sink is not None:
            self._association.answer(self._context_id, request, sink.finish())

    def _require_context(self, context_id: int, *, begins: bool) -> None:
        if begins:
            self._context_id = context_id
        elif context_id != self._context_id:
            raise InvalidPDU(f"a message goes on in context {context_id} that began in {self._context_id}")


_Act = Callable[[Association, memoryview | bytes, int], None]
# PS3.8 Tables 9-6 to 9-9. What is not here does no more than its next state says: it ignores a PDU, or the run ends.
# A P-DATA-TF that comes after our A-RELEASE-RQ (AR-6) cannot be answered any more; its sender keeps the object.
_ACTIONS: dict[str, _Act] = {
    "AE-5": lambda self, _body, _reason: self._start_artim(),
    "AE-6": lambda self, body, _reason: self._requested(bytes(body)),
    "AE-7": lambda self, body, _reason: self._send(bytes(body)),
    "AE-8": lambda self, body, _reason: self._send_last(bytes(body)),
    "DT-1": lambda self, body, _reason: self._send(bytes(body)),
    "DT-2": lambda self, body, _reason: self._take(body),
    "AR-1": lambda self, _body, _reason: self._send(pdu.RELEASE_RQ),
    "AR-2": lambda self, _body, _reason: self._fire(Event.ANSWER_RELEASE),
    "AR-4": lambda self, _body, _reason: self._send_last(pdu.RELEASE_RP),
    "AR-7": lambda self, body, _reason: self._send(bytes(body)),
    "AR-10": lambda self, _body, _reason: self._fire(Event.ANSWER_RELEASE),
    "AA-1": lambda self, _body, _reason: self._send_last(pdu.abort(_USER, 0)),
    "AA-7": lambda self, _body, reason: self._send(pdu.abort(_PROVIDER, reason)),
    "AA-8": lambda self, _body, reason: self._send_last(pdu.abort(_PROVIDER, reason)),
}


def _impossible(titles: Titles) -> Rejection | None:
    """What the service provider itself refuses, PS3.8 Table 9-21."""
    return None if titles.version_1 else Rejection(1, 2, 2, "it does not speak version 1 of the protocol")


def _strange(asked: Requested) -> Rejection | None:
    if asked.application_context == negotiate.APPLICATION_CONTEXT:
        return None
    return Rejection(1, 1, 2, f"its application context is {asked.application_context!r}")
