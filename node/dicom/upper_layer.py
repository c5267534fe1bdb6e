"""The DICOM upper layer as the requestor of an association sees it, PS3.8: one socket, in the caller's own thread.

Who asks reads the answer too, so no response can be lost on its way from one thread to another. pynetdicom encodes and
decodes what is negotiated; P-DATA, which is all the rest, is written and read here. The states of PS3.8 Table 9-10:

    open      Sta4, Sta5    the connection, TLS, A-ASSOCIATE-RQ and its answer
    send      Sta6          a message, in PDUs no larger than the peer takes
    receive   Sta6          the next message
    release   Sta7          A-RELEASE-RQ and its answer; where two meet, Sta9 and Sta11
    abort     Sta13         A-ABORT, and the connection is closed

Nothing waits for ever: the connection, and each PDU that is sent or awaited, has `timeout_s`. A peer that takes or
gives a byte a second is therefore given up.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO, RawIOBase

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from node.dicom import command as commands
from node.dicom.command import Command, Element, Message
from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.errors import InvalidObject

MAX_PDU_BYTES = 131072
APPLICATION_CONTEXT = UID("1.2.840.10008.3.1.1.1")  # PS3.7 annex A.2.1

# PDU types, PS3.8 section 9.3.1
_ASSOCIATE_RQ, _ASSOCIATE_AC, _ASSOCIATE_RJ, _P_DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = range(1, 8)
_MAX_NEGOTIATED = 1 << 18  # 128 presentation contexts need a tenth of it
_MAX_MESSAGE = 16 << 20  # an identifier or an event report; an object goes to a sink
_ROOM = 131072  # bytes sent in one piece
_LEAST_FRAGMENT = 1024  # less room than that at the end of a piece is left

_PDU = struct.Struct(">BxL")
_PDV = struct.Struct(">BxLLBB")  # the head of a P-DATA-TF PDU with one presentation data value
_OVERHEAD = _PDV.size - _PDU.size
_COMMAND, _LAST = 0x01, 0x02  # message control header, PS3.8 annex E.2


OpenSink = Callable[[Message], Callable[[bytes], object] | None]
"""A message whose data set is about to come -> what takes it, a piece at a time; None for the message itself."""


class Ended(Exception):
    """The association or its connection is over. The text goes on after the peer's name: "closed the connection"."""


class Silent(Exception):
    """The peer has not answered, or not taken what is sent, within the time-out."""


