"""Syslog as DICOM and IHE ITI-20 want it: the header of RFC 5424, over TLS (PS3.15 section A.6) or UDP (section A.7)."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import ssl
import struct
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from node.config import AuditServer
from node.errors import TransientError
from node.tls import client_context

NOTICE, WARNING = 5, 4  # severity; section A.6
_FACILITY = 10  # security/authorization messages
_BOM = b"\xef\xbb\xbf"  # what follows is UTF-8, RFC 5424 section 6.4
_NO_ANSWER_S = 2.0
_NOT_PRINTED = re.compile(r"[^\x21-\x7e]")


def syslog_message(xml: bytes, at: datetime, host: str, severity: int) -> bytes:
    """SYSLOG-MSG, RFC 5424 section 6. No process id and no sequence: a message that is sent again is the same bytes."""
    stamp = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    name = _NOT_PRINTED.sub("", host)[:255] or "-"
    return f"<{_FACILITY * 8 + severity}>1 {stamp} {name} harmonode - DICOM+RFC3881 - ".encode("ascii") + _BOM + xml


def framed(message: bytes) -> bytes:
    """SYSLOG-FRAME: its length in octets, a space, the message (RFC 5425 section 4.3)."""
    return f"{len(message)} ".encode("ascii") + message


def deliver(server: AuditServer, messages: Sequence[bytes]) -> None:
    """Hand messages over, in order.

    Syslog has no acknowledgement of its own. But a receiver must answer the end of a TLS session with its own (RFC 5425
    section 4.4), and what it answers after it has read; so each call is one session, and returns when that answer has
    come. UDP tells nothing: what is sent is taken as delivered.

    Raises:
        OSError: it cannot be reached, verified or written to, or did not answer; any number of messages may have come.
        OperatorError: a certificate or key of the configuration cannot be used.
    """
    if server.transport == "udp":
        _by_udp(server, messages)
        return
    context = client_context(server.tls)
    with (
        socket.create_connection((server.host, server.port), server.timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=server.host) as secured,
    ):
        for message in messages:
            secured.sendall(framed(message))
        if server.confirm == "none":  # what it still says is read, for a connection that closes on it is reset
            secured.settimeout(min(server.timeout_s, _NO_ANSWER_S))
            with suppress(OSError):
                secured.unwrap()
            return
        try:
            _wait_until_arrived(secured, server.timeout_s)
            _read_to_the_end(secured.unwrap())
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError) as error:
            raise TransientError(
                "it ended the connection without the answer that RFC 5425 section 4.4 asks for: what it has is not known "
                "(confirm: none does not ask)"
            ) from error


def _wait_until_arrived(connection: socket.socket, timeout_s: float) -> None:
    """Wait until the server's machine has all that was written.

    A server that turns us away after the handshake, as one does that misses our certificate in TLS 1.3, ends the session
    in order, as if it answered. But it closes on what it has not read, or has closed when that comes: then TCP resets the
    connection, here or in `_read_to_the_end`.

    Raises:
        ConnectionError: it has not taken it.
    """
    deadline = time.monotonic() + timeout_s
    while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0] > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server took nothing for {timeout_s:g} s")
        time.sleep(0.001)
    if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise ConnectionResetError(error, os.strerror(error))


def _read_to_the_end(connection: socket.socket) -> None:
    """Raises ConnectionError where the connection is reset instead of closed."""
    while connection.recv(4096):
        pass


def greet(server: AuditServer) -> None:
    """Open and end a session with a TLS server, as `deliver` would. Raises as `deliver` does."""
    deliver(server, ())


def _by_udp(server: AuditServer, messages: Sequence[bytes]) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as datagrams:
        datagrams.connect(address)  # so that a port where nobody listens is told of
        for message in messages:
            datagrams.send(message)
