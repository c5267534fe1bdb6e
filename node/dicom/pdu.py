"""The wire: PDUs from and to one connection (PS3.8 section 9.3), without a copy of what they carry.

A PDU is read into one buffer that is used again for the next; memory is bounded by the largest PDU that is taken,
whatever is announced. The connection never blocks: every wait has an end.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import NoReturn

from node.errors import HarmonodeError

HEADER_BYTES = 6
_HEADER = struct.Struct(">BxL")
_VALUE = struct.Struct(">LBB")  # item length, presentation context ID, message control header
_VALUE_OVERHEAD = 6

COMMAND, LAST = 0x01, 0x02  # bits of the message control header, PS3.8 section E.2


class PDUType(IntEnum):
    """PS3.8 section 9.3.1."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


_TYPES = frozenset(PDUType)


class InvalidPDU(HarmonodeError):
    """What came is no PDU that the standard knows, or one that is not taken."""


class Closed(HarmonodeError):
    """The peer closed the connection, or it broke; perhaps within a PDU."""


class TimedOut(HarmonodeError):
    """What was waited for has not come in time."""


class Silence(TimedOut):
    """Nothing has begun to come."""


class Woken(HarmonodeError):
    """Somebody in this process wants the thread that reads."""


class Wire:
    """One connection, TCP or TLS, as a stream of PDUs. For one thread; `wake` is a descriptor that becomes readable."""

    def __init__(self, connection: socket.socket, max_pdu_bytes: int, wake: int | None = None) -> None:
        connection.setblocking(False)
        self._socket, self._limit, self._wake = connection, max_pdu_bytes, wake
        self._view = memoryview(bytearray(HEADER_BYTES + max_pdu_bytes + HEADER_BYTES))  # the next one's header too
        self._have = 0  # bytes of the next PDU that stand at the buffer's start
        self._next: tuple[int, int] | None = None  # where they were read to
        self._lost = False  # after what is no PDU nobody knows where the next one begins
        self._incoming = select.poll()
        self._incoming.register(connection, select.POLLIN)
        self._outgoing = select.poll()
        self._outgoing.register(connection, select.POLLOUT)
        if wake is not None:
            self._incoming.register(wake, select.POLLIN)

    def read(self, begin_by: float, within_s: float) -> tuple[PDUType, memoryview]:
        """The next PDU's type and what follows its header; to be used before the next `read`.

        It must have begun by `begin_by` (of `time.monotonic`), and be whole `within_s` after that.

        Raises:
            InvalidPDU, Closed, TimedOut: as they say. After InvalidPDU nothing more is read but the end.
            Silence, Woken: before a PDU has begun.
        """
        if self._lost:
            self._drain(begin_by)
        if self._next is not None:
            start, self._have = self._next
            self._next = None
            self._view[: self._have] = self._view[start : start + self._have]
        if not self._have:
            self._have = self._receive(HEADER_BYTES, begin_by, begun=False)
        until = time.monotonic() + within_s
        self._fill(HEADER_BYTES, HEADER_BYTES, until)
        kind, length = _HEADER.unpack_from(self._view)
        self._lost = kind not in _TYPES or length > self._limit
        if kind not in _TYPES:
            raise InvalidPDU(f"a PDU of type 0x{kind:02X} came, which the standard does not know")
        if length > self._limit:
            raise InvalidPDU(f"a PDU of {length} bytes is announced, at most {self._limit} are taken")
        end = HEADER_BYTES + length
        self._fill(end, end + HEADER_BYTES, until)
        self._next = (end, self._have - end)
        return PDUType(kind), self._view[HEADER_BYTES:end]

    def write(self, data: bytes, until: float) -> None:
        """Send all of it.

        Raises:
            Closed: the connection is gone.
            TimedOut: the peer does not read.
        """
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                if not self._outgoing.poll(_milliseconds(until)):
                    raise TimedOut(f"the peer has not read {len(rest)} bytes in time") from None
            except OSError as error:
                raise Closed(_why(error)) from error

    def forget_wake(self) -> None:
        """Raise no `Woken` any more."""
        if self._wake is not None:
            self._incoming.unregister(self._wake)
            self._wake = None

    def close(self) -> None:
        self._socket.close()

    def _drain(self, until: float) -> NoReturn:
        """Take what comes and look at none of it, up to the connection's end."""
        self._have = 0
        while time.monotonic() < until:
            self._receive(len(self._view), until, begun=True)
        raise TimedOut("the connection was not closed in time")

    def _fill(self, needed: int, wanted: int, until: float) -> None:
        """Read until the buffer holds `needed` bytes; up to `wanted` where they are there."""
        while self._have < needed:
            if time.monotonic() > until:  # each byte may come in time, and all of them not
                raise TimedOut(f"a PDU had begun, and {needed - self._have} bytes of it have not come in time")
            self._have += self._receive(wanted - self._have, until, begun=True)

    def _receive(self, count: int, until: float, *, begun: bool) -> int:
        room = self._view[self._have : self._have + count]
        while True:
            try:
                got = self._socket.recv_into(room)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(until, begun=begun)
            except OSError as error:
                raise Closed(_why(error)) from error
            else:
                if not got:
                    raise Closed("the connection was closed" + (" within a PDU" if begun else ""))
                return got

    def _wait(self, until: float, *, begun: bool) -> None:
        ready = self._incoming.poll(_milliseconds(until))
        if not ready:
            raise TimedOut("a PDU had begun, and was not whole in time") if begun else Silence("nothing came in time")
        if not begun and all(descriptor == self._wake for descriptor, _ in ready):
            raise Woken


