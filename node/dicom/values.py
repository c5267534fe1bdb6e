"""Values of attributes as plain Python: str, int, float, or a tuple of them.

Real headers hold odd values. They are taken as they are where their meaning is plain; where it is not, `InvalidObject`
names the SOP Instance UID and the keyword.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, cast

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from node.dicom.regular import interned
from node.errors import InvalidObject

_INTEGER_VRS = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_NUMBER_VRS = _INTEGER_VRS | {"DS", "FD", "FL"}
_BULK_VRS = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
_BINARY = {"US": "<H", "SS": "<h", "UL": "<L", "SL": "<l", "FL": "<f", "FD": "<d"}
_PADDING = " \0"
_SHORT = 256  # bytes


def uid_of(header: Dataset) -> str | None:
    """SOP Instance UID (0008,0018) as far as it can be told, to name the instance in a message."""
    value = getattr(header.get_item("SOPInstanceUID"), "value", None)
    shown = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return shown.strip(_PADDING) or None


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of a text attribute, without padding; none where it is missing or empty.

    Raises:
        InvalidObject: it cannot be read.
    """
    tag = _tag(keyword)
    value = plain_value(header, tag) if tag in header else None
    return tuple("" if one is None else str(one) for one in _several(value))


def text(header: Dataset, keyword: str) -> str:
    """The first value of a text attribute; "" where it is missing or empty. Raises as `texts`."""
    return next(iter(texts(header, keyword)), "")


def numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of a numeric attribute; none where it is missing or empty.

    Raises:
        InvalidObject: a value is no finite number, or the VR is not the standard's.
    """
    tag = _tag(keyword)
    element: Any = header.get_item(tag, keep_deferred=True)
    if element is None:
        return ()
    if isinstance(element, RawDataElement) and element.VR in vrs_of(tag) and element.is_little_endian:
        regular = _regular_numbers(element.VR, element.value or b"")
        if regular is not None:
            return regular
    several = _several(plain_value(header, tag))
    found, expected = header[tag].VR, vrs_of(tag)
    if found not in expected:
        raise InvalidObject(
            f"{keyword} {tag} has the value representation {found}, not {' or '.join(expected)}",
            sop_instance_uid=uid_of(header),
        )
    if None in several:
        raise _unreadable(header, tag, several)
    return several


def number(header: Dataset, keyword: str) -> float | None:
    """The value of a numeric attribute; None where it is missing or empty.

    Raises:
        InvalidObject: as `numbers`, and where there are several values.
    """
    several = numbers(header, keyword)
    if len(several) > 1:
        raise _unreadable(header, _tag(keyword), several)
    return several[0] if several else None


def items(header: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; none where it is missing or empty.

    Raises:
        InvalidObject: it cannot be read.
    """
    try:
        value = header.get(keyword) or ()
    except Exception as error:  # as in `plain_value`
        raise _unreadable(header, _tag(keyword), None) from error
    if not all(isinstance(item, Dataset) for item in value):
        raise _unreadable(header, _tag(keyword), value)
    return tuple(value)


def plain_values(header: Dataset) -> Iterator[tuple[str, Any]]:
    """Keyword and value of each standard attribute at the top level but sequences, bulk data, curves and overlays.

    An empty attribute is None; so is an empty value among several.

    Raises:
        InvalidObject: a value cannot be read; names the keyword.
    """
    for tag in list(header.keys()):
        keyword = keyword_for_tag(tag)
        if keyword and not tag.is_private and not 0x5000 <= tag.group < 0x6100 and _BULK_VRS.isdisjoint(vrs_of(tag)):
            yield keyword, plain_value(header, tag)


