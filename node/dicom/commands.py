"""Command sets of DIMSE messages, PS3.7 section 6.3.1 and annex E: always Implicit VR Little Endian, whatever was negotiated."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from node.errors import InvalidObject

SUCCESS = 0x0000
NO_DATA_SET = 0x0101
WITH_DATA_SET = 0x0001


class Element(IntEnum):
    """Elements of group 0000, PS3.7 Table E.1-1."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008


class Command(IntEnum):
    """Command Field (0000,0100) of a request, PS3.7 Table E.1-1; its response has `RESPONSE` added."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_ACTION = 0x0130

    def __str__(self) -> str:
        return self.name.replace("_", "-")


RESPONSE = 0x8000

_UIDS = frozenset({0x0002, 0x0003, 0x1000, 0x1001})
_HEAD = struct.Struct("<HHL")
_SHORT = struct.Struct("<HHLH")


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message as it came."""

    context_id: int
    command: Mapping[int, bytes]  # element of group 0000 -> value
    data_set: bytes  # empty where there is none

    def number(self, element: Element) -> int | None:
        """A value of VR US; None where it is missing or no number."""
        value = self.command.get(element, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else None

    def text(self, element: Element) -> str:
        """A value of VR UI or LO without its padding; "" where it is missing."""
        return self.command.get(element, b"").decode("ascii", "replace").strip("\0 ")


def encode(fields: Mapping[int, int | str]) -> bytes:
    """A command set with its group length; numbers are US, texts UI or LO."""
    body = b"".join(_element(element, fields[element]) for element in sorted(fields))
    return _HEAD.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def decode(data: bytes) -> dict[int, bytes]:
    """Element of group 0000 -> its value.

    Raises:
        InvalidObject: it breaks off, or holds another group.
    """
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise InvalidObject("a command set breaks off inside an element")
        group, element, length = _HEAD.unpack_from(data, at)
        at += 8 + length
        if group or at > len(data):
            raise InvalidObject(f"a command set breaks off or goes wrong at ({group:04X},{element:04X})")
        found[element] = data[at - length : at]
    return found


def _element(element: int, value: int | str) -> bytes:
    if isinstance(value, int):
        return _SHORT.pack(0, element, 2, value)
    encoded = value.encode("ascii")
    if len(encoded) % 2:
        encoded += b"\0" if element in _UIDS else b" "
    return _HEAD.pack(0, element, len(encoded)) + encoded
