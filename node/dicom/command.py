"""DIMSE command sets (PS3.7 section 6.3): group 0000, always in Implicit VR Little Endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from node.errors import InvalidObject

_ELEMENT = struct.Struct("<HHL")
_NUMBER = struct.Struct("<H")
MAX_BYTES = 1 << 16  # a few hundred are usual

SUCCESS = 0x0000  # Status (0000,0900)
NO_DATA_SET = 0x0101  # Command Data Set Type (0000,0800)
WITH_DATA_SET = 0x0001
RESPONSE = 0x8000


class Element(IntEnum):
    """Elements of group 0000, PS3.7 section E.1."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008


class Field(IntEnum):
    """Command Field (0000,0100) of a request; a response has `RESPONSE` in it."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_ACTION = 0x0130
    C_CANCEL = 0x0FFF

    def __str__(self) -> str:
        return self.name.replace("_", "-")


_UIDS = frozenset(
    {
        Element.AFFECTED_SOP_CLASS_UID,
        Element.REQUESTED_SOP_CLASS_UID,
        Element.AFFECTED_SOP_INSTANCE_UID,
        Element.REQUESTED_SOP_INSTANCE_UID,
    }
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command set that came; a text or number that is absent or malformed is "" or None."""

    values: Mapping[int, bytes]

    @property
    def field(self) -> int | None:
        return self.number(Element.COMMAND_FIELD)

    @property
    def message_id(self) -> int | None:
        return self.number(Element.MESSAGE_ID)

    @property
    def has_data_set(self) -> bool:
        return self.number(Element.COMMAND_DATA_SET_TYPE) != NO_DATA_SET

    @property
    def sop_class_uid(self) -> str:
        """Affected or Requested SOP Class UID."""
        return self.text(Element.AFFECTED_SOP_CLASS_UID) or self.text(Element.REQUESTED_SOP_CLASS_UID)

    @property
    def sop_instance_uid(self) -> str:
        """Affected or Requested SOP Instance UID."""
        return self.text(Element.AFFECTED_SOP_INSTANCE_UID) or self.text(Element.REQUESTED_SOP_INSTANCE_UID)

    def number(self, element: int) -> int | None:
        value = self.values.get(element, b"")
        return _NUMBER.unpack(value)[0] if len(value) == _NUMBER.size else None

    def text(self, element: int) -> str:
        return self.values.get(element, b"").decode("ascii", "backslashreplace").strip("\0 ")


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message as it came."""

    context_id: int
    command: Command
    data_set: bytes  # empty where there is none, or where it went elsewhere

    def number(self, element: Element) -> int | None:
        return self.command.number(element)

    def text(self, element: Element) -> str:
        return self.command.text(element)


def decode(data: bytes | bytearray | memoryview) -> Command:
    """Raises InvalidObject where it breaks off or holds another group."""
    values: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < _ELEMENT.size:
            raise InvalidObject(f"the command set breaks off at byte {at}")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group:
            raise InvalidObject(f"the command set holds ({group:04X},{element:04X})")
        if length > len(data) - at:
            raise InvalidObject(f"the command set breaks off inside (0000,{element:04X})")
        values[element] = bytes(data[at : at + length])
        at += length
    return Command(values)


def encode(values: Mapping[int, str | int]) -> bytes:
    """A command set with its group length; a number is US, a text a UID or LO."""
    made = bytearray()
    for element in sorted(values):
        value = values[element]
        if isinstance(value, int):
            raw = _NUMBER.pack(value)
        else:
            raw = value.encode("ascii", "replace")
            if len(raw) % 2:
                raw += b"\0" if element in _UIDS else b" "
        made += _ELEMENT.pack(0, element, len(raw)) + raw
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(made)) + bytes(made)


def response(request: Command, status: int, more: Mapping[int, str | int], *, data_set: bool) -> bytes:
    """The command set of the response to a request."""
    made: dict[int, str | int] = {
        Element.COMMAND_FIELD: (request.field or 0) | RESPONSE,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: request.message_id or 0,
        Element.COMMAND_DATA_SET_TYPE: 0x0001 if data_set else NO_DATA_SET,
        Element.STATUS: status,
    }
    if request.sop_class_uid:
        made[Element.AFFECTED_SOP_CLASS_UID] = request.sop_class_uid
    if request.sop_instance_uid:
        made[Element.AFFECTED_SOP_INSTANCE_UID] = request.sop_instance_uid
    for echoed in (Element.EVENT_TYPE_ID, Element.ACTION_TYPE_ID):
        if (number := request.number(echoed)) is not None:
            made[echoed] = number
    return encode({**made, **more})
