"""Mails and webhooks, to real servers."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
import time
from typing import Any

import pytest

from node.config import Config
from node.errors import TransientError
from node.notify.channels import FAULTS, Channel, Letter, channels

LETTER = Letter(
    "waiting", "begun", "3 series wait for a person", 3, ("3 series wait.", "- series 1.2.3, ü"), "2026-11-25"
)


def way(**notify: Any) -> Channel:
    (found,) = channels(Config.model_validate({"notify": notify}))
    return found


def test_a_mail_comes_through_starttls_and_a_login(mail_server):
    way(mail=mail_server.settings()).send(LETTER)
    (mail,) = mail_server.mails
    assert mail["Subject"] == "[harmonode] 3 series wait for a person"
    assert (mail["From"], mail["To"]) == ("node@ct.example", "ann@ct.example, bob@ct.example")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "- series 1.2.3, ü" in mail.get_content()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"tls": {}}, ssl.SSLCertVerificationError),
        ({"password": "wrong"}, smtplib.SMTPAuthenticationError),
        ({"security": "none", "username": ""}, smtplib.SMTPException),
        ({"port": 1}, ConnectionRefusedError),
    ],
)
def test_a_mail_that_is_not_taken_is_a_fault(mail_server, changed: dict[str, Any], fault: type[Exception]):
    with pytest.raises(fault) as raised:
        way(mail=mail_server.settings(**changed)).send(LETTER)
    assert isinstance(raised.value, FAULTS)
    assert mail_server.mails == []


def test_a_webhook_gets_signed_json(hook):
    url = f"http://127.0.0.1:{hook.port}/hook"
    way(webhooks=[{"name": "chat", "url": url, "secret": "sesame"}]).send(LETTER)
    ((headers, body),) = hook.posts
    assert json.loads(body) == {"source": "harmonode", **json.loads(json.dumps(LETTER.to_json()))}
    stamp = headers["X-Harmonode-Timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    expected = hmac.new(b"sesame", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Harmonode-Signature"] == f"sha256={expected}"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_does_not_take_it_is_a_fault(hook, status: int):
    hook.status = status
    with pytest.raises(TransientError, match=f"chat answers with HTTP status {status}"):
        way(webhooks=[{"name": "chat", "url": f"http://127.0.0.1:{hook.port}/hook"}]).send(LETTER)
    assert len(hook.posts) == 1
    assert "X-Harmonode-Signature" not in hook.posts[0][0]


def test_a_letter_survives_the_database():
    assert Letter.from_json(json.loads(json.dumps(LETTER.to_json()))) == LETTER