class Rejected(Exception):
    """A-ASSOCIATE-RJ, PS3.8 Table 9-21."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        self.result, self.source, self.reason = result, source, reason
        super().__init__(f"{result}/{source}/{reason}")


@dataclass(frozen=True, slots=True)
class DataSet:
    """An encoded data set, from where `file` stands."""

    file: RawIOBase | BytesIO
    size: int

    @classmethod
    def of(cls, encoded: bytes) -> DataSet:
        return cls(BytesIO(encoded), len(encoded))


@dataclass(frozen=True, slots=True)
class Request:
    """What an association asks for."""

    called_ae_title: str
    calling_ae_title: str
    contexts: Sequence[PresentationContext]
    scp_of: Sequence[str] = ()  # SOP classes that we are the provider of, though we open the association


def open_association(
    host: str, port: int, timeout_s: float, request: Request, tls: ssl.SSLContext | None = None
) -> Association:
    """Connect and negotiate.

    Raises:
        OSError: there is no connection; ssl.SSLError: none that is trusted.
        Rejected, Ended, Silent: it is not accepted.
    """
    connection = socket.create_connection((host, port), timeout_s)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            connection = _shake_hands(connection, host, tls)
        association = Association(connection, timeout_s)
        association.negotiate(request)
    except BaseException:
        connection.close()
        raise
    return association


def _shake_hands(connection: socket.socket, host: str, tls: ssl.SSLContext) -> ssl.SSLSocket:
    try:
        return tls.wrap_socket(connection, server_hostname=host)
    except TimeoutError as error:
        raise Silent("has not answered the TLS handshake: does it speak TLS?") from error
    except ConnectionError as error:
        raise Ended("closed the connection in the TLS handshake: does it speak TLS?") from error


class Association:
    """An association that stands, as soon as it is negotiated. Not to be used by two threads."""

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self.accepted: Mapping[tuple[str, str], int] = {}  # abstract and transfer syntax -> presentation context
        self.transfer_syntaxes: Mapping[int, UID] = {}  # of the accepted presentation contexts
        self.scp_of: frozenset[str] = frozenset()  # what the peer lets us be the provider of
        self._socket, self._timeout_s = connection, timeout_s
        self._fragment = 0
        self._room = bytearray(_ROOM)

    def negotiate(self, request: Request) -> None:
        """A-ASSOCIATE, PS3.8 section 7.1."""
        self._send(A_ASSOCIATE_RQ(_primitive(request)).encode())
        kind, body = self._pdu(_MAX_NEGOTIATED, self._timeout_s)
        if kind == _ASSOCIATE_RJ and len(body) == 4:
            raise Rejected(*body[1:])
        if kind != _ASSOCIATE_AC:
            raise self._unexpected(kind)
        answer = A_ASSOCIATE_AC()
        try:
            answer.decode(_PDU.pack(kind, len(body)) + body)
            primitive = answer.to_primitive()
        except Exception as error:  # a malformed item makes pynetdicom raise nearly anything
            self.abort(reason=1)
            raise Ended(f"answered the association request with a PDU that cannot be read: {error!r}") from error
        asked = {context.context_id: context for context in request.contexts}
        granted = {
            int(context.context_id or 0): context.transfer_syntax[0]
            for context in primitive.presentation_context_definition_results_list
            if context.result == 0 and context.context_id in asked and context.transfer_syntax
        }
        self.transfer_syntaxes = granted
        self.accepted = {
            (str(asked[number].abstract_syntax), str(syntax)): number for number, syntax in granted.items()
        }
        roles = [item for item in primitive.user_information if isinstance(item, SCP_SCU_RoleSelectionNegotiation)]
        self.scp_of = frozenset(str(role.sop_class_uid) for role in roles if role.scp_role) & set(request.scp_of)
        largest = min(primitive.maximum_length_received or _ROOM, _ROOM)
        # The PDV's length, context and control header count too, PS3.8 annex D.1; fragments are even.
        self._fragment = max(largest - _OVERHEAD, 2) & ~1

    def send(self, context_id: int, command: bytes, data_set: DataSet | None = None) -> None:
        """Send a message. A data set is read as it goes, so that one of any size takes 128 KiB of memory.

        Raises:
            Ended, Silent: the peer does not take it.
            OSError: the data set cannot be read to its end; the association is aborted.
        """
        head = self._head(context_id, _COMMAND | _LAST, len(command)) + command
        if data_set is None:
            self._send(head)
            return
        try:
            for piece in self._pieces(context_id, head, data_set):
                self._send(piece)
        except OSError:  # the peer waits for the rest, which will not come
            self.abort()
            raise

    def hears(self, timeout_s: float) -> bool:
        """Whether the peer says something, or closes, within that time; the association stands all the same."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def receive(self, timeout_s: float | None = None, sink: OpenSink | None = None) -> Message:
        """The next message, each of its PDUs within the time-out.

        A data set goes where `sink` says as it comes, and is not in the message then.

        Raises:
            Ended, Silent: there is none; the association is closed.
        """
        command, data, context_id = bytearray(), bytearray(), 0
        write: Callable[[bytes], object] = data.extend
        fields: Command | None = None
        while True:
            kind, body = self._pdu(MAX_PDU_BYTES, self._timeout_s if timeout_s is None else timeout_s)
            if kind != _P_DATA:
                raise self._unexpected(kind)
            for context_id, control, value in self._values(body):
                if bool(control & _COMMAND) is (fields is not None):
                    raise self._breach("sent a data set and a command in the wrong order")
                if control & _COMMAND:
                    command.extend(value)
                else:
                    write(value)
                if len(command) + len(data) > _MAX_MESSAGE:
                    raise self._breach(f"sent a message of more than {_MAX_MESSAGE} bytes")
                if not control & _LAST:
                    continue
                if fields is None:
                    fields = self._command(bytes(command))
                    if fields.has_data_set:
                        write = (sink and sink(Message(context_id, fields, b""))) or write
                        continue
                return Message(context_id, fields, bytes(data))

    def release(self) -> None:
        """Release and close; where the peer does not answer as it should, the connection is closed all the same."""
        with suppress(Ended, Silent):
            self._send(_PDU.pack(_RELEASE_RQ, 4) + bytes(4))
            until = time.monotonic() + self._timeout_s
            while True:
                kind, _ = self._pdu(MAX_PDU_BYTES, until - time.monotonic())
                if kind == _RELEASE_RQ:  # both at once: ours is answered after theirs (AR-8, AR-9)
                    self._send(_PDU.pack(_RELEASE_RP, 4) + bytes(4))
                elif kind != _P_DATA:  # what comes before the answer is not awaited by anyone
                    break
        self._socket.close()

    def abort(self, *, source: int = 0, reason: int = 0) -> None:
        """A-ABORT, PS3.8 section 9.3.8, as far as the peer still listens; the connection is closed."""
        with suppress(OSError):
            self._socket.settimeout(0.1)  # it may be the very reason that the peer takes nothing any more
            self._socket.send(_PDU.pack(_ABORT, 4) + bytes((0, 0, source, reason)))
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _head(self, context_id: int, control: int, length: int) -> bytes:
        return _PDV.pack(_P_DATA, length + _OVERHEAD, length + 2, context_id, control)

    def _pieces(self, context_id: int, head: bytes, data_set: DataSet) -> Iterator[memoryview]:
        """The data set as PDUs, several in a piece where the peer takes only small ones."""
        room, end, left = memoryview(self._room), len(head), data_set.size
        room[:end] = head
        while True:
            start = end + _PDV.size
            length = min(self._fragment, _ROOM - start, left)
            if length < min(left, self._fragment, _LEAST_FRAGMENT):
                yield room[:end]
                end = 0
                continue
            left -= length
            room[end:start] = self._head(context_id, 0 if left else _LAST, length)
            end = start + length
            _fill(data_set.file, room[start:end])
            if not left:
                yield room[:end]
                return

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(data)  # the time-out is that of all of it
        except TimeoutError as error:
            self.abort()
            raise Silent("takes no more") from error
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> Ended:
        """What a broken connection means: an A-ABORT may still lie there to be read."""
        with suppress(OSError, Ended, Silent):
            while True:
                kind, _ = self._pdu(MAX_PDU_BYTES, 0.1)
                if kind == _ABORT:
                    self._socket.close()
                    return Ended("aborted the association")
        self._socket.close()
        return Ended(f"closed the connection ({error.strerror or error})")

    def _pdu(self, largest: int, timeout_s: float) -> tuple[int, bytes]:
        """Type and body of the next PDU."""
        until = time.monotonic() + timeout_s
        kind, length = _PDU.unpack(self._read(_PDU.size, until))
        if not _ASSOCIATE_RQ <= kind <= _ABORT:
            raise self._breach(f"sent a PDU of the unknown type 0x{kind:02X}", reason=1)
        if length > largest:
            raise self._breach(f"announced a PDU of {length} bytes, and {largest} are taken", reason=6)
        return kind, self._read(length, until)

    def _read(self, count: int, until: float) -> bytes:
        data = bytearray(count)
        have = 0
        with memoryview(data) as view:
            while have < count:
                left_s = until - time.monotonic()
                try:
                    if left_s <= 0:
                        raise TimeoutError  # noqa: TRY301 - as the socket says it
                    self._socket.settimeout(left_s)
                    got = self._socket.recv_into(view[have:])
                except TimeoutError as error:
                    self.abort()
                    raise Silent("has not answered") from error
                except OSError as error:
                    self._socket.close()
                    raise Ended(f"closed the connection ({error.strerror or error})") from error
                if not got:
                    self._socket.close()
                    raise Ended("closed the connection")
                have += got
        return bytes(data)

    def _values(self, body: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Presentation context, message control header and fragment of each presentation data value."""
        at = 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            if length < 2 or at + 4 + length > len(body):
                raise self._breach("sent a presentation data value that does not fit its PDU", reason=6)
            yield body[at + 4], body[at + 5], body[at + 6 : at + 4 + length]
            at += 4 + length

    def _command(self, data: bytes) -> Command:
        try:
            fields = commands.decode(data)
        except InvalidObject as error:
            raise self._breach(f"sent a command that cannot be read: {error.reason}") from error
        if fields.field is None or fields.number(Element.COMMAND_DATA_SET_TYPE) is None:
            raise self._breach("sent a command without its Command Field or Data Set Type")
        return fields

    def _unexpected(self, kind: int) -> Ended:
        """A PDU that is not what is awaited in Sta5 or Sta6."""
        if kind == _ABORT:
            self._socket.close()
            return Ended("aborted the association")
        if kind == _RELEASE_RQ:
            with suppress(Ended, Silent):
                self._send(_PDU.pack(_RELEASE_RP, 4) + bytes(4))
            self._socket.close()
            return Ended("released the association")
        return self._breach(f"sent a PDU of type 0x{kind:02X}, which has no place here", reason=2)

    def _breach(self, what: str, *, reason: int = 0) -> Ended:
        """Abort as the provider of the service, PS3.8 action AA-8."""
        self.abort(source=2, reason=reason)
        return Ended(what)


def _primitive(request: Request) -> A_ASSOCIATE:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = request.calling_ae_title, request.called_ae_title
    for number, context in enumerate(request.contexts):
        context.context_id = 2 * number + 1  # odd numbers of one byte, PS3.8 section 9.3.2.2
    primitive.presentation_context_definition_list = list(request.contexts)
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = MAX_PDU_BYTES
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive.user_information = [length, implementation, version, *map(_as_provider, request.scp_of)]
    return primitive


def _as_provider(sop_class: str) -> SCP_SCU_RoleSelectionNegotiation:
    """Role selection, PS3.7 annex D.3.3.4: who opens the association is the provider of this class."""
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = UID(sop_class), False, True
    return role


def _fill(file: RawIOBase | BytesIO, into: memoryview) -> None:
    have = 0
    while have < len(into):
        got = file.readinto(into[have:])
        if not got:
            raise OSError("the file has become shorter while it was sent")
        have += got
