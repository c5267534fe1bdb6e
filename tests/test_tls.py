"""TLS between the node's own two sides, and with openssl's client; certificates by the openssl command."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from pathlib import Path

import pytest

from node import tls
from node.config import ClientTLS, ServerTLS
from node.errors import OperatorError


@pytest.fixture(scope="module")
def server(authority):
    return authority.issue("node.example")


@pytest.fixture(scope="module")
def client(authority):
    return authority.issue("ct1.example", alternative="DNS:CT1.hospital.example")


def settings(issued, **more) -> ServerTLS:
    return ServerTLS(certificate=issued.certificate, key=issued.key, **more)


def shake_hands(ours: ssl.SSLContext, theirs: ssl.SSLContext, host: str = "127.0.0.1"):
    """Connect both; (names of the client, TLS version, cipher), or the error of the client or of the server."""
    there, here = socket.socketpair()
    found: list = []

    def serve() -> None:
        with there:
            try:
                with ours.wrap_socket(there, server_side=True) as connection:
                    found.append((tls.names(connection), connection.version(), connection.cipher()[0]))
                    connection.sendall(b"!")
            except OSError as error:
                found.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with here, theirs.wrap_socket(here, server_hostname=host) as connection:
            connection.recv(1)
    except OSError as error:
        found.append(error)
    thread.join()
    return found


def test_a_certificate_is_known_by_its_names_and_its_fingerprint(authority, server, client):
    ours = tls.server_context(settings(server, ca=authority.ca))
    theirs = tls.client_context(ClientTLS(ca=authority.ca, certificate=client.certificate, key=client.key))
    ((names, version, _),) = shake_hands(ours, theirs)
    assert names == {"ct1.example", "ct1.hospital.example", tls.canonical(f"sha256:{client.fingerprint}")}
    assert version == "TLSv1.3"


def test_a_client_without_certificate_is_taken_only_where_no_authority_is_named(authority, server):
    theirs = tls.client_context(ClientTLS(ca=authority.ca))
    ((names, _, _),) = shake_hands(tls.server_context(settings(server)), theirs)
    assert names == frozenset()
    refused = shake_hands(tls.server_context(settings(server, ca=authority.ca)), theirs)
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(refused)


def test_a_certificate_of_another_authority_is_refused_both_ways(authority, make_authority, server):
    other = make_authority("other").issue("ct1.example")
    ours = tls.server_context(settings(server, ca=authority.ca))
    stranger = tls.client_context(ClientTLS(ca=authority.ca, certificate=other.certificate, key=other.key))
    assert "CERTIFICATE_VERIFY_FAILED" in str(shake_hands(ours, stranger))
    distrusting = tls.client_context(ClientTLS(ca=make_authority("other").ca))
    assert "CERTIFICATE_VERIFY_FAILED" in str(shake_hands(tls.server_context(settings(server)), distrusting))


def test_the_name_of_the_server_is_checked_unless_told_otherwise(authority, server):
    ours = tls.server_context(settings(server))
    refused = shake_hands(ours, tls.client_context(ClientTLS(ca=authority.ca)), "pacs.example")
    assert "Hostname mismatch" in str(refused)
    taken = shake_hands(ours, tls.client_context(ClientTLS(ca=authority.ca, check_name=False)), "pacs.example")
    assert [type(one) for one in taken] == [tuple]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_nothing_older_than_tls_1_2_is_spoken(authority, server, version):
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        theirs.minimum_version = theirs.maximum_version = version
    theirs.load_verify_locations(authority.ca)
    assert all(isinstance(one, OSError) for one in shake_hands(tls.server_context(settings(server)), theirs))


@pytest.mark.parametrize(
    ("cipher", "taken"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("ECDHE-ECDSA-AES128-SHA256", False),
        ("AES128-GCM-SHA256", False),
    ],
)
def test_the_cipher_suites_of_the_profile(authority, server, cipher, taken):
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    theirs.set_ciphers(cipher)
    theirs.load_verify_locations(authority.ca)
    found = shake_hands(tls.server_context(settings(server)), theirs)
    assert isinstance(found[0], tuple) == taken
    if taken:
        assert found[0][1:] == ("TLSv1.2", cipher)


def test_what_is_wrong_with_a_file_is_said(authority, server, client, tmp_path: Path):
    empty = tmp_path / "empty.pem"
    empty.touch()
    encrypted = tmp_path / "encrypted.key"
    from certificates import Issued, openssl

    openssl("ec", "-in", server.key, "-aes256", "-passout", "pass:open sesame", "-out", encrypted)
    for wrong, said in (
        (settings(Issued(tmp_path / "none.pem", server.key)), f"{tmp_path}/none.pem cannot be read: No such file"),
        (settings(Issued(server.certificate, client.key)), "does not belong to the certificate"),
        (settings(Issued(empty, server.key)), f"certificate {empty} and key {server.key} cannot be loaded"),
        (settings(server, ca=empty), f"{empty} holds no certificate of an authority"),
        (settings(Issued(server.certificate, encrypted)), "is encrypted, and key_password does not open it"),
        (settings(Issued(server.certificate, encrypted), key_password="wrong"), "key_password does not open it"),
    ):
        with pytest.raises(OperatorError, match=re.escape(said)):
            tls.server_context(wrong)
    tls.server_context(settings(Issued(server.certificate, encrypted), key_password="open sesame"))


def test_a_certificate_that_expires_is_told_of(authority, server):
    def told(issued) -> list[tuple[bool, str]]:
        issued.key.chmod(0o600)
        return list(tls.flaws(settings(issued, ca=authority.ca)))

    assert told(server) == []
    ((nothing_works, what),) = told(authority.issue("soon.example", days=10))
    assert not nothing_works
    assert re.search(r"the certificate CN=soon\.example in .* expires on \d{4}-\d\d-\d\d, in 9 days", what)
    server.key.chmod(0o644)
    assert next(iter(tls.flaws(settings(server))))[1].startswith("others than its owner can read the key")


def test_a_certificate_out_of_its_time_is_an_error(authority, server, monkeypatch):
    from datetime import UTC, datetime

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2100, 1, 1, tzinfo=UTC)

    server.key.chmod(0o600)
    monkeypatch.setattr(tls, "datetime", Later)
    ((nothing_works, what),) = tls.flaws(settings(server))
    assert nothing_works
    assert "expired on" in what
