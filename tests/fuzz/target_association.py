"""A whole association: whatever a peer says, it ends, and what the node says to it is PDUs."""

from __future__ import annotations

import io
import socket
import struct

import crafted_pdus as craft

from node.dicom import pdu
from node.dicom.command import Field
from node.dicom.elements import identify
from node.dicom.pdu import PDUType, Wire
from node.errors import InvalidObject
from node.receive.association import Association, Terms
from node.receive.machine import State
from node.receive.services import VERIFICATION_SERVICE, Answer, Request, Service, collected

_MAX_PDU = 1 << 16
_RELEASE = pdu.RELEASE_RQ
_RECEIVED = craft.store_request("1.2.3", craft.ct("1.2", 3))

# An even first byte: an association stands already, and the others come after its request.
SEEDS = [
    b"\1" + craft.associate_request() + craft.echo_request() + _RELEASE,
    b"\1" + craft.associate_request(),
    b"\1" + craft.associate_request().replace(b"1.2.840.10008.1.2.1", b"1.2.84 .10008.1.2.1"),
    b"\1"
    + craft.associate_request().replace(
        b"\x30\0\0\x11" + craft.VERIFICATION.encode(), b"\x10\0\0\x11" + craft.VERIFICATION.encode()
    ),
    b"\0" + craft.echo_request() + _RELEASE,
    b"\0" + _RECEIVED + craft.echo_request(7),
    b"\0" + craft.store_request("1.2.3", craft.ct("1.2", 3), 64) + _RELEASE,
    b"\0" + pdu.abort(0, 0),
    b"\0" + _RELEASE + _RELEASE,
]


def _store(_request: Request, data_set: bytes) -> Answer:
    try:
        identify(io.BytesIO(data_set), craft.EXPLICIT)
    except InvalidObject:
        return Answer(0xC000)
    return Answer(0x0000)


_TERMS = Terms(
    services=[Service(craft.CT, {Field.C_STORE: collected(_store)}), VERIFICATION_SERVICE],
    max_pdu_bytes=16384,
    idle_s=20,
    artim_s=20,
    admit=lambda _caller: None,
    agreed=lambda _caller, _agreed: None,
    ended=lambda _caller, _ending: None,
)


def one(data: bytes) -> None:
    """The peer says it all at once, and closes its side."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        begun = craft.associate_request() if data and not data[0] & 1 else b""
        theirs.sendall((begun + data[1:])[:_MAX_PDU])
        theirs.shutdown(socket.SHUT_WR)
        association = Association(Wire(ours, _MAX_PDU), _TERMS, "127.0.0.1")
        association.run()
        assert association.state is State.IDLE
        _are_pdus(theirs)


def _are_pdus(theirs: socket.socket) -> None:
    theirs.settimeout(5)
    said = b""
    try:
        while piece := theirs.recv(1 << 16):
            said += piece
    except ConnectionResetError:
        pass  # it closed before all was read, as it may where it aborts
    while said:
        kind, length = struct.unpack(">BxL", said[:6])
        assert PDUType(kind) in {
            PDUType.ASSOCIATE_AC, PDUType.ASSOCIATE_RJ, PDUType.DATA, PDUType.RELEASE_RP, PDUType.ABORT,
        }  # fmt: skip
        assert len(said) >= 6 + length
        said = said[6 + length :]
