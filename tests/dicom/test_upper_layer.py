"""The requestor's state machine, PS3.8 section 9.2, against a peer that says whatever a test wants."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.presentation import build_context
from scripted import PATIENCE_S, Script

from node.dicom import command as commands
from node.dicom.command import Element, Field
from node.dicom.upper_layer import Association, DataSet, Ended, Rejected, Request, Silent, open_association
from node.errors import InvalidObject

ECHO = "1.2.840.10008.1.1"
RELEASE_RQ, RELEASE_RP = b"\5\0\0\0\0\4" + bytes(4), b"\6\0\0\0\0\4" + bytes(4)
ABORT = b"\7\0\0\0\0\4" + bytes(4)


def opened(port: int, timeout_s: float = 2.0):
    return open_association("127.0.0.1", port, timeout_s, Request("SCP", "NODE", [build_context(ECHO)]))


def data_value(context_id: int, control: int, value: bytes) -> bytes:
    return struct.pack(">BxLLBB", 4, len(value) + 6, len(value) + 2, context_id, control) + value


def response(**more: int) -> bytes:
    fields = {Element.COMMAND_FIELD: 0x8030, Element.MESSAGE_ID_BEING_RESPONDED_TO: 1, Element.STATUS: 0}
    return commands.encode({**fields, Element.COMMAND_DATA_SET_TYPE: commands.NO_DATA_SET, **more})


@given(
    st.dictionaries(st.sampled_from([0x0002, 0x1000, 0x0902]), st.text("0123456789.", max_size=64)),
    st.integers(0, 65535),
)
def test_a_command_set_comes_back_as_it_was(texts, number):
    encoded = commands.encode({**texts, Element.MESSAGE_ID: number})
    assert len(encoded) % 2 == 0
    assert int.from_bytes(encoded[8:12], "little") == len(encoded) - 12
    message = commands.Message(1, commands.decode(encoded), b"")
    assert message.number(Element.MESSAGE_ID) == number
    assert {element: message.text(Element(element)) for element in texts} == texts


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_a_command_set_of_any_bytes_is_read_or_refused(data):
    with suppress(InvalidObject):
        commands.decode(data)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(range(1, 8)), st.binary(max_size=300), st.booleans())
def test_whatever_a_peer_says_is_read_or_ends_the_association(kind, body, stands):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack(">BxL", kind, len(body)) + body)
        theirs.shutdown(socket.SHUT_WR)
        association = Association(ours, PATIENCE_S)
        with suppress(Ended, Rejected):
            if stands:
                association.receive()
            else:
                association.negotiate(Request("SCP", "NODE", [build_context(ECHO)]))


@pytest.mark.parametrize("max_pdu", [4096, 16384, 131072, 1 << 20, 0])
@pytest.mark.parametrize("size", [0, 2, 4084, 131052, 131054, 300_000])
def test_a_data_set_arrives_in_pdus_no_larger_than_the_peer_takes(play, max_pdu, size):
    data = bytes(range(256)) * (size // 256 + 1)
    data, heard = data[:size], []

    def script(peer: Script) -> None:
        peer.accept(max_pdu)
        heard.extend(peer.message())
        peer.say(data_value(1, 3, response()))
        peer.say(RELEASE_RP) if peer.pdu()[0] == 5 else None

    association = opened(play(script))
    command = commands.encode({Element.COMMAND_FIELD: 1, Element.COMMAND_DATA_SET_TYPE: commands.WITH_DATA_SET})
    association.send(1, command, DataSet.of(data))
    assert association.receive().number(Element.STATUS) == 0
    association.release()
    assert heard[:2] == [command, data]
    assert max(heard[2]) <= (max_pdu or 131072)


def test_a_response_in_many_pieces_is_put_together(play):
    whole = response()
    sent = b"".join(data_value(1, 1 if at < len(whole) - 1 else 3, whole[at : at + 1]) for at in range(len(whole)))

    def script(peer: Script) -> None:
        peer.accept()
        for at in range(0, len(sent), 7):
            peer.say(sent[at : at + 7])
        assert peer.pdu()[0] == 5
        peer.say(RELEASE_RP)

    association = opened(play(script))
    assert association.receive().number(Element.COMMAND_FIELD) == Field.C_ECHO | commands.RESPONSE
    association.release()


def test_two_releases_that_meet_are_both_answered(play):
    """PS3.8 Sta7 -> Sta9 -> Sta11: the requestor answers first."""

    def script(peer: Script) -> None:
        peer.accept()
        assert peer.pdu()[0] == 5
        peer.say(RELEASE_RQ)
        assert peer.pdu()[0] == 6
        peer.say(RELEASE_RP)
        assert peer.gone() == b""

    opened(play(script)).release()


def test_data_before_the_release_is_answered_is_let_pass(play):
    def script(peer: Script) -> None:
        peer.accept()
        assert peer.pdu()[0] == 5
        peer.say(data_value(1, 3, response()) + RELEASE_RP)
        assert peer.gone() == b""

    opened(play(script)).release()


@pytest.mark.parametrize(
    ("said", "heard", "answer"),
    [
        (ABORT, "aborted the association", b""),
        (RELEASE_RQ, "released the association", RELEASE_RP),
        (b"\x09\0\0\0\0\4" + bytes(4), "unknown type 0x09", b"\7\0\0\0\0\4\0\0\2\1"),
        (b"\2\0\0\0\0\4" + bytes(4), "type 0x02, which has no place here", b"\7\0\0\0\0\4\0\0\2\2"),
        (b"\4\0\xff\xff\xff\xff", "announced a PDU of 4294967295 bytes", b"\7\0\0\0\0\4\0\0\2\6"),
        (b"\4\0\0\0\0\6\0\0\0\xff\1\3", "does not fit its PDU", b"\7\0\0\0\0\4\0\0\2\6"),
        (data_value(1, 2, b"12"), "wrong order", b"\7\0\0\0\0\4\0\0\2\0"),
        (data_value(1, 3, b"\0\0\0"), "cannot be read", b"\7\0\0\0\0\4\0\0\2\0"),
        (data_value(1, 3, commands.encode({})), "without its Command Field", b"\7\0\0\0\0\4\0\0\2\0"),
    ],
)
def test_what_is_no_message_ends_the_association(play, said, heard, answer):
    rest = []

    def script(peer: Script) -> None:
        peer.accept()
        peer.say(said)
        rest.append(peer.gone())

    with pytest.raises(Ended, match=heard):
        opened(play(script)).receive()
    while not rest:
        time.sleep(0.01)
    assert rest == [answer]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"\3\0\0\0\0\4\0\1\1\7", Rejected),
        (ABORT, Ended),
        (RELEASE_RP, Ended),
        (b"\2\0\0\0\0\x50" + bytes(68) + b"\x21\0\xff\xff" + bytes(8), Ended),
        (b"", Ended),
    ],
)
def test_an_association_that_is_not_accepted(play, said, error):
    def script(peer: Script) -> None:
        peer.pdu()
        peer.say(said)

    with pytest.raises(error):
        opened(play(script))


def test_silence_is_given_up_and_the_peer_is_told(play):
    def script(peer: Script) -> None:
        peer.accept()
        assert peer.gone() == ABORT

    started = time.monotonic()
    with pytest.raises(Silent):
        opened(play(script), 0.3).receive()
    assert time.monotonic() - started < PATIENCE_S


def test_a_byte_at_a_time_is_given_up(play):
    """Each byte is a sign of life, and the answer never whole."""
    ended = threading.Event()

    def script(peer: Script) -> None:
        peer.accept()
        for byte in data_value(1, 3, response()):
            if ended.wait(0.1):
                return
            peer.say(bytes([byte]))

    with pytest.raises(Silent):
        opened(play(script), 0.5).receive()
    ended.set()


def test_a_peer_that_takes_nothing_is_given_up(play):
    ended = threading.Event()

    def script(peer: Script) -> None:
        peer.accept()
        ended.wait(PATIENCE_S)

    association = opened(play(script), 0.5)
    command = commands.encode({Element.COMMAND_FIELD: 1, Element.COMMAND_DATA_SET_TYPE: commands.WITH_DATA_SET})
    with pytest.raises(Silent):
        association.send(1, command, DataSet.of(bytes(64 << 20)))
    ended.set()


def test_a_file_that_shrinks_while_it_is_sent_aborts_the_association(play, tmp_path):
    def script(peer: Script) -> None:
        peer.accept()
        assert peer.gone().endswith(ABORT)

    association, file = opened(play(script)), tmp_path / "short"
    file.write_bytes(bytes(1000))
    with file.open("rb", buffering=0) as open_file, pytest.raises(OSError, match="shorter"):
        association.send(1, b"", DataSet(open_file, 2000))
