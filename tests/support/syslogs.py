"""Syslog servers for tests: Debian's rsyslog with TLS as a plain process, and a small one that misbehaves on demand."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from certificates import Authority
from peers import Peer, free_port

from node.config import AuditServer, ServerTLS
from node.tls import server_context

RSYSLOGD = Path("/usr/sbin/rsyslogd")
_CONF = """
global(workDirectory="{folder}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off"
       defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{ca}"
       defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
main_queue(queue.type="Direct")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="{auth}")
template(name="raw" type="string" string="%rawmsg%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{folder}/received.log" template="raw")
"""


class Rsyslog(Peer):
    """rsyslogd with TLS; each message it got is a line of `received`. Its queue is direct: what it read is written."""

    def __init__(self, folder: Path, authority: Authority, *, wants_certificate: bool = False) -> None:
        folder.mkdir()
        self.port = free_port()
        self.authority = authority
        issued = authority.issue("localhost")
        auth = "x509/certvalid" if wants_certificate else "anon"
        conf = folder / "rsyslog.conf"
        conf.write_text(
            _CONF.format(
                folder=folder,
                ca=authority.ca,
                certificate=issued.certificate,
                key=issued.key,
                port=self.port,
                auth=auth,
            )
        )
        command = [str(RSYSLOGD), "-n", "-f", str(conf), "-i", str(folder / "pid")]
        super().__init__(command, [self.port], folder)

    def server(self, **settings: object) -> AuditServer:
        """It, as the configuration names it."""
        return AuditServer.model_validate(
            {"name": "repository", "host": "localhost", "port": self.port, "tls": {"ca": self.authority.ca}, **settings}
        )

    @property
    def received(self) -> list[str]:
        file = self.folder / "received.log"
        return file.read_text("utf-8").splitlines() if file.exists() else []


class OddServer:
    """A TLS syslog server whose manners a test sets; what it read whole is in `received`."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        issued = authority.issue("localhost")
        self.context = server_context(ServerTLS(certificate=issued.certificate, key=issued.key))
        self.authority = authority
        self.received: list[bytes] = []
        self.sessions = 0
        self.reset_after: int | None = None  # messages in a session, then the connection is reset
        self.answers = True  # the end of a session
        self.pause_s = 0.0  # before each message is read
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        del folder

    def server(self, **settings: object) -> AuditServer:
        return AuditServer.model_validate(
            {"name": "odd", "host": "localhost", "port": self.port, "tls": {"ca": self.authority.ca}, **settings}
        )

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain, suppress(OSError):
                self._session(plain)

    def _session(self, plain: socket.socket) -> None:
        self.sessions += 1
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(20)
        secured = self.context.wrap_socket(plain, server_side=True)
        got = 0
        with secured:
            while True:
                if got == self.reset_after:
                    secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                time.sleep(self.pause_s)
                length = self._until_space(secured)
                if length is None:
                    break
                message = b""
                while len(message) < length:
                    message += secured.recv(length - len(message))
                self.received.append(message)
                got += 1
            if self.answers:
                with suppress(ssl.SSLError):
                    secured.unwrap()

    @staticmethod
    def _until_space(secured: ssl.SSLSocket) -> int | None:
        digits = b""
        while (byte := secured.recv(1)) not in {b"", b" "}:
            digits += byte
        return int(digits) if digits else None


@pytest.fixture
def start_rsyslog(tmp_path: Path, authority: Authority) -> Iterator[Callable[..., Rsyslog]]:
    if not RSYSLOGD.exists():
        pytest.skip(
            f"{RSYSLOGD} is not installed: this test needs rsyslog with rsyslog-openssl (`make peers` says how)"
        )
    with ExitStack() as stack:

        def start(**options: bool) -> Rsyslog:
            running = Rsyslog(tmp_path / "rsyslog", authority, **options)
            stack.callback(running.kill)
            return running

        yield start


@pytest.fixture
def rsyslog(start_rsyslog: Callable[..., Rsyslog]) -> Rsyslog:
    """A real audit server."""
    return start_rsyslog()


@pytest.fixture
def odd_server(tmp_path: Path, authority: Authority) -> Iterator[OddServer]:
    server = OddServer(tmp_path, authority)
    yield server
    server.close()
