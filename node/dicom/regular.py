"""Headers of regular files, read in one pass over their first bytes: pydicom takes five times as long.

Regular is a little-endian file whose elements have known lengths and VRs, up to Pixel Data or the end. Whatever is not
is left to pydicom, which knows what else there is in the world, and to `headers`, which tells what is wrong with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, cast

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    PrivateTransferSyntaxes,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

_CHUNKS = (1 << 16, 1 << 22)  # most headers lie within the first; what is longer than the second is not regular
_PREAMBLE_BYTES = 132
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_META = 0x0002
_TRANSFER_SYNTAX, _CHARACTER_SET = 0x00020010, 0x00080005
_NOT_OF_A_DATA_SET = frozenset({0x0000, 0x0002, 0xFFFE})
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_OTHERWISE_ENCODED = frozenset({DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, *PrivateTransferSyntaxes})

_EXPLICIT, _IMPLICIT, _LONG = struct.Struct("<HH2sH"), struct.Struct("<HHL"), struct.Struct("<L")
# VR -> its name, whether its length takes four bytes, and how pydicom keeps an empty value of it
_VRS = {
    vr.encode(): (str(vr), vr in EXPLICIT_VR_LENGTH_32, cast("bytes | None", empty_value_for_VR(vr, raw=True)))
    for vr in EXPLICIT_VR_LENGTH_16 | EXPLICIT_VR_LENGTH_32
}

Elements = dict[BaseTag, DataElement | RawDataElement]


@dataclass(frozen=True, slots=True)
class Regular:
    """A header, its elements not decoded, and what ended it."""

    header: Dataset
    met: tuple[int, int, int] | None  # tag, length and start of the pixels; None where the file ends without any


class _Irregular(Exception):
    """It must be read otherwise."""


class _Longer(Exception):
    """The header does not end within the bytes at hand."""


def read_regular(file: BinaryIO, size: int) -> Regular | None:
    """The header of a file of `size` bytes; None where it is not regular. Where `file` stands then is not said."""
    for chunk in _CHUNKS:
        file.seek(0)
        data = file.read(chunk)
        try:
            return _read(data, size)
        except _Irregular:
            return None
        except (_Longer, struct.error):
            if len(data) >= size:
                return None  # it breaks off
    return None


@lru_cache(maxsize=8192)
def interned(tag: int) -> BaseTag:
    """One object a tag: pydicom's are compared in Python unless they are the same."""
    return BaseTag(tag)


def _read(data: bytes, size: int) -> Regular:
    if data[128:_PREAMBLE_BYTES] != b"DICM":
        raise _Irregular
    meta, at = _explicit(data, _PREAMBLE_BYTES, size, lambda tag: tag >> 16 != _META)
    syntax = UID(_value(meta, _TRANSFER_SYNTAX).decode("ascii", "replace").rstrip("\0 "))
    if not syntax or syntax in _OTHERWISE_ENCODED:
        raise _Irregular
    implicit = syntax == ImplicitVRLittleEndian
    found, at = (_implicit if implicit else _explicit)(data, at, size, _PIXELS.__contains__)
    header = Dataset(found)
    declared = interned(_CHARACTER_SET) in found
    encodings = list(_encodings(_value(found, _CHARACTER_SET))) if declared else default_encoding
    header.set_original_encoding(implicit, True, encodings)
    header.file_meta = FileMetaDataset(meta)
    header.file_meta.TransferSyntaxUID = syntax
    return Regular(header, _met(data, at, implicit=implicit) if at < size else None)


def _explicit(data: bytes, at: int, size: int, ends: Callable[[int], bool]) -> tuple[Elements, int]:
    """Elements of explicit VR (PS3.5 section 7.1.2) up to a tag that ends them, and where that stands."""
    found: Elements = {}
    while at < size:
        group, number, code, length = _EXPLICIT.unpack_from(data, at)
        tag = group << 16 | number
        if ends(tag):
            return found, at
        known = _VRS.get(code)
        if known is None or (group in _NOT_OF_A_DATA_SET and tag >> 16 != _META):
            raise _Irregular
        vr, long, value = known
        start = at + 8
        if long:
            (length,) = _LONG.unpack_from(data, start)
            start += 4
        if length == _UNDEFINED:
            if vr != "SQ":
                raise _Irregular
            end, at = _end_of_items(data, start)
            length = end - start
        else:
            end = at = start + length
        if at > len(data):
            raise _Longer
        if length:
            value = data[start:end]
        key = interned(tag)
        found[key] = RawDataElement(key, vr, length, value, start, False, True)
    return found, at


def _implicit(data: bytes, at: int, size: int, ends: Callable[[int], bool]) -> tuple[Elements, int]:
    """The same of implicit VR (PS3.5 section 7.1.3), whose sequences must have known lengths."""
    if data[at + 4 : at + 6].isalpha():
        raise _Irregular  # it is explicit, whatever it says of itself
    found: Elements = {}
    while at < size:
        group, number, length = _IMPLICIT.unpack_from(data, at)
        tag = group << 16 | number
        if ends(tag):
            return found, at
        if group in _NOT_OF_A_DATA_SET or length == _UNDEFINED:
            raise _Irregular
        start = at + 8
        at = start + length
        if at > len(data):
            raise _Longer
        key = interned(tag)
        found[key] = RawDataElement(key, None, length, data[start:at] if length else None, start, True, True)
    return found, at


def _end_of_items(data: bytes, at: int) -> tuple[int, int]:
    """Of a sequence of undefined length (PS3.5 section 7.5): where its items end, and where what follows it begins."""
    while True:
        group, number, length = _IMPLICIT.unpack_from(data, at)
        tag = group << 16 | number
        if tag == _SEQUENCE_END and length == 0:
            return at, at + 8
        if tag != _ITEM:
            raise _Irregular
        at = at + 8 + length if length != _UNDEFINED else _end_of_item(data, at + 8)


def _end_of_item(data: bytes, at: int) -> int:
    """Where an item of undefined length has ended."""
    while True:
        group, number, code, length = _EXPLICIT.unpack_from(data, at)
        if group << 16 | number == _ITEM_END:
            return at + 8
        known = _VRS.get(code)
        if known is None:
            raise _Irregular
        at += 8
        if known[1]:
            (length,) = _LONG.unpack_from(data, at)
            at += 4
        if length != _UNDEFINED:
            at += length
        elif known[0] == "SQ":
            _, at = _end_of_items(data, at)
        else:
            raise _Irregular


def _met(data: bytes, at: int, *, implicit: bool) -> tuple[int, int, int]:
    """Tag, length and start of the element that stands there."""
    group, number, length = _IMPLICIT.unpack_from(data, at)
    if implicit:
        return group << 16 | number, length, at + 8
    if data[at + 4 : at + 6] not in _VRS:
        raise _Irregular
    return group << 16 | number, _LONG.unpack_from(data, at + 8)[0], at + 12


def _value(elements: Elements, tag: int) -> bytes:
    element = elements.get(interned(tag))
    return b"" if element is None else cast("bytes", element.value or b"")


@lru_cache(maxsize=64)
def _encodings(character_sets: bytes) -> tuple[str, ...]:
    """Python's names of the character sets that are declared, PS3.5 section 6.1.2.3."""
    declared = RawDataElement(interned(_CHARACTER_SET), "CS", len(character_sets), character_sets, 0, False, True)
    return tuple(convert_encodings(convert_raw_data_element(declared).value))
