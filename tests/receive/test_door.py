"""Peers that fail, lie, stall or flood: nothing hangs, nothing is lost, and the trail says what it was."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator

import crafted_pdus as craft
import pytest
import sqlalchemy as sa

from node.dicom import command, pdu
from node.dicom.command import Element, Field
from node.dicom.pdu import PDUType
from node.receive import door as door_module
from node.store.tables import AuditRecord, Instance, Series

RELEASE_RQ, RELEASE_RP, ABORT = PDUType.RELEASE_RQ, PDUType.RELEASE_RP, PDUType.ABORT


class Caller:
    """A peer that speaks bytes."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self) -> tuple[int, bytes] | None:
        """The next PDU; None where the node has closed."""
        with contextlib.suppress(ConnectionResetError):
            header = self._take(6)
            if len(header) == 6:
                kind, length = struct.unpack(">BxL", header)
                return kind, self._take(length)
        return None

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (more := self.socket.recv(count - len(data))):
            data += more
        return data

    def associate(self, calling: str = "TESTER") -> Caller:
        self.say(craft.associate_request(calling))
        heard = self.hear()
        assert heard
        assert heard[0] == PDUType.ASSOCIATE_AC, heard
        return self

    def status(self) -> int:
        """Of the next response."""
        heard = self.hear()
        assert heard
        ((_, _, fragment),) = pdu.values(memoryview(heard[1]))
        return command.decode(fragment).number(Element.STATUS) or 0

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def call() -> Iterator:
    opened: list[Caller] = []

    def make(receiver, source: str = "127.0.0.1") -> Caller:
        opened.append(Caller(receiver.port, source))
        return opened[-1]

    yield make
    for caller in opened:
        caller.close()


def refusals(database) -> list[str]:
    with database.read() as session:
        query = sa.select(AuditRecord).where(AuditRecord.event == "refusal").order_by(AuditRecord.seq)
        return [row.message for row in session.scalars(query)]


def test_an_association_that_goes_silent_is_ended_and_told_of(start_receiver, call, database, wait):
    receiver = start_receiver(idle_timeout_s=0.5)
    caller = call(receiver).associate("CT1")
    assert caller.hear() == (ABORT, bytes(4))
    caller.close()
    wait(lambda: refusals(database), "recorded")
    (told,) = refusals(database)
    assert told == "the association of 'CT1' at 127.0.0.1 ended after 0 answers: nothing came in time (0.5 s)"


def test_two_hundred_associations_at_once(start_receiver, call, database, wait):
    receiver = start_receiver(max_associations=20)
    callers = [call(receiver) for _ in range(200)]
    for caller in callers:
        caller.say(craft.associate_request())
    heard = [caller.hear() for caller in callers]
    kinds = [answer[0] for answer in heard if answer]
    assert (kinds.count(PDUType.ASSOCIATE_AC), kinds.count(PDUType.ASSOCIATE_RJ)) == (20, 180)
    assert {answer[1] for answer in heard if answer and answer[0] == PDUType.ASSOCIATE_RJ} == {bytes((0, 2, 3, 2))}
    for caller in callers:
        caller.close()
    wait(lambda: serves_now(receiver, call), "places are free again")
    receiver.stop()
    first, rest = refusals(database)
    assert "20 associations are open (receive.max_associations)" in first
    assert rest.endswith("(and 178 more such since the last record)")


def serves_now(receiver, call) -> bool:
    caller = call(receiver)
    caller.say(craft.associate_request())
    heard = caller.hear()
    return heard is not None and heard[0] == PDUType.ASSOCIATE_AC


