"""Frames of an image, PS3.18 section 10.4.1.1.6: uncompressed, or the compressed stream as it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian

from node.dicom.headers import read_header, read_instance
from node.dicom.values import number
from node.errors import InvalidObject
from node.web.dicomweb.accept import ANY_SYNTAX, Wanted
from node.web.dicomweb.answers import Refused
from node.web.dicomweb.held import Held
from node.web.dicomweb.media import FRAME_TYPES, OCTETS, decoded_pixels

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames to be sent: each a part, or the only one the whole answer."""

    media_type: str
    part_type: str  # with the transfer syntax
    bodies: Sequence[bytes]
    single: bool


def numbers_of(text: str) -> list[int]:
    """The numbers of a list; the first frame is 1.

    Raises:
        Refused: it is no such list.
    """
    items = text.split(",")
    if len(items) > _MOST or not all(item.isascii() and item.isdigit() and int(item[:9]) > 0 for item in items):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{text[:80]!r} is no list of frame numbers from 1 on")
    return [int(item) for item in items]


def frames_as(accepts: Sequence[Wanted], held: Held, numbers: Sequence[int]) -> Frames:
    """The frames in the form that the client wants most and can be had.

    Raises:
        Refused: it takes none, or there is no such frame.
    """
    compressed = FRAME_TYPES.get(held.transfer_syntax_uid, "")
    for one in accepts:
        several = one.media_type == "multipart/related"
        kind = one.part_type if several else one.media_type
        if not several and one.media_type != "*/*" and len(numbers) > 1:
            continue
        asks_for_octets = kind in ("", "*/*", OCTETS)
        as_kept = one.transfer_syntax in (ANY_SYNTAX, held.transfer_syntax_uid)
        if compressed and (
            (kind == compressed and (as_kept or not one.transfer_syntax)) or (asks_for_octets and as_kept)
        ):
            part = f"{compressed}; transfer-syntax={held.transfer_syntax_uid}"
            return Frames(compressed, part, _kept(held, numbers), single=not several and one.media_type != "*/*")
        if asks_for_octets and one.transfer_syntax in ("", ANY_SYNTAX, ExplicitVRLittleEndian):
            part = f"{OCTETS}; transfer-syntax={ExplicitVRLittleEndian}"
            return Frames(OCTETS, part, _uncompressed(held, numbers), single=one.media_type == OCTETS)
    raise Refused(
        HTTPStatus.NOT_ACCEPTABLE,
        f'frames are sent as multipart/related; type="{OCTETS}"'
        + (f', or as they are kept: type="{compressed}"' if compressed else ""),
    )


def uncompressed_frame(held: Held, frame: int) -> tuple[bytes, Dataset]:
    """The pixels of one frame in little endian, and the header. Raises as `frames_as`."""
    (body,) = _uncompressed(held, [frame])
    return body, read_header(held.path)


def _uncompressed(held: Held, numbers: Sequence[int]) -> list[bytes]:
    header = _header(held)
    _require(held, header, numbers)
    pixels = decoded_pixels(held)
    bits = _natural(header, "BitsAllocated", 16)
    size = (
        _natural(header, "Rows", 0)
        * _natural(header, "Columns", 0)
        * _natural(header, "SamplesPerPixel", 1)
        * bits
        // 8
    )
    frames = [pixels[size * (each - 1) : size * each] for each in numbers]
    if not size or any(len(frame) < size for frame in frames):
        raise Refused(
            HTTPStatus.NOT_ACCEPTABLE,
            f"the pixels of instance {held.sop_instance_uid} do not fill the frames it declares",
        )
    return frames


def _kept(held: Held, numbers: Sequence[int]) -> list[bytes]:
    instance = read_instance(held.path)
    _require(held, instance, numbers)
    count = _natural(instance, "NumberOfFrames", 1)
    frames = list(generate_frames(instance.PixelData, number_of_frames=count))
    return [frames[each - 1] for each in numbers]


def _require(held: Held, header: Dataset, numbers: Sequence[int]) -> None:
    count = _natural(header, "NumberOfFrames", 1)
    if missing := [each for each in numbers if each > count]:
        raise Refused(HTTPStatus.NOT_FOUND, f"instance {held.sop_instance_uid} has {count} frames, not {missing[0]}")


def _natural(header: Dataset, keyword: str, missing: int) -> int:
    try:
        return int(number(header, keyword) or missing)
    except InvalidObject as error:
        raise Refused(HTTPStatus.NOT_ACCEPTABLE, str(error)) from error


def _header(held: Held) -> Dataset:
    try:
        return read_header(held.path)
    except InvalidObject as error:
        raise Refused(HTTPStatus.NOT_ACCEPTABLE, str(error)) from error
