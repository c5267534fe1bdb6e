"""The ways to a person: a mail, a webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Protocol, Self

import httpx

import node
from node.config import Config, Mail, Webhook
from node.errors import HarmonodeError, TransientError
from node.tls import client_context


@dataclass(frozen=True, slots=True)
class Letter:
    """What a person is told."""

    kind: str  # "waiting", "disk", ...
    what: str  # "begun", "grown", "still", "over" or "test"
    subject: str
    count: int
    lines: tuple[str, ...]
    at: str  # ISO 8601, UTC

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**{**stored, "lines": tuple(stored["lines"])})


class Channel(Protocol):
    """One way."""

    name: str

    def send(self, letter: Letter) -> None:
        """Raises OSError, smtplib.SMTPException, httpx.HTTPError or HarmonodeError where it was not taken."""
        ...


FAULTS = (OSError, smtplib.SMTPException, httpx.HTTPError, HarmonodeError)
"""What keeps a letter from being taken; all of it may pass, or be mended by a person."""


def channels(config: Config) -> list[Channel]:
    """Those that the configuration has."""
    found: list[Channel] = [_Mail(config.notify.mail)] if config.notify.mail else []
    return found + [_Webhook(webhook) for webhook in config.notify.webhooks]


class _Mail:
    """RFC 5321; with STARTTLS (RFC 3207) or TLS from the start (RFC 8314)."""

    name = "mail"

    def __init__(self, settings: Mail) -> None:
        self._settings = settings

    def send(self, letter: Letter) -> None:
        settings = self._settings
        message = EmailMessage()
        message["From"], message["To"] = settings.sender, ", ".join(settings.recipients)
        message["Subject"], message["Date"] = f"[harmonode] {letter.subject}", formatdate(usegmt=True)
        message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2] or None)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
        message.set_content("\n".join(letter.lines) + f"\n\n-- \nharmonode {node.__version__}, {letter.at}\n")
        with self._connect() as server:
            password = settings.password.get_secret_value()
            if settings.username:
                server.login(settings.username, password)
            server.send_message(message)

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.security == "tls":
            context = client_context(settings.tls)
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_s, context=context)
        server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
        if settings.security == "starttls":
            try:
                server.starttls(context=client_context(settings.tls))
            except Exception:
                server.close()
                raise
        return server


class _Webhook:
    """A POST of JSON, signed so that the receiver knows who sends, and that it is no copy of an old one."""

    def __init__(self, settings: Webhook) -> None:
        self._settings, self.name = settings, settings.name

    def send(self, letter: Letter) -> None:
        body = json.dumps({"source": "harmonode", **letter.to_json()}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "User-Agent": f"harmonode/{node.__version__}"}
        secret = self._settings.secret.get_secret_value()
        if secret:
            stamp = str(int(time.time()))
            headers["X-Harmonode-Timestamp"] = stamp
            headers["X-Harmonode-Signature"] = f"sha256={signature(secret, stamp, body)}"
        with httpx.Client(timeout=self._settings.timeout_s, verify=client_context(self._settings.tls)) as client:
            answer = client.post(self._settings.url.get_secret_value(), content=body, headers=headers)
        if not answer.is_success:
            raise TransientError(f"webhook {self.name} answers with HTTP status {answer.status_code}")


def signature(secret: str, stamp: str, body: bytes) -> str:
    """HMAC-SHA-256 (RFC 2104) over the time stamp, a dot and the body, in hexadecimal."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
