"""A file about to be sent: what a sender must know of it, and that it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import UID

from node.dicom import part10
from node.dicom.compress import LOSSLESS, can_compress, compress
from node.dicom.headers import pixel_data, read_header
from node.dicom.values import text
from node.errors import InvalidObject


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A whole Part 10 file."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: UID
    offset: int  # where the data set begins
    compressed_syntax_uid: UID | None = None  # what it is compressed to on the way, without loss

    def data_set(self) -> bytes:
        """The data set as it lies in the file."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read()

    def open_as_sent(self) -> BinaryIO:
        """The whole file as a destination gets it that is not asked what it takes.

        Raises:
            InvalidObject: it cannot be compressed without loss.
            OSError: it cannot be read.
        """
        if self.compressed_syntax_uid is None:
            return self.path.open("rb")
        return BytesIO(compress(self.path, self.compressed_syntax_uid))


def examine(path: Path, compression: str = "none") -> Outgoing:
    """Read a file's header. `compression`, a key of `LOSSLESS`, is for what can be compressed; the rest stays as it is.

    A peer that is sent a file cut off in its pixels waits for the rest and never answers.

    Raises:
        InvalidObject: it cannot be read, is no DICOM file, is cut off, or lacks a UID.
    """
    try:
        with path.open("rb") as file:
            meta = part10.read(file)
            offset = file.tell()
        header = read_header(path)
    except OSError as error:
        raise InvalidObject(f"{path} cannot be read: {error.strerror or error}") from error
    except InvalidObject as error:
        raise InvalidObject(f"{path}: {error.reason}", sop_instance_uid=error.sop_instance_uid) from error
    sop_class, instance, series = (text(header, key) for key in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"))
    pixels = pixel_data(header)
    if pixels is not None and not pixels.complete:
        raise InvalidObject(f"{path} is cut off in Pixel Data (7FE0,0010)", sop_instance_uid=instance)
    if not (sop_class and instance and series):
        raise InvalidObject(
            f"{path} lacks its SOP Class, SOP Instance or Series Instance UID", sop_instance_uid=instance
        )
    compressed = LOSSLESS[compression] if can_compress(header) else None
    return Outgoing(path, sop_class, instance, series, UID(meta.transfer_syntax_uid), offset, compressed)
