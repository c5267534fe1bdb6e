"""The node as a service class user: one association at a time, with C-ECHO, C-STORE and C-FIND.

pynetdicom's own `send_c_store` now and then loses a response to the association's reactor thread, which takes it from
the queue while the sender waits out the DIMSE time-out: the sender believes the reactor paused when it is just waking.
Here the reactor is held at its first checkpoint from the moment the association stands until it is released, so that
nobody but the sender reads the queue.
"""

from __future__ import annotations

import queue
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread, uid
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context

from node.dicom import part10
from node.dicom.associations import VERIFICATION, send_at_once
from node.dicom.outgoing import Outgoing
from node.dicom.statuses import StoreStatus, store_status
from node.errors import HarmonodeError, InvalidObject, OperatorError, PermanentError, TransientError

MAX_PDU_BYTES = 131072
STUDY_ROOT_FIND = uid.UID("1.2.840.10008.5.1.4.1.2.2.1")
"""Study Root Query/Retrieve Information Model - FIND, PS3.4 section C.6.2."""
_LITTLE_ENDIAN = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
_MAX_CONTEXTS = 128  # their identifiers are the odd numbers of one byte, PS3.8 section 9.3.2.2
_PENDING = (0xFF00, 0xFF01)
_OVER = ("Sta1", "Sta13")  # PS3.8 Table 9-10: idle; waiting for the connection to close
_ABORT_S = 1.0

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
    timeout_s: float = 30.0  # for the connection, for the association, for each response
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
ECHO_CONTEXTS = [build_context(VERIFICATION, list(_LITTLE_ENDIAN))]


@contextmanager
def associate(peer: Peer, contexts: Sequence[PresentationContext]) -> Iterator[Requestor]:
    """An association with `peer`; released at the end, aborted on an error.

    Raises:
        TransientError: no connection, no answer, or a rejection that passes by itself.
        OperatorError: the peer knows one of the AE titles not, or takes none of the contexts.
    """
    ae = AE(ae_title=peer.calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = peer.timeout_s
    ae.network_timeout = None  # the reactor that would watch it is held
    requestor = Requestor(peer)
    try:
        association = ae.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU_BYTES,
            tls_args=(peer.tls, peer.host) if peer.tls else None,
            evt_handlers=[
                (evt.EVT_ACSE_SENT, requestor.requested),
                (evt.EVT_CONN_OPEN, requestor.connected),
                (evt.EVT_ESTABLISHED, requestor.established),
                (evt.EVT_DATA_SENT, requestor.moved),
                (evt.EVT_DATA_RECV, requestor.moved),
            ],
        )
    except OSError as error:  # the name cannot be resolved
        raise TransientError(f"{peer} cannot be reached: {error}") from error
    if not association.is_established:
        _close(association)
        requestor.close_socket()
        raise _not_established(peer, association, was_connected=requestor.was_connected)
    try:
        yield requestor
    except BaseException as error:
        requestor.broken |= not isinstance(error, HarmonodeError)
        raise
    finally:
        if requestor.broken:
            _close(association)
        else:
            association.release()
            association.join(peer.timeout_s)
        requestor.close_socket()