def plain_value(header: Dataset, tag: BaseTag) -> Any:
    """The value of one attribute that is present. Raises as `plain_values`."""
    raw: Any = header.get_item(tag, keep_deferred=True)
    vr = vrs_of(tag)[0]
    if isinstance(raw, RawDataElement) and _is_regular(raw):
        with suppress(Exception):  # what is wrong is told below, with the instance's UID
            return _regular_value(raw._replace(value_tell=0), encodings_of(header))
    try:
        value = header[tag].value
    except Exception as error:  # pydicom converts when asked, and raises nearly anything over a malformed value
        value = _decimals(raw, vr)
        if value is None:
            raise _unreadable(header, tag, getattr(raw, "value", None)) from error
    return _converted(header, tag, value)


def encodings_of(header: Dataset) -> tuple[str, ...]:
    """Python's names of the character sets that it was read with."""
    read = header.original_character_set
    return (read,) if isinstance(read, str) else tuple(read)


def _converted(header: Dataset, tag: BaseTag, value: Any) -> Any:
    vr = vrs_of(tag)[0]
    if isinstance(value, MultiValue | list | tuple):
        return tuple(_plain(header, tag, vr, one) for one in value) or None
    return _plain(header, tag, vr, value)


@lru_cache(maxsize=4096)
def vrs_of(tag: BaseTag) -> tuple[str, ...]:
    """The value representations that the standard allows: several for pixel values, which may be signed or not."""
    return tuple(dictionary_VR(tag).split(" or "))


def _is_regular(raw: RawDataElement) -> bool:
    """Whether the value of an element follows from its bytes alone, and they are few enough to keep."""
    return raw.VR not in (None, "UN") and raw.is_little_endian and len(raw.value or b"") <= _SHORT


@lru_cache(maxsize=4096)
def _regular_value(raw: RawDataElement, encodings: tuple[str, ...]) -> Any:
    """As `plain_value`, worked out once for all slices of a series that have it alike."""
    alone = Dataset({raw.tag: raw})
    alone.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=list(encodings))
    return _converted(alone, raw.tag, alone[raw.tag].value)


@lru_cache(maxsize=4096)
def _regular_numbers(vr: str, value: bytes) -> tuple[float, ...] | None:
    """Numbers as most are written, without asking pydicom: the slices of a series share nearly all of them.

    None where they must be read with more care.
    """
    try:
        if vr in _BINARY:
            found = [float(number) for (number,) in struct.iter_unpack(_BINARY[vr], value)]
        elif vr in ("DS", "IS"):
            found = [float(part) for part in value.decode("ascii").strip(_PADDING).split("\\")]
        else:
            return None
    except (ValueError, struct.error):
        return None
    if not found or not all(map(math.isfinite, found)):
        return None
    return tuple(int(one) if vr in _INTEGER_VRS and one.is_integer() else one for one in found)


def _plain(header: Dataset, tag: BaseTag, vr: str, value: Any) -> str | int | float | None:
    if value is None or (isinstance(value, bytes | str) and not value.strip()):
        return None
    if vr not in _NUMBER_VRS:
        if isinstance(value, bytes):
            raise _unreadable(header, tag, value)
        return str(value).strip(_PADDING)
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise _unreadable(header, tag, value)
    return int(found) if vr in _INTEGER_VRS and found.is_integer() else found


def _decimals(raw: Any, vr: str) -> list[str] | None:
    """Scanners write `287.5` as Integer String, which pydicom refuses; what is meant is plain."""
    if vr != "IS" or not isinstance(getattr(raw, "value", None), bytes):
        return None
    return [part.strip() for part in raw.value.decode("ascii", "replace").strip(_PADDING).split("\\")]


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


@lru_cache(maxsize=1024)
def _tag(keyword: str) -> BaseTag:
    return interned(cast("int", tag_for_keyword(keyword)))


def _unreadable(header: Dataset, tag: BaseTag, value: Any) -> InvalidObject:
    """Names the value where it is a number; a text might tell who the patient is."""
    shown = f": {value!r:.60}" if vrs_of(tag)[0] in _NUMBER_VRS else ""
    return InvalidObject(f"{keyword_for_tag(tag)} {tag} cannot be read{shown}", sop_instance_uid=uid_of(header))
