"""The node as a service class user: one association at a time, with C-ECHO, C-STORE, C-FIND and storage commitment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

from pydicom import Dataset, dcmread, uid
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import PresentationContext, build_context

from node.dicom import command as commands
from node.dicom import part10
from node.dicom.associations import VERIFICATION
from node.dicom.command import Element, Field, Message
from node.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST, Report, decode_report
from node.dicom.commitment import Request as CommitmentRequest
from node.dicom.outgoing import Outgoing
from node.dicom.statuses import StoreStatus, store_status
from node.dicom.upper_layer import Association, DataSet, Ended, Rejected, Request, Silent, open_association
from node.errors import HarmonodeError, InvalidObject, OperatorError, PermanentError, TransientError

STUDY_ROOT_FIND = uid.UID("1.2.840.10008.5.1.4.1.2.2.1")
"""Study Root Query/Retrieve Information Model - FIND, PS3.4 section C.6.2."""
_LITTLE_ENDIAN = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
_MAX_CONTEXTS = 128  # their identifiers are the odd numbers of one byte, PS3.8 section 9.3.2.2
_PENDING = (0xFF00, 0xFF01)
_PROCESSING_FAILURE = 0x0110
_BUSY = frozenset({_PROCESSING_FAILURE, 0x0213})  # resource limitation
_MEDIUM = 0  # Priority (0000,0700)

# PS3.8 Table 9-21: what an A-ASSOCIATE-RJ says, by source and reason
_REJECTIONS = {
    (1, 2): "application context name not supported",
    (1, 3): "it does not know our AE title {calling}",
    (1, 7): "its AE title is not {called}",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "its limit of associations is reached",
}


class NoResponse(TransientError):
    """The peer has not answered a request, or the connection broke; whether it acted on the request is unknown."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A service class provider, and how we call ourselves when we call it."""

    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    timeout_s: float = 30.0  # for the connection, for the association, for each PDU that is sent or awaited
    tls: ssl.SSLContext | None = None  # None: plain TCP

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


def storage_contexts(instances: Iterable[Outgoing]) -> list[PresentationContext]:
    """One context for each SOP class and transfer syntax, so that the peer cannot choose one the files are not in.

    A file to be compressed is offered so first, and then as it is: the peer chooses.
    Uncompressed little endian files are offered in Implicit VR too, which every peer takes (PS3.5 section 10.1).
    """
    pairs: dict[tuple[str, str], None] = {}
    for instance in instances:
        pairs.update(((instance.sop_class_uid, syntax), None) for syntax in _syntaxes(instance))
    if len(pairs) > _MAX_CONTEXTS:
        raise PermanentError(
            f"the files need {len(pairs)} presentation contexts, and an association has {_MAX_CONTEXTS}"
        )
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs]


FIND_CONTEXTS = [build_context(STUDY_ROOT_FIND, list(_LITTLE_ENDIAN))]
COMMITMENT_CONTEXTS = [build_context(PUSH_MODEL, list(_LITTLE_ENDIAN))]
ECHO_CONTEXTS = [build_context(VERIFICATION, list(_LITTLE_ENDIAN))]