ENDLESS_COMMAND = pdu.encode(PDUType.DATA, struct.pack(">LBB", 8002, craft.CT_CONTEXT, 1) + bytes(8000)) * 9
LYING_VALUE = pdu.encode(PDUType.DATA, struct.pack(">LBB", 5000, craft.CT_CONTEXT, 3) + b"short")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (pdu.encode(PDUType.DATA, b""), "without a presentation data value"),
        (b"\x04\x00\xff\xff\xff\xff", "a PDU of 4294967295 bytes is announced"),
        (LYING_VALUE, "says it is 5000 bytes long, in 7"),
        (pdu.encode(PDUType.DATA, b"\0\0\0\1\1\3"), "says it is 1 bytes long"),
        (pdu.encode(PDUType.DATA, b"\0\0\0"), "breaks off 3 bytes into"),
        (b"\x08\x00\x00\x00\x00\x04abcd", "of type 0x08"),
        (pdu.message(9, command.encode({Element.COMMAND_FIELD: 1, Element.MESSAGE_ID: 1})), "which was not accepted"),
        (pdu.message(1, b"\x08\x00\x05\x00\x04\x00\x00\x00abcd"), "the command set holds (0008,0005)"),
        (pdu.message(1, b"\0\0\0\1\xff\xff\xff\xff"), "breaks off inside (0000,0100)"),
        (pdu.message(1, b"", b"data"), "a data set came without a command"),
        (pdu.message(1, command.encode({Element.MESSAGE_ID: 1})), "a command came that is no request"),
        (pdu.message(3, command.encode({Element.COMMAND_FIELD: 0x30, 0x0800: 0x0101})), "without a Message ID"),
        (ENDLESS_COMMAND, "a command set of more"),
        (craft.associate_request(), "ASSOCIATE_RQ came unexpectedly"),
        (pdu.RELEASE_RP, "RELEASE_RP came unexpectedly"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_pdu_or_no_message_is_aborted_with_its_reason(start_receiver, call, database, wait, sent, reason):
    receiver = start_receiver()
    caller = call(receiver).associate()
    caller.say(sent)
    heard = caller.hear()
    assert heard
    assert (heard[0], heard[1][2]) == (ABORT, 2)  # from the service provider
    caller.say(craft.echo_request())  # is not heard any more
    caller.close()
    wait(lambda: refusals(database), "recorded")
    assert reason in refusals(database)[0]
    assert serves_now(receiver, call)


def test_after_what_is_no_pdu_nothing_is_said_twice(start_receiver, call):
    """Where the next PDU begins nobody knows: what follows is not taken for one."""
    caller = call(start_receiver()).associate()
    caller.say(b"GET / HTTP/1.1\r\n\r\n" * 1000)
    assert caller.hear() == (ABORT, bytes((0, 0, 2, 1)))
    caller.say(craft.echo_request())
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.hear() is None


def test_a_request_in_fragments_of_every_size_is_one_request(start_receiver, call):
    receiver = start_receiver()
    caller = call(receiver).associate()
    for number, length in enumerate((7, 8, 20, 100, 1000)):
        caller.say(craft.store_request(f"1.2.826.0.1.1.{number}", craft.ct("1.2.826.0.1.1", number), length))
        assert caller.status() == 0
    assert len(list(receiver.spool.walk())) == 5


def test_a_network_that_is_cut_within_a_pdu_leaves_nothing_and_names_the_instance(start_receiver, call, database, wait):
    receiver = start_receiver()
    whole = craft.store_request("1.2.826.0.1.1.1", craft.ct("1.2.826.0.1.1", 1, bytes(100_000)))
    caller = call(receiver).associate("CT1")
    caller.say(whole[:50_000])
    wait(lambda: list((receiver.spool.root / "incoming").iterdir()), "it has begun to arrive")
    caller.close()
    wait(lambda: refusals(database), "recorded")
    (told,) = refusals(database)
    assert "the connection was closed within a PDU" in told
    assert told.endswith("instance 1.2.826.0.1.1.1 was not whole and is not kept: it must be sent again")
    assert list((receiver.spool.root / "incoming").iterdir()) == list(receiver.spool.walk()) == []
    again = call(receiver).associate("CT1")
    again.say(whole)
    assert again.status() == 0


def test_a_sender_of_a_byte_now_and_then_is_let_go(start_receiver, call, database, wait):
    receiver = start_receiver(idle_timeout_s=1)
    caller = call(receiver).associate()
    ended = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            for byte in craft.store_request("1.2.3", craft.ct("1.2", 3)):
                if ended.is_set():
                    return
                caller.say(bytes([byte]))
                time.sleep(0.05)

    thread = threading.Thread(target=trickle)
    thread.start()
    assert caller.hear() == (ABORT, bytes(4))
    ended.set()
    thread.join()
    caller.close()
    wait(lambda: refusals(database), "recorded")
    assert re.search("a PDU had begun, and .* in time", refusals(database)[0])


def test_a_request_for_an_association_that_trickles_is_let_go(start_receiver, call):
    receiver = start_receiver(idle_timeout_s=0.5)
    caller = call(receiver)
    start = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in craft.associate_request():
            caller.say(bytes([byte]))
            time.sleep(0.02)
            if time.monotonic() - start > 20:
                pytest.fail("it was not let go")
    assert caller.hear() in (None, (ABORT, bytes(4)))


def test_bare_connections_keep_no_peer_of_another_address_out(start_receiver, call, monkeypatch, database):
    monkeypatch.setattr(door_module, "_WAITING_AT_AN_ADDRESS", 5)
    receiver = start_receiver()
    bare = [call(receiver) for _ in range(20)]
    closed = 0
    for caller in bare:
        caller.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            closed += caller.hear() is None
    assert closed == 15
    other = call(receiver, source="127.0.0.2").associate()
    other.say(craft.echo_request())
    assert other.status() == 0
    receiver.stop()
    told = refusals(database)
    assert len(told) == 2
    assert "a connection from 127.0.0.1 was closed: 5 of its connections" in told[0]
    assert "13 more" in told[1]


def test_a_flood_of_rejections_is_two_records(start_receiver, call, database):
    receiver = start_receiver(peers=[{"ae_title": "SCANNER", "addresses": ["127.0.0.0/8"]}])
    for number in range(30):
        caller = call(receiver)
        caller.say(craft.associate_request(f"STRANGER{number}"))
        assert caller.hear() == (PDUType.ASSOCIATE_RJ, bytes((0, 1, 1, 3)))
        caller.close()
    receiver.stop()
    first, rest = refusals(database)
    assert "'STRANGER0' at 127.0.0.1 rejected" in first
    assert rest.endswith("(and 28 more such since the last record)")


def test_a_peer_that_does_not_read_is_let_go(start_receiver, call, database, wait):
    receiver = start_receiver(idle_timeout_s=1)
    caller = call(receiver).associate()
    caller.socket.settimeout(0.5)
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    requests = craft.echo_request() * 1000
    with contextlib.suppress(OSError):
        for _ in range(2000):
            caller.say(requests)
    wait(lambda: refusals(database), "let go and recorded", 30)
    assert "in time" in refusals(database)[0]


def test_cancel_requests_and_responses_that_nobody_asked_for_are_passed_over(start_receiver, call):
    caller = call(start_receiver()).associate()
    cancel = {Element.COMMAND_FIELD: Field.C_CANCEL, Element.MESSAGE_ID_BEING_RESPONDED_TO: 7, 0x0800: 0x0101}
    response = {Element.COMMAND_FIELD: 0x8100, Element.MESSAGE_ID_BEING_RESPONDED_TO: 7, 0x0800: 0x0101, 0x0900: 0}
    for passed_over in (cancel, response):
        caller.say(pdu.message(craft.CT_CONTEXT, command.encode(passed_over)))
    caller.say(craft.echo_request())
    assert caller.status() == 0


def test_the_same_series_from_two_ae_titles_is_one_series(start_receiver, call, database):
    receiver = start_receiver()
    callers = [call(receiver).associate(title) for title in ("CT1", "ARCHIVE")]
    for number in range(6):  # three of them from both
        for sender in callers if number < 3 else callers[number % 2 :][:1]:
            sender.say(craft.store_request(f"1.2.826.0.1.1.{number}", craft.ct("1.2.826.0.1.1", number)))
            assert sender.status() == 0
    receiver.stop()
    with database.read() as session:
        (series,) = session.scalars(sa.select(Series))
        titles = [row.calling_ae_title for row in session.scalars(sa.select(Instance).order_by(Instance.id))]
    assert series.instance_count == len(titles) == 6
    assert set(titles) == {"CT1", "ARCHIVE"}


def test_a_release_is_answered_and_the_connection_closed_after_the_peer(start_receiver, call):
    caller = call(start_receiver()).associate()
    caller.say(pdu.RELEASE_RQ)
    assert caller.hear() == (RELEASE_RP, bytes(4))
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.hear() is None


def test_a_node_that_stops_releases_and_a_collision_of_releases_is_resolved(start_receiver, call):
    receiver = start_receiver()
    quiet, colliding = call(receiver).associate(), call(receiver).associate()
    stopping = threading.Thread(target=receiver.stop)
    stopping.start()
    assert quiet.hear() == (RELEASE_RQ, bytes(4))
    quiet.say(pdu.RELEASE_RP)
    assert quiet.hear() is None
    assert colliding.hear() == (RELEASE_RQ, bytes(4))
    colliding.say(pdu.RELEASE_RQ)  # as if they had crossed: PS3.8 section 9.2.2
    colliding.say(pdu.RELEASE_RP)
    assert colliding.hear() == (RELEASE_RP, bytes(4))
    colliding.close()
    stopping.join(20)
    assert not stopping.is_alive()


def test_a_node_that_stops_takes_the_object_that_arrives(start_receiver, call, wait):
    receiver = start_receiver()
    caller = call(receiver).associate()
    whole = craft.store_request("1.2.826.0.1.1.1", craft.ct("1.2.826.0.1.1", 1, bytes(100_000)))
    caller.say(whole[:50_000])
    wait(lambda: list((receiver.spool.root / "incoming").iterdir()), "it has begun to arrive")
    stopping = threading.Thread(target=receiver.stop)
    stopping.start()
    time.sleep(0.2)
    caller.say(whole[50_000:])
    assert caller.status() == 0
    assert caller.hear() == (RELEASE_RQ, bytes(4))
    caller.say(pdu.RELEASE_RP)
    stopping.join(20)
    assert len(list(receiver.spool.walk())) == 1


@pytest.mark.parametrize(
    ("at", "value", "numbers"),
    [(6, b"\0\2", (1, 2, 2)), (78, b"9.9.9.9.9.9.9.9.9.9.9", (1, 1, 2))],
    ids=["protocol version", "application context"],
)
def test_what_the_protocol_itself_refuses(start_receiver, call, at, value, numbers):
    caller = call(start_receiver())
    asked = bytearray(craft.associate_request())
    asked[at : at + len(value)] = value
    caller.say(bytes(asked))
    assert caller.hear() == (PDUType.ASSOCIATE_RJ, bytes((0, *numbers)))


@pytest.mark.parametrize(
    ("said", "instead", "result"),
    [
        (b"1.2.840.10008.1.2.1", b"1.2.84 .10008.1.2.1", 4),
        (b"\x30\0\0\x19" + craft.CT.encode(), b"\x10\0\0\x19" + craft.CT.encode(), 3),
    ],
    ids=["no transfer syntax that is a UID", "no abstract syntax"],
)
def test_a_context_that_is_not_whole_is_refused_and_the_others_serve(start_receiver, call, said, instead, result):
    caller = call(start_receiver())
    assert said in craft.associate_request()
    caller.say(craft.associate_request().replace(said, instead))
    kind, answer = caller.hear()
    assert kind == PDUType.ASSOCIATE_AC
    results = {item[4]: item[6] for item in items(answer[68:]) if item[0] == 0x21}  # PS3.8 Table 9-18
    assert results == {craft.CT_CONTEXT: result, craft.ECHO_CONTEXT: 0}
    caller.say(craft.echo_request())
    assert caller.hear()[0] == PDUType.DATA


def items(variable: bytes) -> list[bytes]:
    """The variable items of an A-ASSOCIATE PDU, header and all."""
    found = []
    while variable:
        end = 4 + int.from_bytes(variable[2:4])
        found.append(variable[:end])
        variable = variable[end:]
    return found
