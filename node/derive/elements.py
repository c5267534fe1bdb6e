"""Data elements in Explicit VR Little Endian, PS3.5 section 7.1.2, kept as bytes.

A source's values are copied as the bytes they came in: no decimal string is rounded and no name is decoded on the way.
It is also what makes 300 headers cheap: pydicom takes 4 ms to write one of decoded elements, and what one slice has like
the one before is encoded once.

`Elements` maps a tag to its whole encoded element.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from node.dicom.regular import interned
from node.dicom.values import encodings_of

if TYPE_CHECKING:
    from _collections_abc import dict_items

Elements = dict[int, bytes]

_PADDED_BY_NULL = frozenset({"OB", "UI", "UN"})
_KNOWN = EXPLICIT_VR_LENGTH_16 | EXPLICIT_VR_LENGTH_32
_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<L"}
_WORD_BYTES = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4}
_WORD_BYTES |= {"FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8}


def named(keyword: str, value: str | bytes | int, vr: str | None = None) -> Elements:
    """One element by its keyword. Text is ASCII; whoever has other text encodes it first."""
    return {tag_of(keyword): _named(keyword, value, vr)}


def bulk(keyword: str, value: memoryview, vr: str) -> Elements:
    """One element whose value is large, and has no like in any other slice."""
    return {tag_of(keyword): _element(tag_of(keyword), vr, value)}


def sequence(keyword: str, items: Iterable[Elements]) -> Elements:
    """A sequence with items of defined length, PS3.5 section 7.5."""
    return {tag_of(keyword): _sequence(tag_of(keyword), items)}


def code(keyword: str, value: str, meaning: str) -> Elements:
    """A sequence of one code of the scheme DCM, PS3.3 section 8."""
    return {tag_of(keyword): _code(keyword, value, meaning)}


def reference(sop_class_uid: str | bytes, sop_instance_uid: str | bytes) -> Elements:
    """The SOP Instance Reference Macro, PS3.3 Table 10-11."""
    return named("ReferencedSOPClassUID", sop_class_uid) | named("ReferencedSOPInstanceUID", sop_instance_uid)


def data_set(elements: Elements, after: bytes = b"") -> bytes:
    """The elements in the order of their tags, PS3.5 section 7.1, `after` what stands before them."""
    return b"".join((after, *(elements[tag] for tag in sorted(elements, key=int))))


def copied(
    source: Dataset, keeps: Callable[[int], bool], keeps_inside: Callable[[int], bool], vr_of_us_or_ss: str
) -> Elements:
    """The elements of `source`, value for value.

    Args:
        source: as read, its elements not looked at, so that their bytes are still there.
        keeps: of a tag, whether it is copied.
        keeps_inside: the same in items of sequences, at any depth.
        vr_of_us_or_ss: "SS" where Pixel Representation (0028,0103) is 1, else "US"; an implicit source doesn't tell.

    Raises:
        ValueError: an element has a VR that PS3.5 doesn't know, so that nobody could read the copy; names the tag.
    """
    elements: Elements = {}
    for tag, element in source.items():  # iterating over the data set itself would decode them
        if not keeps(tag):
            continue
        vr = _vr(element.VR, tag, vr_of_us_or_ss)
        if vr == "SQ":
            elements[tag] = _sequence(tag, _copied_items(source, element, keeps_inside, vr_of_us_or_ss))
        else:
            elements[tag] = _element(tag, vr, _little_endian(element, vr))
    return elements


def written(made: Dataset) -> Elements:
    """The elements of a data set that was made, not read, as pydicom writes them."""
    encodings = made.get("SpecificCharacterSet", default_encoding)
    elements: Elements = {}
    for element in made:
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = False, True
        write_data_element(buffer, element, encodings)
        elements[element.tag] = buffer.getvalue()
    return elements


def copied_items(source: Dataset, keyword: str, keeps_inside: Callable[[int], bool]) -> Sequence[Elements]:
    """The items of a sequence, as `copied` makes them; none where it is missing."""
    element = _element_of(source, tag_of(keyword))
    return () if element is None else _copied_items(source, element, keeps_inside, "US")


def items(source: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence, to look at: data sets that have it alike share them."""
    element = _element_of(source, tag_of(keyword))
    if element is None or not isinstance(element, RawDataElement):
        return () if element is None else element.value or ()
    return _items(element._replace(value_tell=0), encodings_of(source))


def raw(source: Dataset, keyword: str) -> bytes:
    """The value of a text element without its padding; empty where it is missing."""
    element = _element_of(source, tag_of(keyword))
    return b"" if element is None else _bytes(element).strip(b" \0")


def has_value(source: Dataset, keyword: str) -> bool:
    """Whether an element is there and not empty."""
    element = _element_of(source, tag_of(keyword))
    return element is not None and len(_bytes(element)) > 0


def unsigned(source: Dataset, keyword: str) -> int | None:
    """The first 16 bits of an element, whatever VR it claims; None where it is missing or shorter."""
    element = _element_of(source, tag_of(keyword))
    value = b"" if element is None else _little_endian(element, "US")[:2]
    return int.from_bytes(value, "little") if len(value) == 2 else None


