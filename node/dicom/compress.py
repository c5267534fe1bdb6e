"""Lossless compression of an instance on its way to a destination; the file on disk stays as it is."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from node.dicom.codecs import OPENJPEG, decode, name_of
from node.dicom.headers import pixel_data, read_instance
from node.dicom.values import number, uid_of
from node.errors import InvalidObject

LOSSLESS = {"none": None, "jpeg-ls": JPEGLSLossless, "jpeg-2000": JPEG2000Lossless}
"""The transfer syntax of each `compression` that a destination may ask for; None leaves files as they are."""

_ENCODERS = {JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_BITS = 16
_LEAST_SIDE = 64  # OpenJPEG fails below 32, and pyjpegls over a few pixels


def can_compress(header: Dataset) -> bool:
    """Whether the instance is as the node makes them: one uncompressed CT image that uses all 16 bits of a pixel.

    The encoders keep Bits Stored (0028,0101) and drop what a scanner has put into the bits above, without a word.
    """
    return (
        header.file_meta.TransferSyntaxUID in _UNCOMPRESSED
        and header.get("SOPClassUID") == CTImageStorage
        and pixel_data(header) is not None
        and number(header, "BitsAllocated") == number(header, "BitsStored") == _BITS
        and min(number(header, "Rows") or 0, number(header, "Columns") or 0) >= _LEAST_SIDE
    )


def compress(path: Path, syntax: UID) -> bytes:
    """The Part 10 file in a lossless transfer syntax of `LOSSLESS`; the same bytes each time.

    Nothing changes but Pixel Data and the Transfer Syntax UID: it is the same image, and keeps its SOP Instance UID.

    Raises:
        InvalidObject: it cannot be read or encoded, or the pixels do not come back as they were.
        OSError: the file cannot be read.
    """
    instance = read_instance(path)
    with OPENJPEG:
        return _compress(instance, path, syntax)


def _compress(instance: Dataset, path: Path, syntax: UID) -> bytes:
    try:
        before = decode(instance)
        instance.compress(syntax, encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)
        exact = np.array_equal(before, decode(instance))
        file = BytesIO()
        instance.save_as(file)
    except InvalidObject:
        raise
    except Exception as error:  # encoders raise nearly anything
        reason = f"{path} cannot be encoded in {name_of(syntax)}: {error}"
        raise InvalidObject(reason, sop_instance_uid=uid_of(instance)) from error
    if not exact:
        reason = f"{path} does not decode to the same pixels from {name_of(syntax)}; it is not sent"
        raise InvalidObject(reason, sop_instance_uid=uid_of(instance))
    return file.getvalue()
