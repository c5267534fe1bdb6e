"""A peer that does what a script says, byte by byte."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import MaximumLengthNotification
from pynetdicom.presentation import build_context

from node.dicom import command as commands

PATIENCE_S = 5.0


class Script:
    """The peer's end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        self.connection = connection

    def pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxL", self._read(6))
        return kind, self._read(length)

    def accept(self, max_pdu: int = 16384) -> None:
        kind, body = self.pdu()
        request = A_ASSOCIATE_RQ()
        request.decode(struct.pack(">BxL", kind, len(body)) + body)
        primitive = request.to_primitive()
        results = []
        for context in primitive.presentation_context_definition_list:
            result = build_context(context.abstract_syntax, context.transfer_syntax[0])
            result.context_id, result.result = context.context_id, 0
            results.append(result)
        primitive.presentation_context_definition_list = []
        primitive.presentation_context_definition_results_list = results
        primitive.result = 0
        for item in primitive.user_information:
            if isinstance(item, MaximumLengthNotification):
                item.maximum_length_received = max_pdu
        self.say(A_ASSOCIATE_AC(primitive).encode())

    def message(self) -> tuple[bytes, bytes, list[int]]:
        """Command and data set of the next message, and the lengths of its PDUs."""
        command, data, lengths, wants_data = b"", b"", [], None
        while True:
            kind, body = self.pdu()
            assert kind == 4
            lengths.append(len(body))
            while body:
                length, _, control = struct.unpack(">LBB", body[:6])
                value, body = body[6 : 4 + length], body[4 + length :]
                if control & 1:
                    command += value
                else:
                    data += value
                if control == 3:
                    wants_data = commands.decode(command).has_data_set
                if control & 2 and (control == 2 or not wants_data):
                    return command, data, lengths

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)

    def gone(self) -> bytes:
        """What still comes until the other end closes."""
        rest = b""
        try:
            while got := self.connection.recv(65536):
                rest += got
        except ConnectionResetError:
            pass
        return rest

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = self.connection.recv(count - len(data))
            assert got, "the node closed the connection"
            data += got
        return data


@pytest.fixture
def play() -> Iterator[Callable[..., int]]:
    """Runs scripts, one a connection; returns the port. What goes wrong in a script fails the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads, errors = [], []

    def start(script: Callable[[Script], object]) -> int:
        def run() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    script(Script(connection))
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(PATIENCE_S)
    listener.close()
    assert errors == []
