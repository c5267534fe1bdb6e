"""What the node offers as an SCP."""

from __future__ import annotations

import socket

import pydicom
import pytest
from pynetdicom import AE, evt

from node.dicom.associations import CT_STORAGE, TRANSFER_SYNTAXES, send_at_once, storage_contexts


def test_every_context_is_known_to_the_standard():
    contexts = storage_contexts()
    assert [context.abstract_syntax.name for context in contexts] == [
        "CT Image Storage",
        "Enhanced CT Image Storage",
        "Legacy Converted Enhanced CT Image Storage",
        "Verification SOP Class",
    ]
    assert all(syntax.is_transfer_syntax and not syntax.name.startswith("1.") for syntax in TRANSFER_SYNTAXES)
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)
    assert all(set(context.transfer_syntax) == set(TRANSFER_SYNTAXES) for context in contexts[: len(CT_STORAGE)])


def test_the_syntaxes_of_the_real_files_are_offered(data):
    for path in (data / "syntaxes").glob("*/*"):
        if path.name != "LICENSE.txt":
            assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID in TRANSFER_SYNTAXES


def test_moving_pictures_and_pixels_elsewhere_are_not_offered():
    assert not [syntax for syntax in TRANSFER_SYNTAXES if "MPEG" in syntax.name or "JPIP" in syntax.name]


@pytest.mark.parametrize("side", ["requestor", "acceptor"])
def test_sockets_send_at_once(side):
    seen = []

    def look(event: evt.Event) -> None:
        send_at_once(event)
        seen.append(event.assoc.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    handlers = [(evt.EVT_CONN_OPEN, look)]
    ae = AE()
    ae.supported_contexts = ae.requested_contexts = storage_contexts()[-1:]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers if side == "acceptor" else [])
    association = ae.associate(*server.server_address, evt_handlers=handlers if side == "requestor" else [])
    assert association.is_established
    association.release()
    server.shutdown()
    assert seen
    assert all(seen)
