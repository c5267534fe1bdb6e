"""Walks an encoded data set to its last byte, keeping nothing but its UIDs: is it whole, and what is it?

pydicom takes a data set that breaks off inside an element for a shorter one and warns at most, so a truncated object
must be found here, before the node says that it has it. Memory is bounded whatever the object's size: values are
skipped, not read. Structure: PS3.5 sections 7.1, 7.5 and A.4.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from node.dicom.uids import is_valid
from node.errors import InvalidObject

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_MAX_DEPTH = 32  # no IOD nests sequences a third as deep
_MAX_ELEMENTS = 2_000_000  # some seconds of walking; an enhanced CT of 2000 frames has a tenth
_MAX_INFLATED_BYTES = 2 << 30  # some seconds of inflating; a thousandth of it may come over the wire
_MAX_UID = 65  # 64 characters; one more where a sender pads an even length
_CHUNK = 1 << 16
_WINDOW = 1 << 13  # read at once; between two values that are passed over lies one header

_SHORT, _LONG = (frozenset(vr.encode() for vr in vrs) for vrs in (EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32))
_NOT_PLAIN = frozenset({0x0000, 0x0002, 0xFFFE})  # groups that have no place at the top of a data set
_WITH_ITEMS = {"SQ", "UN", "OB", "OW"}  # what may have an undefined length
_IDENTITY = {
    0x00080016: "SOP Class UID (0008,0016)",
    0x00080018: "SOP Instance UID (0008,0018)",
    0x0020000D: "Study Instance UID (0020,000D)",
    0x0020000E: "Series Instance UID (0020,000E)",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What an object says it is."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


class Seekable(Protocol):
    """What is needed of a file."""

    def tell(self) -> int: ...
    def seek(self, to: int, whence: int = 0, /) -> int: ...
    def read(self, count: int, /) -> bytes: ...


class InvalidDataSet(InvalidObject):
    """A data set that cannot be taken, with the UIDs that were found in it before it went wrong."""

    def __init__(self, reason: str, uids: Mapping[int, str]) -> None:
        found = {tag: uid for tag, uid in uids.items() if is_valid(uid)}
        super().__init__(reason, sop_instance_uid=found.get(0x00080018))
        self.study_instance_uid = found.get(0x0020000D)
        self.series_instance_uid = found.get(0x0020000E)


def identify(file: Seekable, transfer_syntax_uid: str) -> Identity:
    """Walk the data set from where `file` stands to its end.

    Raises:
        InvalidDataSet: it breaks off, cannot be parsed, or lacks a UID; names the element.
    """
    source: _Source = _Inflated(file) if transfer_syntax_uid == DEFLATED else _Plain(file)
    walk = _Walk(source, explicit=transfer_syntax_uid != IMPLICIT_LITTLE, big=transfer_syntax_uid == EXPLICIT_BIG)
    try:
        walk.data_set()
        return walk.identity()
    except InvalidObject as error:
        raise InvalidDataSet(error.reason, walk.uids) from error


class _Source(Protocol):
    at: int  # bytes taken so far

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""
        ...

    def skip(self, count: int) -> bool:
        """Pass `count` bytes over; False where there are fewer."""
        ...

    def held(self) -> tuple[bytes, int]:
        """Bytes that are in memory, and where among them the next one to be taken is."""
        ...


class _Plain:
    def __init__(self, file: Seekable) -> None:
        self._file, self._start = file, file.tell()
        self._size = file.seek(0, 2) - self._start
        self._held, self._held_at = b"", 0  # a piece of the data set, and where it begins
        self.at = 0

    def take(self, count: int) -> bytes:
        start = self.at - self._held_at
        if start + count > len(self._held):
            self._file.seek(self._start + self.at)
            self._held, self._held_at, start = self._file.read(max(count, _WINDOW)), self.at, 0
        data = self._held[start : start + count]
        self.at += len(data)
        return data

    def skip(self, count: int) -> bool:
        if self.at + count > self._size:
            return False
        self.at += count
        return True

    def held(self) -> tuple[bytes, int]:
        return self._held, self.at - self._held_at


class _Inflated:
    """The data set behind Deflated Explicit VR Little Endian (PS3.5 section A.5), a chunk at a time."""

    def __init__(self, file: Seekable) -> None:
        self._file, self._inflate = file, zlib.decompressobj(-zlib.MAX_WBITS)
        self._held, self._used = b"", 0  # inflated, and how much of it was taken
        self.at = 0

    def take(self, count: int) -> bytes:
        while len(self._held) - self._used < count and self._more():
            pass
        data = self._held[self._used : self._used + count]
        self._used += len(data)
        self.at += len(data)
        return data

    def skip(self, count: int) -> bool:
        while count:
            passed = len(self.take(min(count, _CHUNK)))
            if not passed:
                return False
            count -= passed
        return True

    def held(self) -> tuple[bytes, int]:
        return self._held, self._used

    def _more(self) -> bool:
        if self._inflate.eof:
            return False
        if self.at > _MAX_INFLATED_BYTES:
            raise InvalidObject(f"the deflated data set inflates to more than {_MAX_INFLATED_BYTES >> 20} MiB")
        chunk = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
        try:
            inflated = self._inflate.decompress(chunk, _CHUNK)
        except zlib.error as error:
            raise InvalidObject(f"the deflated data set cannot be inflated after byte {self.at}: {error}") from error
        self._held, self._used = self._held[self._used :] + inflated, 0
        if not chunk and not self._inflate.eof:
            raise InvalidObject(f"the deflated data set breaks off after {self.at} inflated bytes")
        return True


class _Walk:
    def __init__(self, source: _Source, *, explicit: bool, big: bool) -> None:
        self._source, self._explicit = source, explicit
        order = ">" if big else "<"
        self._short_header, self._long_header = struct.Struct(order + "HH2sH"), struct.Struct(order + "HHL")
        self._long = struct.Struct(order + "L")
        self.uids: dict[int, str] = {}
        self._elements = 0

    def data_set(self) -> None:
        self._pass_over()
        while (header := self._header(self._explicit, top=True)) is not None:
            tag, vr, length = header
            if tag >> 16 in _NOT_PLAIN:
                raise InvalidObject(f"{_name(tag)} before byte {self._source.at} has no place in a data set")
            if tag in _IDENTITY:
                self._identity(tag, length)
            else:
                self._value(tag, vr, length, depth=0)
            self._pass_over()

    def _pass_over(self) -> None:
        """Skip what lies whole in memory and needs no look, most of a header, without a call for each element.

        Whatever is not plain is left to `_header`, which says what is wrong with it.
        """
        if not self._explicit:
            return
        held, start = self._source.held()
        at, unpack, elements = start, self._short_header.unpack_from, 0
        while at + 8 <= len(held):
            group, element, code, length = unpack(held, at)
            end = at + 8 + length
            if code not in _SHORT or group in _NOT_PLAIN or end > len(held) or group << 16 | element in _IDENTITY:
                break
            at = end
            elements += 1
        self._elements += elements
        self._source.skip(at - start)

    def identity(self) -> Identity:
        for tag, name in _IDENTITY.items():
            if not self.uids.get(tag):
                raise InvalidObject(f"{name} is missing or empty")
            if not is_valid(self.uids[tag]):
                raise InvalidObject(f"{name} is not a UID: {self.uids[tag]!r}")
        return Identity(*(self.uids[tag] for tag in _IDENTITY))

    def _identity(self, tag: int, length: int) -> None:
        if tag in self.uids:
            raise InvalidObject(f"{_IDENTITY[tag]} occurs twice")
        if length > _MAX_UID:
            raise InvalidObject(f"{_IDENTITY[tag]} is {length} bytes long, more than a UID has")
        self.uids[tag] = self._take(length, tag).decode("ascii", "backslashreplace").strip("\0 ")

    def _header(self, explicit: bool, *, top: bool = False) -> tuple[int, str, int] | None:
        """Tag, VR and length of the next element; None at the end of the data set."""
        data = self._source.take(8)
        if len(data) < 8:
            if top and len(data) % 2 == 0 and not any(data):
                return None  # some senders pad the end with a few zeros
            raise InvalidObject(f"the data set breaks off inside an element header at byte {self._source.at}")
        self._count()
        group, element, code, length = self._short_header.unpack(data)
        tag = group << 16 | element
        if not explicit or group == 0xFFFE:  # items have no VR
            return tag, "", self._long_header.unpack(data)[2]
        vr = code.decode("ascii", "backslashreplace")
        if code in _SHORT:
            return tag, vr, length
        if code in _LONG:
            return tag, vr, self._long.unpack(self._take(4, tag))[0]
        raise InvalidObject(f"{_name(tag)} before byte {self._source.at} has {vr!r} where its VR should stand")

    def _value(self, tag: int, vr: str, length: int, depth: int) -> None:
        if length != _UNDEFINED:
            before = self._source.at
            if not self._source.skip(length):
                raise InvalidObject(
                    f"the data set breaks off inside {_name(tag)}: {length} bytes from byte {before} on"
                )
        elif vr and vr not in _WITH_ITEMS:
            raise InvalidObject(f"{_name(tag)} of VR {vr} has an undefined length")
        else:
            self._items(tag, vr, depth + 1)

    def _items(self, tag: int, vr: str, depth: int) -> None:
        """The items or fragments of a value of undefined length, up to their end."""
        if depth > _MAX_DEPTH:
            raise InvalidObject(f"sequences are nested more than {_MAX_DEPTH} deep at {_name(tag)}")
        while True:
            data = self._take(8, tag)
            self._count()
            group, element, length = self._long_header.unpack(data)
            item = group << 16 | element
            if item == _SEQUENCE_END:
                return
            if item != _ITEM or (length == _UNDEFINED and vr in ("OB", "OW")):
                raise InvalidObject(
                    f"{_name(tag)} has {_name(item)} where an item should stand, byte {self._source.at}"
                )
            if length == _UNDEFINED:
                # Inside UN of undefined length all is Implicit VR (PS3.5 section 6.2.2, note).
                self._item(explicit=self._explicit and vr != "UN", depth=depth)
            else:
                self._value(tag, vr, length, depth)

    def _item(self, *, explicit: bool, depth: int) -> None:
        while (header := self._header(explicit)) is not None and header[0] != _ITEM_END:
            self._value(*header, depth=depth)

    def _count(self) -> None:
        """Elements and items; a data set of nothing but headers would take minutes."""
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise InvalidObject(f"the data set has more than {_MAX_ELEMENTS} elements, at byte {self._source.at}")

    def _take(self, count: int, tag: int) -> bytes:
        data = self._source.take(count)
        if len(data) < count:
            raise InvalidObject(f"the data set breaks off inside {_name(tag)} at byte {self._source.at}")
        return data


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
