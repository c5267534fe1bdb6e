"""DIMSE over TLS with DCMTK's tools: who shows what is let in, by its certificate and its AE title together."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from crafted_pdus import associate_request

from node.config import ClientTLS
from node.dicom import scu
from node.store.tables import AuditRecord
from node.tls import client_context

ECHOSCU, STORESCU = Path("/usr/bin/echoscu"), Path("/usr/bin/storescu")
pytestmark = pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)")


@pytest.fixture(scope="module")
def scanner(authority):
    return authority.issue("ct1.hospital.example")


@pytest.fixture
def start_secure(start_receiver, authority):
    """A receiver with a certificate, for peers that show one of the hospital's."""
    ours = authority.issue("node.example")

    def start(**more):
        tls = {"certificate": str(ours.certificate), "key": str(ours.key), "ca": str(authority.ca)}
        return start_receiver(tls=tls, **more)

    return start


def run(tool: Path, receiver, *options: str | Path, calling: str = "CT1") -> subprocess.CompletedProcess[str]:
    command = [tool, *options, "-aet", calling, "-aec", "HARMONODE", "127.0.0.1", str(receiver.port)]
    if tool == STORESCU:
        command = [*command[:1], "-R", *command[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def shows(issued, authority) -> tuple[str | Path, ...]:
    return ("+tls", issued.key, issued.certificate, "+cf", authority.ca)


def refusals(receiver, database) -> list[str]:
    receiver.stop()
    with database.read() as session:
        return [row.message for row in session.scalars(sa.select(AuditRecord)) if row.event == "refusal"]


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])  # PS3.15 sections B.10, B.9 and B.11
def test_dcmtk_stores_with_each_profile(start_secure, authority, scanner, slice_path, profile):
    receiver = start_secure()
    command = [
        STORESCU,
        *shows(scanner, authority),
        profile,
        "-aec",
        "HARMONODE",
        "127.0.0.1",
        str(receiver.port),
        slice_path(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(receiver.spool.walk())) == 1


def test_a_certificate_belongs_to_an_ae_title(start_secure, authority, scanner, database):
    other = authority.issue("workstation.hospital.example")
    everywhere = ["127.0.0.0/8"]
    receiver = start_secure(
        peers=[
            {"ae_title": "CT1", "addresses": everywhere, "certificates": ["CT1.hospital.example"]},
            {"ae_title": "WS", "addresses": everywhere, "certificates": [f"sha256:{other.fingerprint}"]},
        ]
    )
    for issued, calling, taken in (
        (scanner, "CT1", True),
        (other, "WS", True),
        (other, "CT1", False),
        (scanner, "WS", False),
    ):
        done = run(ECHOSCU, receiver, *shows(issued, authority), calling=calling)
        assert (done.returncode == 0) == taken, done.stderr
        if not taken:
            assert "Calling AE Title Not Recognized" in done.stderr
    (told, more) = refusals(receiver, database)
    assert "workstation.hospital.example" in told
    assert "is not that of 'CT1' (receive.peers.certificates)" in told
    assert "'WS'" in more


def test_strangers_are_kept_out_and_told_of(start_secure, authority, make_authority, scanner, database):
    receiver = start_secure()
    stranger, expired = make_authority("other").issue("ct1.hospital.example"), authority.issue("old.example", days=-1)
    for options in (
        (),  # plain TCP
        ("+tla", "+cf", authority.ca),  # no certificate
        ("+tls", stranger.key, stranger.certificate, "+cf", authority.ca),
        ("+tls", expired.key, expired.certificate, "+cf", authority.ca),
    ):
        assert run(ECHOSCU, receiver, *options).returncode != 0, options
    assert run(ECHOSCU, receiver, *shows(scanner, authority)).returncode == 0
    told = refusals(receiver, database)
    assert all(message.startswith("no TLS connection with 127.0.0.1: ") for message in told)
    reasons = " ".join(told)
    for reason in ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED"):
        assert reason in reasons
    assert len(told) >= 3


def test_who_speaks_no_tls_holds_no_place(start_secure, wait):
    receiver = start_secure(idle_timeout_s=0.5)
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as silent:
        assert silent.recv(100) == b""


def test_the_nodes_own_requestor_speaks_with_it(start_secure, authority, scanner):
    receiver = start_secure()
    context = client_context(ClientTLS(ca=authority.ca, certificate=scanner.certificate, key=scanner.key))
    peer = scu.Peer("HARMONODE", "127.0.0.1", receiver.port, "CT1", 20.0, context)
    with scu.associate(peer, scu.ECHO_CONTEXTS) as requestor:
        requestor.echo()


def test_large_objects_come_whole_over_tls(start_secure, authority, scanner, slice_path):
    receiver, path = start_secure(), slice_path(PixelData=bytes(range(256)) * 4096)
    done = subprocess.run(
        [STORESCU, *shows(scanner, authority), "-aec", "HARMONODE", "127.0.0.1", str(receiver.port), path],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (kept,) = (receiver.spool.root / name for name in receiver.spool.walk())
    assert bytes(range(256)) * 4096 in kept.read_bytes()


def test_a_peer_may_send_a_byte_at_a_time(start_secure, authority, scanner):
    """A PDU in many TLS records."""
    receiver = start_secure()
    context = client_context(ClientTLS(ca=authority.ca, certificate=scanner.certificate, key=scanner.key))
    plain = socket.create_connection(("127.0.0.1", receiver.port), timeout=20)
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
        for byte in associate_request("CT1", "HARMONODE"):
            secure.sendall(bytes([byte]))
        assert secure.recv(1) == b"\x02"