def _open(peer: Peer, request: Request) -> Association:
    try:
        association = open_association(peer.host, peer.port, peer.timeout_s, request, peer.tls)
    except ssl.SSLCertVerificationError as error:
        raise OperatorError(f"{peer}: its certificate is not trusted: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise OperatorError(f"{peer}: TLS cannot be agreed on: {error.reason or error}; is TLS on there?") from error
    except OSError as error:
        raise TransientError(f"{peer} cannot be reached: {error.strerror or error}") from error
    except Silent as error:
        raise TransientError(f"{peer} {error} when an association is requested") from error
    except Rejected as error:
        raise _rejected(peer, error) from error
    except Ended as error:
        if isinstance(error.__cause__, ssl.SSLError):  # TLS 1.3: what it thinks of our certificate comes only now
            raise OperatorError(f"{peer} ends the TLS connection: {error.__cause__.reason}") from error
        raise TransientError(f"{peer} {error}; there is no association") from error
    if not association.accepted:
        association.abort()
        raise OperatorError(f"{peer} accepts none of the presentation contexts: let it accept what the node offers")
    return association


def _rejected(peer: Peer, rejection: Rejected) -> TransientError | OperatorError:
    reason = _REJECTIONS.get((rejection.source, rejection.reason), "it gives no reason")
    text = f"{peer} rejects the association: {reason.format(calling=peer.calling_ae_title, called=peer.ae_title)}"
    # Result 2 is rejected-transient; source 3 speaks of congestion alone.
    return TransientError(text) if rejection.result == 2 or rejection.source == 3 else OperatorError(text)


class Requestor:
    """An established association. Every method may raise NoResponse."""

    def __init__(self, peer: Peer, association: Association) -> None:
        self.peer, self._association = peer, association
        self._message_id = 0

    def echo(self) -> None:
        """C-ECHO, PS3.7 section 9.1.5.

        Raises:
            OperatorError: the peer answers with a failure.
        """
        fields: dict[int, int | str] = {Element.AFFECTED_SOP_CLASS_UID: VERIFICATION}
        response = self._exchange(Field.C_ECHO, self._context(VERIFICATION, *_LITTLE_ENDIAN), fields)
        if (status := _status(response)) != commands.SUCCESS:
            raise OperatorError(f"{self.peer} answers C-ECHO with status 0x{status:04X}")

    def store(self, instance: Outgoing) -> tuple[StoreStatus, str]:
        """C-STORE, PS3.7 section 9.1.1: the peer's verdict, and its Error Comment (0000,0902).

        The data set goes over the wire as it lies in the file, unless it is to be compressed and the peer takes that,
        or the peer takes Implicit VR alone.

        Raises:
            OperatorError: the peer takes none of them.
            InvalidObject: the file cannot be read, or not be written so.
        """
        context_id = self._context(instance.sop_class_uid, *_syntaxes(instance))
        fields: dict[int, int | str] = {
            Element.AFFECTED_SOP_CLASS_UID: instance.sop_class_uid,
            Element.AFFECTED_SOP_INSTANCE_UID: instance.sop_instance_uid,
            Element.PRIORITY: _MEDIUM,
        }
        with _data_set(instance, self._association.transfer_syntaxes[context_id]) as data_set:
            response = self._exchange(Field.C_STORE, context_id, fields, data_set)
        return store_status(_status(response)), response.text(Element.ERROR_COMMENT)

    def find(self, query: Dataset) -> list[Dataset]:
        """C-FIND in the Study Root model, PS3.4 section C.6.2.1: every match.

        Raises:
            TransientError: it is out of resources, or cannot process the query just now.
            OperatorError: the peer answers with another failure.
        """
        context_id = self._context(STUDY_ROOT_FIND, *_LITTLE_ENDIAN)
        implicit = self._association.transfer_syntaxes[context_id].is_implicit_VR
        fields: dict[int, int | str] = {Element.AFFECTED_SOP_CLASS_UID: STUDY_ROOT_FIND, Element.PRIORITY: _MEDIUM}
        encoded = encode(query, implicit, True) or b""
        matches = []
        response = self._exchange(Field.C_FIND, context_id, fields, DataSet.of(encoded))
        while (status := _status(response)) in _PENDING:
            matches.append(decode(BytesIO(response.data_set), implicit, True))
            response = self._response(Field.C_FIND)
        if status != commands.SUCCESS:
            comment = response.text(Element.ERROR_COMMENT)
            kind = TransientError if status >> 12 == 0xC or status >> 8 == 0xA7 else OperatorError
            raise kind(f"{self.peer} answers C-FIND with status 0x{status:04X}{comment and f': {comment}'}")
        return matches

    def commit(self, request: CommitmentRequest, patience_s: float) -> Report | None:
        """N-ACTION of storage commitment, PS3.4 section J.3.2; the report, where it comes on this association at once.

        Raises:
            TransientError: the peer cannot process the request just now; the report cannot be read.
            OperatorError: it refuses the request.
        """
        context_id = self._context(PUSH_MODEL, *_LITTLE_ENDIAN)
        fields: dict[int, int | str] = {
            Element.REQUESTED_SOP_CLASS_UID: PUSH_MODEL,
            Element.REQUESTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
            Element.ACTION_TYPE_ID: REQUEST,
        }
        encoded = request.encode(implicit=self._association.transfer_syntaxes[context_id].is_implicit_VR)
        self._request(Field.N_ACTION, context_id, fields, DataSet.of(encoded))
        report, response = None, self._heard(Field.N_ACTION)
        if _is_event_report(response):  # a peer that holds all may say so before it says that it will look
            report, response = self._take_report(response), self._heard(Field.N_ACTION)
        self._require_own(Field.N_ACTION, response)
        if (status := _status(response)) != commands.SUCCESS:
            comment = response.text(Element.ERROR_COMMENT)
            kind = TransientError if status in _BUSY else OperatorError
            raise kind(f"{self.peer} answers N-ACTION with status 0x{status:04X}{comment and f': {comment}'}")
        return report or self._reported(patience_s)

    def report(self, report: Report) -> None:
        """N-EVENT-REPORT of storage commitment, PS3.4 section J.3.3: we are the SCP.

        Raises:
            OperatorError: the peer does not let us be the SCP, or refuses the report.
        """
        context_id = self._context(PUSH_MODEL, *_LITTLE_ENDIAN)
        if PUSH_MODEL not in self._association.scp_of:
            raise OperatorError(f"{self.peer} does not take us for the provider of storage commitment (role selection)")
        fields: dict[int, int | str] = {
            Element.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
            Element.AFFECTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
            Element.EVENT_TYPE_ID: report.event_type,
        }
        encoded = report.encode(implicit=self._association.transfer_syntaxes[context_id].is_implicit_VR)
        response = self._exchange(Field.N_EVENT_REPORT, context_id, fields, DataSet.of(encoded))
        if (status := _status(response)) != commands.SUCCESS:
            raise OperatorError(f"{self.peer} answers N-EVENT-REPORT with status 0x{status:04X}")

    def _reported(self, patience_s: float) -> Report | None:
        """An N-EVENT-REPORT that comes soon; otherwise it comes later, on an association that the peer opens."""
        try:
            if not self._association.hears(patience_s):
                return None
            message = self._association.receive()
        except (Ended, Silent):
            return None
        if not _is_event_report(message):
            self._association.abort()
            return None
        return self._take_report(message)

    def _take_report(self, message: Message) -> Report:
        """Answer an N-EVENT-REPORT.

        Raises:
            TransientError: it cannot be read, and the peer was told so.
        """
        if message.context_id not in self._association.transfer_syntaxes:
            self._association.abort()
            raise NoResponse(f"{self.peer} reports in presentation context {message.context_id}, which is none")
        implicit = self._association.transfer_syntaxes[message.context_id].is_implicit_VR
        found, status, reason = None, commands.SUCCESS, ""
        try:
            found = decode_report(message.data_set, implicit=implicit)
        except InvalidObject as error:
            status, reason = _PROCESSING_FAILURE, error.reason
        answer: dict[int, int | str] = {
            Element.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
            Element.AFFECTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
            Element.COMMAND_FIELD: Field.N_EVENT_REPORT | commands.RESPONSE,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: message.number(Element.MESSAGE_ID) or 0,
            Element.COMMAND_DATA_SET_TYPE: commands.NO_DATA_SET,
            Element.STATUS: status,
            Element.EVENT_TYPE_ID: message.number(Element.EVENT_TYPE_ID) or 0,
        }
        with suppress(Ended, Silent):  # it will report again, which does no harm
            self._association.send(message.context_id, commands.encode(answer))
        if found is None:
            raise TransientError(f"{self.peer} reports on storage commitment in a way that cannot be read: {reason}")
        return found

    def takes(self, abstract_syntax: str, transfer_syntax: str) -> bool:
        """Whether the peer has accepted that SOP class in that transfer syntax."""
        return (abstract_syntax, transfer_syntax) in self._association.accepted

    def _context(self, abstract_syntax: str, *transfer_syntaxes: str) -> int:
        """The accepted context of that SOP class in the first of these transfer syntaxes."""
        for syntax in transfer_syntaxes:
            if self.takes(abstract_syntax, syntax):
                return self._association.accepted[abstract_syntax, syntax]
        name = uid.UID(abstract_syntax).name
        syntaxes = " or ".join(uid.UID(syntax).name for syntax in transfer_syntaxes)
        raise OperatorError(f"{self.peer} accepts no {name} in {syntaxes}: let it accept this presentation context")

    def _exchange(
        self, command: Field, context_id: int, fields: dict[int, int | str], data_set: DataSet | None = None
    ) -> Message:
        """Send a request; its first response."""
        self._request(command, context_id, fields, data_set)
        return self._response(command)

    def _request(
        self, command: Field, context_id: int, fields: dict[int, int | str], data_set: DataSet | None = None
    ) -> None:
        self._message_id = self._message_id % 0xFFFF + 1
        fields[Element.COMMAND_FIELD], fields[Element.MESSAGE_ID] = command, self._message_id
        fields[Element.COMMAND_DATA_SET_TYPE] = commands.NO_DATA_SET if data_set is None else commands.WITH_DATA_SET
        try:
            self._association.send(context_id, commands.encode(fields), data_set)
        except (Ended, Silent) as error:
            raise self._no_response(command, error) from error

    def _response(self, command: Field) -> Message:
        """The next message, which must answer our request."""
        message = self._heard(command)
        self._require_own(command, message)
        return message

    def _heard(self, command: Field) -> Message:
        """The next message, while the answer to a command is awaited."""
        try:
            return self._association.receive()
        except (Ended, Silent) as error:
            raise self._no_response(command, error) from error

    def _require_own(self, command: Field, message: Message) -> None:
        found = message.number(Element.COMMAND_FIELD), message.number(Element.MESSAGE_ID_BEING_RESPONDED_TO)
        if found != (command | commands.RESPONSE, self._message_id) or message.number(Element.STATUS) is None:
            self._association.abort()
            raise NoResponse(f"{self.peer} answered a {command} with another message")

    def _no_response(self, command: Field, error: Ended | Silent) -> NoResponse:
        if isinstance(error, Silent):
            return NoResponse(f"{self.peer} {error} a {command} for {self.peer.timeout_s:g} s")
        return NoResponse(
            f"{self.peer} {error} before it answered a {command} "
            f"(some do so to an AE title they do not know: ours is {self.peer.calling_ae_title})"
        )


R = TypeVar("R", bound=Requestor)


@contextmanager
def associate_as(
    kind: type[R], peer: Peer, contexts: Sequence[PresentationContext], scp_of: Sequence[str] = ()
) -> Iterator[R]:
    """An association with `peer`; released at the end, aborted on an error. `scp_of`: as `Request`.

    Raises:
        TransientError: no connection, no answer, or a rejection that passes by itself.
        OperatorError: the peer knows one of the AE titles not, or takes none of the contexts; TLS fails.
    """
    association = _open(peer, Request(peer.ae_title, peer.calling_ae_title, contexts, scp_of))
    requestor = kind(peer, association)
    try:
        yield requestor
    except HarmonodeError:
        association.release()  # without effect where it is over
        raise
    except BaseException:
        association.abort()
        raise
    else:
        association.release()


@contextmanager
def associate(peer: Peer, contexts: Sequence[PresentationContext]) -> Iterator[Requestor]:
    """As `associate_as`, for what every requestor can ask."""
    with associate_as(Requestor, peer, contexts) as requestor:
        yield requestor


def _is_event_report(message: Message) -> bool:
    return message.number(Element.COMMAND_FIELD) == Field.N_EVENT_REPORT


def _status(response: Message) -> int:
    return response.number(Element.STATUS) or commands.SUCCESS


def _syntaxes(instance: Outgoing) -> list[uid.UID]:
    """The transfer syntaxes that an instance may be sent in, the best first."""
    syntaxes = [instance.compressed_syntax_uid] if instance.compressed_syntax_uid else []
    syntaxes.append(instance.transfer_syntax_uid)
    if instance.transfer_syntax_uid == uid.ExplicitVRLittleEndian:
        syntaxes.append(uid.ImplicitVRLittleEndian)
    return syntaxes


@contextmanager
def _data_set(instance: Outgoing, transfer_syntax: uid.UID) -> Iterator[DataSet]:
    """The data set in that transfer syntax.

    Raises:
        InvalidObject: it cannot be read, or not be written so.
    """
    try:
        if transfer_syntax == instance.transfer_syntax_uid:
            with instance.path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size - file.seek(instance.offset)
                yield DataSet(file, size)
                return
        yield DataSet.of(_encoded(instance, transfer_syntax))
    except (OSError, ValueError) as error:
        raise InvalidObject(f"{instance.path}: {error}", sop_instance_uid=instance.sop_instance_uid) from error


def _encoded(instance: Outgoing, transfer_syntax: uid.UID) -> bytes:
    """The data set written anew in a transfer syntax that the file is not in."""
    if transfer_syntax == instance.compressed_syntax_uid:
        with instance.open_as_sent() as file:
            part10.read(file)
            return file.read()
    encoded = encode(dcmread(instance.path), transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian)
    if encoded is None:
        raise ValueError(f"it cannot be encoded in {transfer_syntax.name}")
    return encoded
