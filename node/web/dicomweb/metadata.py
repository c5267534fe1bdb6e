"""Metadata in the DICOM JSON model (PS3.18 Annex F): everything but bulk data, which is pointed to."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence as ItemSequence

from node.dicom.headers import pixel_data, read_header
from node.errors import InvalidObject
from node.web.dicomweb.answers import Refused
from node.web.dicomweb.held import Held
from node.web.dicomweb.media import decoded_pixels, gone

_PIXEL_DATA = "7FE00010"
_INLINE_BYTES = 256  # shorter bulk values stand in the document itself, in Base64
_BULK_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_PLACE = re.compile(r"[0-9A-F]{8}(/\d{1,5}/[0-9A-F]{8}){0,8}")


def as_metadata(held: Held, base: str) -> dict[str, Any]:
    """The metadata of an instance; what of it cannot be written in JSON is left out.

    Raises:
        Refused: its header cannot be read.
    """
    header = _header(held)
    url = (
        f"{base}/studies/{held.study_instance_uid}/series/{held.series_instance_uid}"
        f"/instances/{held.sop_instance_uid}/bulkdata"
    )
    written = _written(header, url)
    if "SpecificCharacterSet" in header:  # what is written is UTF-8, PS3.18 section F.2
        written["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    if pixel_data(header) is not None:
        written[_PIXEL_DATA] = {"vr": "OW", "BulkDataURI": f"{url}/{_PIXEL_DATA}"}
    return dict(sorted(written.items()))


def _written(data_set: Dataset, url: str) -> dict[str, Any]:
    """Pydicom writes each element; sequences are walked here, so that bulk data in them have places of their own."""
    found: dict[str, Any] = {}
    for tag in sorted(data_set.keys()):
        if tag.group == 2 or tag.element == 0:
            continue
        name = f"{tag:08X}"
        try:
            element = data_set[tag]
            found[name] = _element(element, f"{url}/{name}")
        except Exception:  # noqa: BLE001, S112 - pydicom raises nearly anything over a malformed value; the file has it
            continue
    return found


def _element(element: DataElement, url: str) -> dict[str, Any]:
    if element.VR == "SQ":
        items = [_written(item, f"{url}/{number}") for number, item in enumerate(element.value, 1)]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if element.VR in _BULK_VRS and len(element.value or b"") > _INLINE_BYTES:
        return {"vr": element.VR, "BulkDataURI": url}
    written: dict[str, Any] = element.to_json_dict(None, _INLINE_BYTES)
    return written


def bulk_value(held: Held, place: str) -> bytes:
    """The bytes of the bulk value at `place`: tags, and the numbers of items between them. Pixels are decoded.

    Raises:
        Refused: there is none.
    """
    if not _PLACE.fullmatch(place.upper()):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{place[:80]!r} is no tag, nor tags with numbers of items between them")
    if place == _PIXEL_DATA:
        return decoded_pixels(held)
    where: Any = _header(held)
    steps = place.upper().split("/")
    try:
        for tag, number in zip(steps[:-1:2], steps[1::2], strict=True):
            sequence: ItemSequence = where[int(tag, 16)].value
            where = sequence[int(number) - 1]
        element = where[int(steps[-1], 16)]
    except (KeyError, IndexError, TypeError) as error:
        raise Refused(HTTPStatus.NOT_FOUND, f"instance {held.sop_instance_uid} has nothing at {place}") from error
    if element.VR not in _BULK_VRS or not isinstance(element.value, bytes):
        raise Refused(HTTPStatus.NOT_FOUND, f"instance {held.sop_instance_uid} has no bulk data at {place}")
    return element.value


def _header(held: Held) -> Dataset:
    try:
        return read_header(held.path)
    except InvalidObject as error:
        raise Refused(HTTPStatus.NOT_ACCEPTABLE, str(error)) from error
    except FileNotFoundError as error:
        raise gone(held) from error
