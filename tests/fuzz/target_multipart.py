"""The body of a STOW-RS request: parts, or one error that says where it goes wrong."""

from __future__ import annotations

import io

import crafted_pdus as craft

from node.dicom import part10
from node.dicom.elements import identify
from node.dicom.multipart import MultipartError, boundary_of, media_type, parts, written
from node.errors import InvalidObject

_META = part10.FileMeta(craft.CT, "1.2.3", craft.EXPLICIT, "CT1", "HARMONODE", "127.0.0.1")
_INSTANCE = part10.encode(_META) + craft.ct("1.2", 3)
_KIND = b'multipart/related; type="application/dicom"; boundary=frontier\n'

# The first byte says how the body is cut into pieces, the first line is the Content-Type.
SEEDS = [
    b"\1" + _KIND + b"".join(written("frontier", [({"Content-Type": "application/dicom"}, [_INSTANCE])])),
    b"\x07" + _KIND + b"".join(written("frontier", [({"A": "b"}, [b"--front"]), ({}, [b"\r\n--"])])),
    b"\0" + _KIND + b"preamble\r\n--frontier \t\r\n\r\nbody\r\n--frontier--\r\nepilogue",
    b'\3multipart/related; boundary="a b=c"; type=x\n--a b=c\r\n\r\n\r\n--a b=c--',
    b"\3multipart/related; boundary*=utf-8''frontier; x*0=a; x*1=b\n--frontier\r\n\r\n\r\n--frontier--",
    b"\x0bmultipart/related; boundary*=utf-8''frontier; x*0=a; x*",
]


def one(data: bytes) -> None:
    """Nothing but a refusal is raised, and the parts together are no more than the body."""
    size, (head, _, body) = (data[0] if data else 0) + 1, data[1:].partition(b"\n")
    try:
        boundary = boundary_of(media_type(head.decode("latin-1"))[1])
        found = [b"".join(part) for part in parts((body[at : at + size] for at in range(0, len(body), size)), boundary)]
    except MultipartError:
        return
    assert sum(map(len, found)) <= len(body)
    for part in found:
        file = io.BytesIO(part)
        try:
            identify(file, part10.read(file).transfer_syntax_uid)
        except InvalidObject:
            continue
