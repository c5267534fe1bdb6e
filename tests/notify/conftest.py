"""A real mail server and a real web server on loopback, each with a will of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from certificates import Authority
from peers import free_port

from node.config import ServerTLS
from node.tls import server_context


class MailServer:
    """aiosmtpd with STARTTLS that wants a login; what it took is in `mails`."""

    def __init__(self, authority: Authority) -> None:
        issued = authority.issue("localhost")
        self.authority, self.mails, self.refuses = authority, [], False
        context = server_context(ServerTLS(certificate=issued.certificate, key=issued.key))
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=self._login,
        )
        self._controller.start()

    mails: list[EmailMessage]

    @property
    def port(self) -> int:
        return int(self._controller.port)

    def settings(self, **changed: Any) -> dict[str, Any]:
        return {
            "host": "localhost", "port": self.port, "tls": {"ca": str(self.authority.ca)}, "username": "node",
            "password": "sesame", "sender": "node@ct.example", "recipients": ["ann@ct.example", "bob@ct.example"],
            "timeout_s": 5, **changed,
        }  # fmt: skip

    def close(self) -> None:
        self._controller.stop()

    def _login(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, given: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=(given.login, given.password) == (b"node", b"sesame"), handled=False)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        if self.refuses:
            return "451 the queue is full"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@dataclass
class HookServer:
    """An HTTP server that remembers what it was posted."""

    port: int = 0
    status: int = 204
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def mail_server(authority: Authority) -> Iterator[MailServer]:
    server = MailServer(authority)
    yield server
    server.close()


@pytest.fixture
def hook() -> Iterator[HookServer]:
    told = HookServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.posts.append((dict(self.headers), body))
            self.send_response(told.status)
            if told.status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()