def values(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The presentation data values of a P-DATA-TF PDU: context ID, message control header, fragment.

    Raises:
        InvalidPDU: an item is shorter than its own header or longer than the PDU, or there is none.
    """
    at, end = 0, len(body)
    if not end:
        raise InvalidPDU("a P-DATA-TF PDU without a presentation data value came")
    while at < end:
        if end - at < _VALUE_OVERHEAD:
            raise InvalidPDU(f"a P-DATA-TF PDU breaks off {end - at} bytes into the header of a value")
        length, context_id, control = _VALUE.unpack_from(body, at)
        if length < 2 or length > end - at - 4:
            raise InvalidPDU(f"a presentation data value says it is {length} bytes long, in {end - at - 4}")
        yield context_id, control, body[at + _VALUE_OVERHEAD : at + 4 + length]
        at += 4 + length


def encode(kind: PDUType, body: bytes) -> bytes:
    """A PDU."""
    return _HEADER.pack(kind, len(body)) + body


def message(context_id: int, command: bytes, data_set: bytes = b"", *, max_length: int = 0) -> bytes:
    """A DIMSE message as P-DATA-TF PDUs whose variable part is at most `max_length` bytes, 0 for any (PS3.8 section D.1)."""
    room = max(1, max_length - _VALUE_OVERHEAD) if max_length else max(len(command), len(data_set), 1)
    made = bytearray()
    for part, flag in ((command, COMMAND), (data_set, 0)):
        for start in range(0, len(part), room):
            piece = part[start : start + room]
            last = LAST if start + room >= len(part) else 0
            made += _HEADER.pack(PDUType.DATA, len(piece) + _VALUE_OVERHEAD)
            made += _VALUE.pack(len(piece) + 2, context_id, flag | last)
            made += piece
    return bytes(made)


def rejection(result: int, source: int, diagnostic: int) -> bytes:
    """A-ASSOCIATE-RJ, PS3.8 section 9.3.4."""
    return encode(PDUType.ASSOCIATE_RJ, bytes((0, result, source, diagnostic)))


def abort(source: int, reason: int) -> bytes:
    """A-ABORT, PS3.8 section 9.3.8: source 0 is the service user, 2 the service provider, which has a reason."""
    return encode(PDUType.ABORT, bytes((0, 0, source, reason)))


RELEASE_RQ = encode(PDUType.RELEASE_RQ, bytes(4))
RELEASE_RP = encode(PDUType.RELEASE_RP, bytes(4))


def _milliseconds(until: float) -> int:
    return max(0, int((until - time.monotonic()) * 1000) + 1)


def _why(error: OSError) -> str:
    return f"the connection broke: {error.strerror or error}"
