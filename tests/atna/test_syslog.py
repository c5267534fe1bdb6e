"""Syslog messages, against a real rsyslog with TLS, and against servers with worse manners."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from certificates import Authority
from schema import parse
from syslogs import OddServer, Rsyslog

from node.atna import codes
from node.atna.message import Message, Participant, Source
from node.atna.syslog import NOTICE, WARNING, deliver, framed, syslog_message
from node.config import AuditServer
from node.errors import OperatorError, TransientError

AT = datetime(2026, 11, 25, 12, 0, 0, 5, tzinfo=UTC)
XML = Message(codes.APPLICATION_ACTIVITY, "E", AT, (Participant("Ännchen"),), kind=codes.APPLICATION_START).to_xml(
    Source("node")
)


def test_the_header_is_that_of_rfc_5424():
    message = syslog_message(XML, AT, "node 1.example", NOTICE)
    header, bom, xml = message.partition(b"\xef\xbb\xbf")
    assert header == b"<85>1 2026-11-25T12:00:00.000005Z node1.example harmonode - DICOM+RFC3881 - "
    assert bom
    assert xml == XML
    assert syslog_message(XML, AT, "", WARNING).startswith(b"<84>1 2026-11-25T12:00:00.000005Z - harmonode")


def test_a_frame_counts_octets_and_not_characters():
    assert framed("é".encode()) == b"2 \xc3\xa9"


@pytest.mark.parametrize("wants_certificate", [False, True])
def test_rsyslog_gets_each_message_whole(
    start_rsyslog: Callable[..., Rsyslog], authority: Authority, wants_certificate: bool
):
    rsyslog = start_rsyslog(wants_certificate=wants_certificate)
    shown = authority.issue("node") if wants_certificate else None
    tls = {"ca": authority.ca} | ({"certificate": shown.certificate, "key": shown.key} if shown else {})
    long = Message(codes.APPLICATION_ACTIVITY, "E", AT, (Participant("x"),), said="ü" * 4000).to_xml(Source("node"))
    deliver(rsyslog.server(tls=tls), [syslog_message(xml, AT, "node", NOTICE) for xml in (XML, long)])
    first, second = rsyslog.received
    for line, xml in ((first, XML), (second, long)):
        assert re.match(r"<85>1 2026-11-25T12:00:00.000005Z node harmonode - DICOM\+RFC3881 - \ufeff<\?xml", line)
        told = line.partition("\ufeff")[2].encode()
        assert told == xml
        parse(told)


def test_rsyslog_that_wants_a_certificate_takes_nothing_without(start_rsyslog: Callable[..., Rsyslog]):
    rsyslog = start_rsyslog(wants_certificate=True)
    with pytest.raises((OSError, TransientError)):
        deliver(rsyslog.server(), [b"x"])
    assert rsyslog.received == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"tls": {}}, "unable to get local issuer|self.signed"), ({"host": "127.0.0.2"}, "127.0.0.2|Connection refused")],
)
def test_a_server_that_is_not_who_it_should_be_gets_nothing(odd_server: OddServer, settings: dict[str, Any], told: str):
    with pytest.raises((ssl.SSLCertVerificationError, ConnectionRefusedError), match=told):
        deliver(odd_server.server(**settings), [b"secret"])
    assert odd_server.received == []


def test_another_authority_is_not_believed(odd_server: OddServer, make_authority: Callable[[str], Authority]):
    with pytest.raises(ssl.SSLCertVerificationError):
        deliver(odd_server.server(tls={"ca": make_authority("elsewhere").ca}), [b"secret"])


def test_a_ca_file_that_is_not_there_is_for_a_person(odd_server: OddServer):
    with pytest.raises(OperatorError, match=r"none\.pem"):
        deliver(odd_server.server(tls={"ca": "/none.pem"}), [b"x"])


def test_a_server_that_resets_in_the_middle_has_not_confirmed(odd_server: OddServer):
    odd_server.reset_after = 2
    with pytest.raises((OSError, TransientError)):
        deliver(odd_server.server(), [b"x" * 1000] * 5)
    assert len(odd_server.received) == 2


def test_no_answer_is_no_confirmation_unless_none_is_asked(odd_server: OddServer):
    odd_server.answers = False
    with pytest.raises(TransientError, match=r"RFC 5425 section 4\.4"):
        deliver(odd_server.server(), [b"one"])
    deliver(odd_server.server(confirm="none"), [b"two"])
    assert odd_server.received == [b"one", b"two"]


def test_a_slow_server_is_waited_for_no_longer_than_told(odd_server: OddServer):
    odd_server.pause_s = 1.0
    with pytest.raises(TimeoutError):
        deliver(odd_server.server(timeout_s=0.3), [b"x"])


def test_udp_is_one_message_a_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        server = AuditServer(name="udp", host="127.0.0.1", port=receiver.getsockname()[1], transport="udp")
        deliver(server, [b"one", b"two"])
        assert [receiver.recv(100), receiver.recv(100)] == [b"one", b"two"]
