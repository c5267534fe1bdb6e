"""A file about to be sent: what a sender must know of it, and that it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import UID

from node.dicom import part10
from node.dicom.compress import LOSSLESS, can_compress, compress
from node.dicom.elements import identify
from node.dicom.headers import read_header
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
    """Walk a file to its end. `compression`, a key of `LOSSLESS`, is for what can be compressed; the rest stays as it is.

    A peer that is sent a file cut off in its pixels waits for the rest and never answers.

    Raises:
        InvalidObject: it cannot be read, is no DICOM file, is cut off, or lacks a UID.
    """
    try:
        with path.open("rb") as file:
            meta = part10.read(file)
            offset = file.tell()
            identity = identify(file, meta.transfer_syntax_uid)
        syntax = LOSSLESS[compression]
        compressed = syntax if syntax and can_compress(read_header(path)) else None
    except OSError as error:
        raise InvalidObject(f"{path} cannot be read: {error.strerror or error}") from error
    except InvalidObject as error:
        raise InvalidObject(f"{path}: {error.reason}", sop_instance_uid=error.sop_instance_uid) from error
    return Outgoing(
        path,
        identity.sop_class_uid,
        identity.sop_instance_uid,
        identity.series_instance_uid,
        UID(meta.transfer_syntax_uid),
        offset,
        compressed,
    )
