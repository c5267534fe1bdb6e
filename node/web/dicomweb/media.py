"""Which form of an object or frame a client gets: as it is kept, or decoded to Explicit VR Little Endian.

The rule of PS3.18 section 8.7.3.5.2: a client that names no transfer syntax gets Explicit VR Little Endian; one that
says `*` gets what is there. Nothing is compressed for a client.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from node.dicom.codecs import CodecMissing, decode, name_of
from node.dicom.headers import read_instance
from node.errors import InvalidObject
from node.web.dicomweb.accept import ANY_SYNTAX, Wanted
from node.web.dicomweb.answers import Refused
from node.web.dicomweb.held import Held

DICOM = "application/dicom"
OCTETS = "application/octet-stream"

FRAME_TYPES = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
}
"""Media type of a compressed frame, PS3.18 Table 8.7.3-5."""


def objects_as(accepts: Sequence[Wanted], kept: Sequence[Held]) -> str:
    """Nothing ("") where these instances go as they are kept, else the transfer syntax that they are decoded to.

    Raises:
        Refused: the client takes neither.
    """
    for one in accepts:
        whole = one.media_type == "*/*" or (one.media_type == "multipart/related" and one.part_type in ("", DICOM))
        if not whole and one.media_type != DICOM:
            continue
        syntaxes = {held.transfer_syntax_uid for held in kept}
        if one.transfer_syntax == ANY_SYNTAX or syntaxes == {one.transfer_syntax or ExplicitVRLittleEndian}:
            return ""
        if one.transfer_syntax in ("", ExplicitVRLittleEndian):
            return ExplicitVRLittleEndian
    raise Refused(
        HTTPStatus.NOT_ACCEPTABLE,
        f'objects are sent as multipart/related; type="{DICOM}" as they are kept (transfer-syntax=*) or in Explicit VR '
        "Little Endian",
    )


def decoded_file(held: Held) -> bytes:
    """A Part 10 file in Explicit VR Little Endian.

    Raises:
        Refused: its pixels cannot be decoded.
    """
    instance = _read(held)
    syntax = UID(held.transfer_syntax_uid)
    if syntax.is_encapsulated and "PixelData" in instance:
        instance.PixelData = decoded_pixels(held, instance)
        instance["PixelData"].VR = "OB" if instance.BitsAllocated <= 8 else "OW"
        instance["PixelData"].is_undefined_length = False
    elif not syntax.is_little_endian:
        _swap(instance)
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    try:
        dcmwrite(buffer, instance, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except Exception as error:  # a malformed value makes pydicom raise nearly anything
        raise Refused(
            HTTPStatus.NOT_ACCEPTABLE,
            f"instance {held.sop_instance_uid} cannot be written in Explicit VR Little Endian ({error}): ask for "
            "transfer-syntax=*",
        ) from error
    return buffer.getvalue()


def decoded_pixels(held: Held, instance: Dataset | None = None) -> bytes:
    """Pixel Data as Explicit VR Little Endian has it, all frames.

    Raises:
        Refused: it has none, or they cannot be decoded.
    """
    instance = _read(held) if instance is None else instance
    syntax = UID(held.transfer_syntax_uid)
    if "PixelData" not in instance:
        raise Refused(HTTPStatus.NOT_FOUND, f"instance {held.sop_instance_uid} has no Pixel Data")
    if not syntax.is_encapsulated:
        data = bytes(instance.PixelData)
        return data if syntax.is_little_endian else _swapped(data, int(instance.BitsAllocated))
    try:
        pixels = decode(instance)
    except (InvalidObject, CodecMissing) as error:
        raise Refused(
            HTTPStatus.NOT_ACCEPTABLE,
            f"{error}; it is kept in {name_of(held.transfer_syntax_uid)}: ask for transfer-syntax=*",
        ) from error
    data = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    return data + b"\0" * (len(data) % 2)


def _read(held: Held) -> Dataset:
    try:
        return read_instance(held.path)
    except InvalidObject as error:
        raise Refused(HTTPStatus.NOT_ACCEPTABLE, f"{error}: ask for transfer-syntax=*") from error
    except FileNotFoundError as error:
        raise gone(held) from error


def gone(held: Held) -> Refused:
    """What is answered where the database knows an instance whose file is no longer there."""
    return Refused(HTTPStatus.GONE, f"the file of instance {held.sop_instance_uid} is no longer here")


def _swap(instance: Dataset) -> None:
    """Words of pixels and overlays are as they were in the file: pydicom swaps numbers alone."""
    bits = int(instance.get("BitsAllocated", 16))
    for element in instance.iterall():
        if element.VR == "OW" and isinstance(element.value, bytes):
            element.value = _swapped(element.value, bits if element.keyword == "PixelData" else 16)


def _swapped(data: bytes, bits: int) -> bytes:
    # 8-bit pixels in OW lie in words too, PS3.5 section 8.1.1.
    return np.frombuffer(data, np.dtype(f"u{max(bits // 8, 2)}")).byteswap().tobytes()
