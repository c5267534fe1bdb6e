"""File Meta Information (PS3.10 section 7.1): what makes a received file say by itself what it is and who brought it.

Its last element is a seal: the SHA-256 of the data set, so that a file that a power cut tore can be told from a whole one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_valid
from node.errors import InvalidObject

_MAGIC = b"\0" * 128 + b"DICM"
SEAL_BYTES = 32
_MAX_META = 1 << 16  # a few hundred bytes are usual
_LONG = {b"OB", b"UR", b"UN", b"UT", b"OW", b"SQ", b"UC"}


@dataclass(frozen=True, slots=True)
class FileMeta:
    """The elements that the node writes; "" where one is absent."""

    sop_class_uid: str  # (0002,0002) Media Storage SOP Class UID
    sop_instance_uid: str  # (0002,0003) Media Storage SOP Instance UID
    transfer_syntax_uid: str  # (0002,0010)
    sending_ae: str = ""  # (0002,0016) Source and (0002,0017) Sending Application Entity Title
    receiving_ae: str = ""  # (0002,0018) Receiving Application Entity Title
    address: str = ""  # (0002,0026) Source Presentation Address: an IP address, or the channel ("stow", "folder")
    sha256: str = field(default="", compare=False)  # (0002,0102) Private Information, ours: of the data set


def encode(meta: FileMeta) -> bytes:
    """Preamble, prefix and group 0002 of a file; the data set follows as it is. Its last `SEAL_BYTES` are the seal."""
    group = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", meta.sop_class_uid.encode()),
            _element(0x0003, b"UI", meta.sop_instance_uid.encode()),
            _element(0x0010, b"UI", meta.transfer_syntax_uid.encode()),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
            _element(0x0016, b"AE", meta.sending_ae.encode()),
            _element(0x0017, b"AE", meta.sending_ae.encode()),
            _element(0x0018, b"AE", meta.receiving_ae.encode()),
            _element(0x0026, b"UR", _uri(meta.address).encode()),
            _element(0x0100, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            _element(0x0102, b"OB", bytes.fromhex(meta.sha256) or bytes(SEAL_BYTES)),
        )
    )
    return _MAGIC + _element(0x0000, b"UL", struct.pack("<L", len(group))) + group


def read(file: BinaryIO) -> FileMeta:
    """Read the File Meta Information; `file` then stands at the first byte of the data set.

    Raises:
        InvalidObject: the file is not DICOM, breaks off, or does not say its transfer syntax.
    """
    if file.read(132)[128:] != b"DICM":
        raise InvalidObject("this is no DICOM file: there is no DICM after 128 bytes")
    values = _group(file)
    meta = FileMeta(
        sop_class_uid=_text(values.get(0x02, b"")),
        sop_instance_uid=_text(values.get(0x03, b"")),
        transfer_syntax_uid=_text(values.get(0x10, b"")),
        sending_ae=_text(values.get(0x17) or values.get(0x16, b"")),
        receiving_ae=_text(values.get(0x18, b"")),
        address=_address(_text(values.get(0x26, b""))),
        sha256=_seal(values),
    )
    if not is_valid(meta.transfer_syntax_uid):
        raise InvalidObject("the file does not say its Transfer Syntax UID (0002,0010)")
    return meta


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    if vr in _LONG:
        return struct.pack("<HH2sHL", 0x0002, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def _group(file: BinaryIO) -> dict[int, bytes]:
    """Values of group 0002 by element, until another group begins: (0002,0000) is wrong in too many files."""
    values: dict[int, bytes] = {}
    read_so_far = 0
    while len(header := file.read(8)) == 8 and header[:2] == b"\x02\0":
        element, vr, length = struct.unpack("<H2sH", header[2:])
        if vr in _LONG:
            length = int.from_bytes(file.read(4), "little")
        read_so_far += length
        if read_so_far > _MAX_META:
            raise InvalidObject(f"the File Meta Information is longer than {_MAX_META} bytes at (0002,{element:04X})")
        values[element] = file.read(length)
        if len(values[element]) < length:
            raise InvalidObject(f"the file breaks off inside (0002,{element:04X})")
    file.seek(-len(header), 1)
    return values


def _seal(values: dict[int, bytes]) -> str:
    """Of a file that we wrote; Private Information of others says nothing to us."""
    sealed = values.get(0x0102, b"")
    ours = _text(values.get(0x0100, b"")) == IMPLEMENTATION_CLASS_UID
    return sealed.hex() if ours and len(sealed) == SEAL_BYTES else ""


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip("\0 ")


def _uri(address: str) -> str:
    if not address:
        return ""
    return f"dicom://[{address}]" if ":" in address else f"dicom://{address}"


def _address(uri: str) -> str:
    return uri.removeprefix("dicom://").removeprefix("[").removesuffix("]")
