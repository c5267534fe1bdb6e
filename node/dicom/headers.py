"""Reading Part 10 files: the data set with or without pixels, and what became of Pixel Data (7FE0,0010)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import Dataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset, read_partial
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from node.dicom.regular import read_regular
from node.dicom.values import uid_of
from node.errors import InvalidObject

# The node judges values itself, with the UID at hand; pydicom's warnings do not name one.
config.settings.reading_validation_mode = config.IGNORE

MAX_INFLATED_BYTES = 512 * 1024 * 1024
"""A deflated data set may not grow beyond this: an Enhanced CT of 1000 frames of 512 x 512 is as large."""

_PREAMBLE_BYTES = 132  # with the prefix "DICM"
_PIXEL_DATA = 0x7FE00010
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, _PIXEL_DATA})
_UNDEFINED = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True, slots=True)
class PixelData:
    """What is known of Pixel Data (7FE0,0010) without having read it."""

    length: int | None  # bytes of its value as its element says; None where it is encapsulated
    complete: bool  # whether the file holds all of it
    start: int | None = None  # where its value begins in the file; None where it is encapsulated or deflated


@dataclass(slots=True)
class _Last:
    """The element at the top level that was met last."""

    tag: int = 0
    length: int = 0
    start: int = 0  # of its value


def read_header(path: Path) -> Dataset:
    """The data set up to Pixel Data (7FE0,0010); `pixel_data` tells what is known of that.

    Raises:
        InvalidObject: it is no DICOM file, or it is cut off within the header.
        OSError: the file cannot be read.
    """
    return _read(path, pixels=False)


def parse_header(file: BinaryIO) -> Dataset:
    """As `read_header`, of an open file.

    Raises:
        InvalidObject: as `read_header`.
    """
    return _parse(file, pixels=False)


def read_instance(path: Path) -> Dataset:
    """The whole data set, pixels included.

    Raises:
        InvalidObject: it is no DICOM file, or it is cut off.
        OSError: the file cannot be read.
    """
    return _read(path, pixels=True)


def as_read(header: Dataset) -> Dataset:
    """A twin of a header that nobody has looked at yet: looking at the one leaves the other the bytes it came in."""
    twin = Dataset(dict(header.items()))  # iterating over the header itself would decode it
    implicit, little_endian = header.original_encoding
    twin.set_original_encoding(implicit, little_endian, header.original_character_set)
    twin.file_meta = header.file_meta
    twin.harmonode_pixel_data = pixel_data(header)
    return twin


def pixel_data(header: Dataset) -> PixelData | None:
    """What is known of Pixel Data (7FE0,0010); None where the instance has none."""
    if "PixelData" in header:
        element = header["PixelData"]
        return PixelData(None if element.is_undefined_length else len(element.value or b""), complete=True)
    return cast("PixelData | None", getattr(header, "harmonode_pixel_data", None))


def _read(path: Path, *, pixels: bool) -> Dataset:
    with path.open("rb") as file:
        try:
            return _parse(file, pixels=pixels)
        except InvalidObject:
            raise
        except Exception as error:  # a malformed file makes pydicom raise nearly anything
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not pydicom's over a malformed sequence
            raise InvalidObject(f"{path.name} is no readable DICOM file: {error}") from error


def _parse(file: BinaryIO, *, pixels: bool) -> Dataset:
    if not pixels and (header := _regular(file)) is not None:
        return header
    file.seek(0)
    syntax, stream = _inflated(file)
    size = stream.seek(0, SEEK_END)
    stream.seek(0)
    last = _Last()

    def met(tag: BaseTag, _vr: str | None, length: int) -> bool:
        last.tag, last.length, last.start = int(tag), length, stream.tell()
        return not pixels and tag in _PIXELS

    try:
        header = read_partial(stream, stop_when=met)
    except Exception as error:  # as in `_read`
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = f"the data set cannot be read beyond {BaseTag(last.tag)}: {error}"
        raise InvalidObject(reason, sop_instance_uid=_uid_before(stream, last)) from error
    header_ended = last.tag in _PIXELS and not pixels
    if not header_ended and _is_cut_off(header, last, size, pixels=pixels):
        reason = f"the data set is cut off in {BaseTag(last.tag)}, after {size} bytes"
        raise InvalidObject(reason, sop_instance_uid=_uid_before(stream, last))
    header.file_meta.TransferSyntaxUID = syntax
    if header_ended and last.tag == _PIXEL_DATA:
        found = _pixel_data_at(stream, last, size)
        header.harmonode_pixel_data = found if stream is file else replace(found, start=None)
    return header


def _regular(file: BinaryIO) -> Dataset | None:
    """The header of a file as nearly all are; None where it must be read with more care."""
    size = file.seek(0, SEEK_END)
    regular = read_regular(file, size)
    if regular is None:
        return None
    if regular.met is not None and regular.met[0] == _PIXEL_DATA:
        regular.header.harmonode_pixel_data = _pixel_data_at(file, _Last(*regular.met), size)
    return regular.header


def _is_cut_off(header: Dataset, last: _Last, size: int, *, pixels: bool) -> bool:
    """Whether the file ended within an element: pydicom then keeps what it has, or nothing, without an error."""
    if last.tag and last.tag not in header:
        return True
    end = size if last.length == _UNDEFINED else last.start + last.length
    return end > size or (not pixels and end < size)


def _uid_before(stream: BinaryIO, last: _Last) -> str | None:
    """SOP Instance UID of a data set that can be read up to `last`; None where even that fails."""
    stream.seek(0)
    try:
        header = read_partial(stream, stop_when=lambda tag, _vr, _length: tag >= last.tag)
    except Exception:  # noqa: BLE001 - it is malformed, and that is told already
        return None
    return uid_of(header) or _media_uid(header.file_meta)


def _pixel_data_at(stream: BinaryIO, last: _Last, size: int) -> PixelData:
    if last.length != _UNDEFINED:
        return PixelData(last.length, complete=last.start + last.length <= size, start=last.start)
    stream.seek(last.start)
    while len(item := stream.read(8)) == 8 and item[:4] == _ITEM:  # PS3.5 Annex A.4: items, then a delimiter
        stream.seek(int.from_bytes(item[4:], "little"), 1)
    return PixelData(None, complete=len(item) == 8 and item[:4] == _SEQUENCE_DELIMITER)


def _inflated(file: BinaryIO) -> tuple[UID, BinaryIO]:
    """The transfer syntax, and the file itself or, where it is deflated (PS3.5 Annex A.5), its inflated form."""
    prefix = file.read(_PREAMBLE_BYTES)
    if prefix[128:] != b"DICM":
        raise InvalidObject("this is no DICOM file: the prefix DICM is missing")
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    syntax = meta.get("TransferSyntaxUID")
    if not syntax:
        raise InvalidObject(
            "the file does not say its Transfer Syntax UID (0002,0010)", sop_instance_uid=_media_uid(meta)
        )
    if syntax != DeflatedExplicitVRLittleEndian:
        return UID(syntax), file
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data_set = inflater.decompress(file.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise InvalidObject(
            f"the deflated data set grows beyond {MAX_INFLATED_BYTES} bytes", sop_instance_uid=_media_uid(meta)
        )
    if not inflater.eof:
        raise InvalidObject("the deflated data set is cut off", sop_instance_uid=_media_uid(meta))
    plain = FileMetaDataset(meta)
    plain.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = DicomBytesIO()
    stream.write(prefix)
    write_file_meta_info(stream, plain)
    stream.write(data_set)
    return UID(syntax), cast("BinaryIO", stream)


def _media_uid(meta: Dataset) -> str | None:
    return str(meta.get("MediaStorageSOPInstanceUID", "")) or None
