"""What is served on an association: one `Service` a SOP class, with a handler for each DIMSE operation.

A handler is told of a request as soon as its command set is whole, and returns the sink of the data set that follows;
`finish` makes the answer. So nothing is collected in memory unless a service wants it (`collected`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pynetdicom.presentation import PresentationContext, build_context

from node.dicom.associations import CT_STORAGE, TRANSFER_SYNTAXES, VERIFICATION
from node.dicom.command import Command, Element, Field
from node.dicom.part10 import FileMeta
from node.errors import HarmonodeError
from node.receive.intake import Intake, Outcome, Status
from node.receive.notices import Followup
from node.series import Sender
from node.store.incoming import Incoming, SpoolFull

_LITTLE_ENDIAN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_AFFECTED = (Element.AFFECTED_SOP_CLASS_UID, Element.AFFECTED_SOP_INSTANCE_UID)
_MAX_UID = 64
_MAX_COLLECTED = 4 << 20
_UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 section C.5.24
_PROCESSING_FAILURE = 0x0110  # PS3.7 section C.5.16


class Unanswerable(HarmonodeError):
    """A request that has no answer in the protocol; the association is aborted."""


@dataclass(frozen=True, slots=True)
class Request:
    """A DIMSE request, and who sends it."""

    command: Command
    sender: Sender
    abstract_syntax: str
    transfer_syntax: str  # of its data set


@dataclass(frozen=True, slots=True)
class Answer:
    """A DIMSE response."""

    status: int
    elements: Mapping[int, str | int] = field(default_factory=dict)  # of its command set, more than every response has
    data_set: bytes = b""  # in the request's transfer syntax
    followup: Followup | None = None  # what may be said on the association after it


class Sink(Protocol):
    """Where the data set of one request goes. `write` and `discard` raise nothing."""

    def write(self, data: memoryview) -> object:
        """Take the next piece; the memory is used again afterwards."""
        ...

    def finish(self) -> Answer:
        """The data set is whole, or there is none.

        Raises:
            Unanswerable: the request has no answer.
        """
        ...

    def discard(self) -> None:
        """The association ended before the data set was whole."""
        ...


Handler = Callable[[Request], Sink]


@dataclass(frozen=True, slots=True)
class Service:
    """A SOP class that is served. `roles` are what a requestor may be, (SCU, SCP); None: SCU, and not negotiated."""

    abstract_syntax: str
    operations: Mapping[int, Handler]  # by Command Field
    transfer_syntaxes: Sequence[str] = _LITTLE_ENDIAN
    roles: tuple[bool, bool] | None = None

    def context(self) -> PresentationContext:
        made = build_context(self.abstract_syntax, list(self.transfer_syntaxes))
        if self.roles is not None:
            made.scu_role, made.scp_role = self.roles
        return made


def collected(operate: Callable[[Request, bytes], Answer]) -> Handler:
    """A handler that gets the whole data set, of a few megabytes at most."""
    return lambda request: _Collected(request, operate)


class _Collected:
    def __init__(self, request: Request, operate: Callable[[Request, bytes], Answer]) -> None:
        self._request, self._operate, self._data = request, operate, bytearray()

    def write(self, data: memoryview) -> None:
        if len(self._data) <= _MAX_COLLECTED:
            self._data += data

    def finish(self) -> Answer:
        if len(self._data) > _MAX_COLLECTED:
            comment = f"a data set of more than {_MAX_COLLECTED} bytes"
            return Answer(_PROCESSING_FAILURE, {Element.ERROR_COMMENT: comment})
        return self._operate(self._request, bytes(self._data))

    def discard(self) -> None:
        self._data.clear()


def _echo(_request: Request, _data_set: bytes) -> Answer:
    return Answer(Status.SUCCESS)


def _not_here(_request: Request, _data_set: bytes) -> Answer:
    return Answer(_UNRECOGNIZED_OPERATION)


VERIFICATION_SERVICE = Service(VERIFICATION, {Field.C_ECHO: collected(_echo)})
"""PS3.4 annex A."""

not_served: Handler = collected(_not_here)
"""For an operation that the service of its SOP class does not have."""


def storage(intake: Intake) -> list[Service]:
    """PS3.4 annex B: the SOP classes that the node stores."""
    handler: Handler = lambda request: _Storing(intake, request)  # noqa: E731 - it is the operation's value
    return [Service(sop_class, {Field.C_STORE: handler}, TRANSFER_SYNTAXES) for sop_class in CT_STORAGE]


class _Storing:
    """One data set on its way into the spool."""

    def __init__(self, intake: Intake, request: Request) -> None:
        self._intake, self._command = intake, request.command
        sender = request.sender
        self._meta = FileMeta(
            _short(request.command.text(Element.AFFECTED_SOP_CLASS_UID)),
            _short(request.command.text(Element.AFFECTED_SOP_INSTANCE_UID)),
            request.transfer_syntax,
            sender.calling_ae_title,
            sender.called_ae_title,
            sender.address,
        )
        self._incoming: Incoming | None = None
        if request.command.has_data_set:
            try:
                self._incoming = intake.open(self._meta)
            except SpoolFull as error:
                self._full = error

    def write(self, data: memoryview) -> None:
        if self._incoming is not None:
            self._incoming.write(data)

    def discard(self) -> None:
        if self._incoming is not None:
            self._incoming.discard()

    def finish(self) -> Answer:
        command = self._command
        if flaw := _flaw(command):
            if self._incoming is not None:
                self._intake.refuse_whole(self._incoming, flaw)
            raise Unanswerable(flaw)
        if not command.has_data_set:
            outcome = Outcome(Status.CANNOT_UNDERSTAND, "the request has no data set")
        elif self._incoming is None:
            outcome = self._intake.full(self._full, self._meta)
        else:
            outcome = self._intake.finish(self._incoming)
        return Answer(outcome.status, {Element.ERROR_COMMENT: outcome.error_comment} if outcome.comment else {})


def _flaw(command: Command) -> str:
    """What a C-STORE request must have is checked at its end, so that its data set can be kept aside."""
    if command.message_id is None or not all(command.text(element) for element in _AFFECTED):
        return "the C-STORE request lacks a mandatory parameter (PS3.7 section 9.3.1.1)"
    if any(len(command.text(element)) > _MAX_UID for element in _AFFECTED):
        return "the C-STORE request has an invalid parameter (PS3.7 section 9.3.1.1)"
    return ""


def _short(uid: str) -> str:
    return uid if len(uid) <= _MAX_UID else ""
