"""The server: where it listens, and how."""

from __future__ import annotations

import socket
import ssl
import threading
import time

import httpx
import pytest
from certificates import Authority
from pydantic import ValidationError

from node.config import Config, Web
from node.errors import OperatorError
from node.store.tables import AuditRecord
from node.web.server import Server
from node.web.site import signing_key


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.8.9.1", "localhost"])
def test_this_machine_alone_needs_no_tls(host: str):
    assert Web(host=host).tls is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "node.example", ""])
def test_other_machines_are_let_in_by_tls_or_by_an_explicit_word(host: str):
    with pytest.raises(ValidationError, match=r"set web\.tls, or web\.allow_plain_http"):
        Config.model_validate({"web": {"host": host}})
    assert Web(host=host, allow_plain_http=True).host == host
    assert Web.model_validate({"host": host, "tls": {"certificate": "a.pem", "key": "a.key"}}).tls


def test_a_taken_port_is_told_before_anything_is_touched(free_port: int):
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(OperatorError, match=r"change web\.host or web\.port"),
    ):
        Server(Web(port=free_port))


def test_https_takes_tls_1_2_and_newer_and_its_cookies_are_secure(start_web, authority: Authority):
    issued = authority.issue("node")
    web = start_web(tls={"certificate": issued.certificate, "key": issued.key})
    assert web.server.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(authority.ca))
    with httpx.Client(verify=context, base_url=web.server.url) as client:
        answer = client.get("/login")
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert "Secure" in answer.headers["set-cookie"]
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", web.server.port)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_the_port_is_closed_soon_though_a_page_listens_for_events(start_web):
    web = start_web()
    client, port = web.client(web.token()), web.server.port
    with client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        stopping = threading.Thread(target=web.server.stop)
        began = time.monotonic()
        stopping.start()
        list(lines)  # it ends by itself: a broken connection would raise
        stopping.join()
    assert time.monotonic() - began < 30
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_the_signing_key_is_its_owners_alone_and_stays(tmp_path):
    key = signing_key(tmp_path)
    assert len(key) == 32
    assert signing_key(tmp_path) == key
    assert (tmp_path / "web.key").stat().st_mode & 0o777 == 0o600


def test_forwarded_addresses_are_believed_of_trusted_proxies_alone(start_web):
    for proxies, told in (([], "127.0.0.1"), (["127.0.0.1"], "10.9.8.7")):
        web = start_web(trusted_proxies=proxies)
        web.client(web.token(name=f"t{len(proxies)}")).get("/", headers={"X-Forwarded-For": "10.9.8.7"})
        with web.database.read() as session:
            last = session.query(AuditRecord).filter_by(event="authentication").order_by(AuditRecord.seq.desc()).first()
        assert last.detail["address"] == told
        web.server.stop()