class Requestor:
    """An established association. Every method may raise NoResponse."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.was_connected = False
        self.broken = False  # nothing more can be asked on this association
        self._association: Any = None
        self._socket: socket.socket | None = None
        self._moved_at = time.monotonic()
        self._message_id = 0

    def requested(self, event: evt.Event) -> None:
        """EVT_ACSE_SENT comes before the connection is tried: the socket is there, and not yet forgotten."""
        if self._socket is None and event.assoc.dul.socket is not None:
            self._socket = event.assoc.dul.socket.socket

    def close_socket(self) -> None:
        """Pynetdicom leaves a socket open whose connection has failed or was reset."""
        if self._socket is not None:
            self._socket.close()

    def connected(self, event: evt.Event) -> None:
        """EVT_CONN_OPEN. A peer that stops reading must not block the sending thread for ever."""
        self.was_connected = True
        send_at_once(event)
        transport = event.assoc.dul.socket
        if transport is not None and transport.socket is not None:
            transport.socket.settimeout(self.peer.timeout_s)

    def established(self, event: evt.Event) -> None:
        """EVT_ESTABLISHED comes before the reactor starts, so that it stops at its first checkpoint."""
        self._association = event.assoc
        event.assoc._reactor_checkpoint.clear()  # noqa: SLF001 - see the head of this file

    def moved(self, _: evt.Event) -> None:
        """EVT_DATA_SENT, EVT_DATA_RECV: the time-out runs from the last sign of life, however large the object."""
        self._moved_at = time.monotonic()

    def echo(self) -> None:
        """C-ECHO, PS3.7 section 9.1.5.

        Raises:
            OperatorError: the peer answers with a failure.
        """
        request = C_ECHO()
        request.MessageID = self._next_id()
        request.AffectedSOPClassUID = VERIFICATION
        status = self._exchange(request, self._context(VERIFICATION, *_LITTLE_ENDIAN)).Status
        if status != 0x0000:
            raise OperatorError(f"{self.peer} answers C-ECHO with status 0x{status:04X}")

    def store(self, instance: Outgoing) -> tuple[StoreStatus, str]:
        """C-STORE, PS3.7 section 9.1.1: the peer's verdict, and its Error Comment (0000,0902).

        The data set goes over the wire as it lies in the file, unless it is to be compressed and the peer takes that,
        or the peer takes Implicit VR alone.

        Raises:
            OperatorError: the peer takes none of them.
        """
        context = self._context(instance.sop_class_uid, *_syntaxes(instance))
        request = C_STORE()
        request.MessageID = self._next_id()
        request.Priority = 0
        request.AffectedSOPClassUID = instance.sop_class_uid
        request.AffectedSOPInstanceUID = instance.sop_instance_uid
        request.DataSet = BytesIO(_data_set(instance, context.transfer_syntax[0]))
        response = self._exchange(request, context)
        return store_status(response.Status), str(response.ErrorComment or "").strip()

    def find(self, query: Dataset) -> list[Dataset]:
        """C-FIND in the Study Root model, PS3.4 section C.6.2.1: every match.

        Raises:
            TransientError: it is out of resources, or cannot process the query just now.
            OperatorError: the peer answers with another failure.
        """
        context = self._context(STUDY_ROOT_FIND, *_LITTLE_ENDIAN)
        implicit = context.transfer_syntax[0].is_implicit_VR
        request = C_FIND()
        request.MessageID = self._next_id()
        request.Priority = 0
        request.AffectedSOPClassUID = STUDY_ROOT_FIND
        request.Identifier = BytesIO(encode(query, implicit, True) or b"")
        matches = []
        response = self._exchange(request, context)
        while response.Status in _PENDING:
            matches.append(decode(response.Identifier, implicit, True))
            response = self._receive(C_FIND, request.MessageID)
        if response.Status != 0x0000:
            comment = f": {response.ErrorComment}" if response.ErrorComment else ""
            kind = TransientError if response.Status >> 12 == 0xC or response.Status >> 8 == 0xA7 else OperatorError
            raise kind(f"{self.peer} answers C-FIND with status 0x{response.Status:04X}{comment}")
        return matches

    def takes(self, abstract_syntax: str, transfer_syntax: str) -> bool:
        """Whether the peer has accepted that SOP class in that transfer syntax."""
        return (abstract_syntax, transfer_syntax) in self._accepted()

    def _accepted(self) -> dict[tuple[str, str], PresentationContext]:
        contexts = self._association.accepted_contexts
        return {(context.abstract_syntax, context.transfer_syntax[0]): context for context in contexts}

    def _context(self, abstract_syntax: str, *transfer_syntaxes: str) -> PresentationContext:
        """The accepted context of that SOP class in the first of these transfer syntaxes."""
        accepted = self._accepted()
        for syntax in transfer_syntaxes:
            if (abstract_syntax, syntax) in accepted:
                return accepted[abstract_syntax, syntax]
        name = uid.UID(abstract_syntax).name
        syntaxes = " or ".join(uid.UID(syntax).name for syntax in transfer_syntaxes)
        raise OperatorError(f"{self.peer} accepts no {name} in {syntaxes}: let it accept this presentation context")

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _exchange(self, request: Any, context: PresentationContext) -> Any:
        """Send a request; its first response."""
        self._moved_at = time.monotonic()
        self._association.dimse.send_msg(request, context.context_id)
        return self._receive(type(request), request.MessageID)

    def _receive(self, kind: type, message_id: int) -> Any:
        """The next response, which must belong to our request."""
        name = kind.__name__.replace("_", "-")
        while (patience_s := self._moved_at + self.peer.timeout_s - time.monotonic()) > 0:
            try:
                _, response = self._association.dimse.msg_queue.get(timeout=patience_s)
            except queue.Empty:
                continue
            if response is None:  # put there by pynetdicom when the peer aborts or the connection breaks
                raise self._break(
                    f"{self.peer} closed the association before it answered a {name} "
                    f"(some do so to an AE title they do not know: ours is {self.peer.calling_ae_title})"
                )
            if (type(response), response.MessageIDBeingRespondedTo) != (kind, message_id) or response.Status is None:
                raise self._break(f"{self.peer} answered a {name} with another message")
            return response
        raise self._break(f"{self.peer} has not answered a {name} for {self.peer.timeout_s:g} s")

    def _break(self, reason: str) -> NoResponse:
        self.broken = True
        return NoResponse(reason)


def _syntaxes(instance: Outgoing) -> list[uid.UID]:
    """The transfer syntaxes that an instance may be sent in, the best first."""
    syntaxes = [instance.compressed_syntax_uid] if instance.compressed_syntax_uid else []
    syntaxes.append(instance.transfer_syntax_uid)
    if instance.transfer_syntax_uid == uid.ExplicitVRLittleEndian:
        syntaxes.append(uid.ImplicitVRLittleEndian)
    return syntaxes


def _data_set(instance: Outgoing, transfer_syntax: uid.UID) -> bytes:
    """The data set's bytes in that transfer syntax.

    Raises:
        InvalidObject: it cannot be read, or not be written so.
    """
    try:
        if transfer_syntax == instance.transfer_syntax_uid:
            return instance.data_set()
        if transfer_syntax == instance.compressed_syntax_uid:
            with instance.open_as_sent() as file:
                part10.read(file)
                return file.read()
        encoded = encode(dcmread(instance.path), transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian)
    except (OSError, ValueError) as error:
        raise InvalidObject(f"{instance.path}: {error}", sop_instance_uid=instance.sop_instance_uid) from error
    if encoded is None:
        raise InvalidObject(
            f"{instance.path} cannot be encoded in {transfer_syntax.name}", sop_instance_uid=instance.sop_instance_uid
        )
    return encoded


def _not_established(peer: Peer, association: Any, *, was_connected: bool) -> TransientError | OperatorError:
    """Why there is no association."""
    if not was_connected:
        return TransientError(f"{peer} cannot be reached: {_why_not_connected(peer)}")
    answer = association.acceptor.primitive or _unread_answer(association)
    if answer is None:
        return TransientError(f"{peer} gives no answer to the association request")
    if answer.result in (1, 2):
        reason = _REJECTIONS.get((answer.result_source, answer.diagnostic), "it gives no reason")
        text = f"{peer} rejects the association: {reason.format(calling=peer.calling_ae_title, called=peer.ae_title)}"
        # Result 2 is rejected-transient; source 3 speaks of congestion alone.
        return TransientError(text) if answer.result == 2 or answer.result_source == 3 else OperatorError(text)
    return OperatorError(f"{peer} accepts none of the presentation contexts: let it accept what the node offers")


def _unread_answer(association: Any) -> Any:
    """A rejection that pynetdicom overlooked: it takes a connection that the peer has closed already for one that failed."""
    with suppress(queue.Empty):
        while True:
            primitive = association.dul.to_user_queue.get_nowait()
            if isinstance(primitive, A_ASSOCIATE):
                return primitive
    return None


def _why_not_connected(peer: Peer) -> str:
    """The reason, which pynetdicom keeps to itself: try once more."""
    try:
        with socket.create_connection((peer.host, peer.port), peer.timeout_s) as plain:
            if peer.tls is not None:
                peer.tls.wrap_socket(plain, server_hostname=peer.host).close()
            return "the connection failed, though it listens"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"no TLS connection: {error.reason or error}"
    except OSError as error:
        return error.strerror or str(error)


def _close(association: Any) -> None:
    """End an association at once, whatever state it is in, and its threads with it."""
    dul = association.dul
    if association.is_established:
        association.acse.send_abort(0x00)
        give_up_at = time.monotonic() + _ABORT_S
        while dul.is_alive() and dul.state_machine.current_state not in _OVER and time.monotonic() < give_up_at:
            time.sleep(0.005)
    if dul.socket is not None and dul.socket.socket is not None:
        with suppress(OSError):  # it is closed already
            dul.socket.socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that is stuck in sending
    association.kill()
    if association.is_alive():
        association.join(_ABORT_S)
