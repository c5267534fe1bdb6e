"""Data sets and files: identified or refused with a reason, in every encoding."""

from __future__ import annotations

import io
import zlib

import crafted_pdus as craft

from node.dicom import part10
from node.dicom.elements import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, identify
from node.errors import InvalidObject

_SYNTAXES = (craft.EXPLICIT, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
_NESTED = (
    b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5
    + b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00" * 5
)
_META = part10.FileMeta(craft.CT, "1.2.3", craft.EXPLICIT, "CT1", "HARMONODE", "127.0.0.1")


def _deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


# The first byte chooses the transfer syntax, or a whole file.
SEEDS = [
    b"\0" + craft.ct("1.2", 3),
    b"\0" + _NESTED + craft.ct("1.2", 3),
    b"\1" + craft.ct("1.2", 3),
    b"\3" + _deflate(_NESTED + craft.ct("1.2", 3)),
    b"\4" + part10.encode(_META) + craft.ct("1.2", 3),
]


def one(data: bytes) -> None:
    """Nothing but a refusal is raised, and an identity is whole."""
    choice, body = (data[0] if data else 0) % 5, io.BytesIO(data[1:])
    try:
        syntax = part10.read(body).transfer_syntax_uid if choice == 4 else _SYNTAXES[choice]
        found = identify(body, syntax)
    except InvalidObject:
        return
    assert found.sop_class_uid
    assert found.sop_instance_uid
    assert found.study_instance_uid
    assert found.series_instance_uid