def vr_of(source: Dataset, keyword: str) -> str | None:
    """The VR that an element was read with; None where it is missing, or the syntax is implicit."""
    element = _element_of(source, tag_of(keyword))
    return None if element is None else element.VR


@lru_cache(maxsize=1024)
def tag_of(keyword: str) -> BaseTag:
    """The tag of a keyword of PS3.6."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    return interned(tag)


@lru_cache(maxsize=1024)
def _named(keyword: str, value: str | bytes | int, vr: str | None) -> bytes:
    tag = tag_of(keyword)
    vr = vr or dictionary_VR(tag)
    if isinstance(value, int):
        value = struct.pack(_NUMBERS[vr], value)
    return _element(tag, vr, value.encode("ascii") if isinstance(value, str) else value)


@lru_cache(maxsize=64)
def _code(keyword: str, value: str, meaning: str) -> bytes:
    item = named("CodeValue", value) | named("CodingSchemeDesignator", "DCM") | named("CodeMeaning", meaning)
    return _sequence(tag_of(keyword), [item])


@lru_cache(maxsize=64)
def _items(element: RawDataElement, encodings: tuple[str, ...]) -> tuple[Dataset, ...]:
    return tuple(convert_raw_data_element(element, encoding=list(encodings)).value or ())


def _copied_items(
    source: Dataset, element: RawDataElement | DataElement, keeps_inside: Callable[[int], bool], vr_of_us_or_ss: str
) -> Sequence[Elements]:
    if isinstance(element, RawDataElement):
        return _copied_raw(element._replace(value_tell=0), encodings_of(source), keeps_inside, vr_of_us_or_ss)
    return [copied(item, keeps_inside, keeps_inside, vr_of_us_or_ss) for item in element.value or ()]


@lru_cache(maxsize=64)
def _copied_raw(
    element: RawDataElement, encodings: tuple[str, ...], keeps_inside: Callable[[int], bool], vr_of_us_or_ss: str
) -> Sequence[Elements]:
    read = convert_raw_data_element(element, encoding=list(encodings)).value or ()  # anew, so that nobody looked at it
    return [copied(item, keeps_inside, keeps_inside, vr_of_us_or_ss) for item in read]


def _element(tag: int, vr: str, value: bytes | memoryview) -> bytes:
    if isinstance(value, bytes) and len(value) % 2:
        value += b"\0" if vr in _PADDED_BY_NULL else b" "
    if vr not in EXPLICIT_VR_LENGTH_32 and len(value) > 0xFFFF:
        vr = "UN"  # PS3.5 section 6.2.2, note 4
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    length = struct.pack("<HL", 0, len(value)) if vr in EXPLICIT_VR_LENGTH_32 else struct.pack("<H", len(value))
    return b"".join((head, length, value))


def _sequence(tag: int, items: Iterable[Elements]) -> bytes:
    encoded = [data_set(item) for item in items]
    return _element(tag, "SQ", b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in encoded))


@lru_cache(maxsize=4096)
def _vr(read: str | None, tag: BaseTag, vr_of_us_or_ss: str) -> str:
    """The VR to write: an implicit source has none, and UN may stand for one that the dictionary knows."""
    if read is not None and read != "UN":
        if read not in _KNOWN:
            raise ValueError(f"{tag} has the VR {read!r}, which does not exist")
        return str(read)
    if tag.is_private:
        return "LO" if tag.is_private_creator else "UN"
    if not dictionary_has_tag(tag):
        return "UN"
    vr = dictionary_VR(tag)
    if " or " not in vr:
        return vr
    return vr_of_us_or_ss if vr == "US or SS" else "OW"


def _element_of(source: Dataset, tag: BaseTag) -> RawDataElement | DataElement | None:
    """As read, without looking at it: looking decodes it, and its bytes are gone.

    From what `get_item` looks into, which takes longer to understand its argument than to find the element.
    """
    return cast("dict_items[BaseTag, RawDataElement | DataElement]", source.items()).mapping.get(tag)


def _little_endian(element: RawDataElement | DataElement, vr: str) -> bytes:
    value = _bytes(element)
    if isinstance(element, RawDataElement) and not element.is_little_endian and vr in _WORD_BYTES:
        return np.frombuffer(value, f">u{_WORD_BYTES[vr]}").astype(f"<u{_WORD_BYTES[vr]}").tobytes()
    return value


def _bytes(element: RawDataElement | DataElement) -> bytes:
    """The value as read. Two elements are decoded by pydicom itself, unasked: what it needs to decode others."""
    if isinstance(element, RawDataElement):
        return element.value or b""
    if element.is_empty:
        return b""
    if element.VR == "CS":  # Specific Character Set (0008,0005)
        return "\\".join([element.value] if element.VM == 1 else element.value).encode("ascii", "replace")
    if element.VR in _NUMBERS and element.VM == 1:  # Pixel Representation (0028,0103)
        return struct.pack(_NUMBERS[element.VR], element.value)
    raise TypeError(f"{element.tag} was decoded: the bytes it came in are gone")
