"""Decoding the pixels of one instance: which codec decodes which transfer syntax (PS3.5 Annex A).

Nothing a file says of itself is believed before it is held against its header: a stream of a few bytes may claim to hold
an image of gigabytes, and the libraries would allocate it.
"""

from __future__ import annotations

import struct
import threading
from contextlib import nullcontext
from functools import cache
from importlib.machinery import PathFinder
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from node.dicom.gdcm_process import decode_jpeg
from node.dicom.values import number, uid_of
from node.errors import InvalidObject, PermanentError

MAX_PIXELS = 8192 * 8192
"""The largest image that is decoded; CT images have 512 x 512 to 2048 x 2048."""

_BUILT_IN = "pydicom"
_GDCM, _PYJPEGLS, _OPENJPEG = "python-gdcm", "pyjpegls", "pylibjpeg-openjpeg"
_MODULES = {_BUILT_IN: ("pydicom",), _GDCM: ("gdcm",), _PYJPEGLS: ("jpeg_ls",), _OPENJPEG: ("pylibjpeg", "openjpeg")}
OPENJPEG = threading.RLock()
"""Held while OpenJPEG's bindings work: threads that encoded at once crashed the process."""
_PYDICOM_PLUGIN = {_PYJPEGLS: "pyjpegls", _OPENJPEG: "pylibjpeg"}

_CODECS = {
    "1.2.840.10008.1.2": _BUILT_IN,  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1": _BUILT_IN,  # Explicit VR Little Endian
    "1.2.840.10008.1.2.1.99": _BUILT_IN,  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2": _BUILT_IN,  # Explicit VR Big Endian, retired
    "1.2.840.10008.1.2.5": _BUILT_IN,  # RLE Lossless
    "1.2.840.10008.1.2.4.50": _GDCM,  # JPEG Baseline, process 1
    "1.2.840.10008.1.2.4.51": _GDCM,  # JPEG Extended, processes 2 and 4
    "1.2.840.10008.1.2.4.53": _GDCM,  # JPEG Spectral Selection, processes 6 and 8, retired
    "1.2.840.10008.1.2.4.55": _GDCM,  # JPEG Full Progression, processes 10 and 12, retired
    "1.2.840.10008.1.2.4.57": _GDCM,  # JPEG Lossless, process 14
    "1.2.840.10008.1.2.4.70": _GDCM,  # JPEG Lossless, process 14 selection value 1
    "1.2.840.10008.1.2.4.80": _PYJPEGLS,  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": _PYJPEGLS,  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": _OPENJPEG,  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": _OPENJPEG,  # JPEG 2000
    "1.2.840.10008.1.2.4.201": _OPENJPEG,  # High-Throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202": _OPENJPEG,  # High-Throughput JPEG 2000 lossless, RPCL
    "1.2.840.10008.1.2.4.203": _OPENJPEG,  # High-Throughput JPEG 2000
}

_NAMES = {
    # The standard's since pydicom's dictionary was made.
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}

_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # ISO 10918-1 Table B.1, ISO 14495-1
_END_OF_IMAGE = b"\xff\xd9"  # of JPEG 2000 too
_SIZ = b"\xff\x4f\xff\x51"  # ISO 15444-1 Annex A: start of codestream, then the image's size


class CodecMissing(PermanentError):
    """An instance in a transfer syntax that no codec of this node decodes."""

    def __init__(self, syntax: str, sop_instance_uid: str | None) -> None:
        super().__init__(
            f"instance {sop_instance_uid or 'of unknown UID'} is in the transfer syntax {name_of(syntax)}, which no codec "
            "of this node decodes; the series is kept and not processed"
        )


def available() -> dict[str, str | None]:
    """Name of each transfer syntax that can be decoded -> the package that does it; None where that is not installed."""
    return {name_of(syntax): codec_of(syntax) for syntax in _CODECS}


def codec_of(syntax: str) -> str | None:
    """The package that decodes a transfer syntax; None where there is none, or it is not installed."""
    codec = _CODECS.get(syntax)
    return codec if codec and all(map(_installed, _MODULES[codec])) else None


@cache
def _installed(module: str) -> bool:
    return PathFinder.find_spec(module) is not None


def name_of(syntax: str) -> str:
    """The standard's name of a transfer syntax, with its UID."""
    name = _NAMES.get(syntax, UID(syntax).name)
    return syntax if name == syntax else f"{name} ({syntax})"


def decode(instance: Dataset) -> NDArray[np.integer[Any]]:
    """The stored pixel values of a single-frame monochrome instance: (row, column), as they are before rescaling.

    Raises:
        CodecMissing: no codec decodes its transfer syntax.
        InvalidObject: its Pixel Data is missing, cut off or corrupt, or is not what the header says.
    """
    uid, syntax = uid_of(instance), instance.file_meta.TransferSyntaxUID
    codec = codec_of(syntax)
    if codec is None:
        raise CodecMissing(syntax, uid)
    rows, columns = _size(instance)
    try:
        if syntax.is_encapsulated and syntax in _JPEG_FAMILY:
            _hold_stream_against_header(_stream(instance), instance)
        with OPENJPEG if codec == _OPENJPEG else nullcontext():
            pixels = _gdcm(instance) if codec == _GDCM else _pydicom(instance, _PYDICOM_PLUGIN.get(codec, ""))
    except Exception as error:  # over a corrupt stream a codec raises nearly anything
        reason = f"its Pixel Data cannot be decoded from {name_of(syntax)}: {' '.join(str(error).split())}"
        raise InvalidObject(reason, sop_instance_uid=uid) from error
    if pixels.shape != (rows, columns):
        raise InvalidObject(f"its pixels are {pixels.shape}, its header says {rows} x {columns}", sop_instance_uid=uid)
    return pixels


_JPEG_FAMILY = frozenset(syntax for syntax, codec in _CODECS.items() if codec != _BUILT_IN)


def _size(instance: Dataset) -> tuple[int, int]:
    rows, columns, frames, samples = (
        int(number(instance, keyword) or missing)
        for keyword, missing in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1), ("SamplesPerPixel", 1))
    )
    if "PixelData" not in instance:
        raise InvalidObject("it has no Pixel Data (7FE0,0010)", sop_instance_uid=uid_of(instance))
    if frames != 1 or samples != 1 or not 0 < rows * columns <= MAX_PIXELS:
        raise InvalidObject(
            f"it is no single monochrome image of at most {MAX_PIXELS} pixels: "
            f"{frames} frames of {rows} x {columns} with {samples} samples",
            sop_instance_uid=uid_of(instance),
        )
    return rows, columns


def _stream(instance: Dataset) -> bytes:
    return get_frame(instance.PixelData, 0, number_of_frames=1)


def _hold_stream_against_header(stream: bytes, instance: Dataset) -> None:
    find = _in_siz if _SIZ in stream[:4096] else _in_start_of_frame
    rows, columns, components, precision = find(stream)
    if (rows, columns, components) != (instance.Rows, instance.Columns, 1) or precision > instance.BitsAllocated:
        raise ValueError(
            f"the stream holds {rows} x {columns} pixels of {components} components of {precision} bits, the header says "
            f"{instance.Rows} x {instance.Columns} of 1 of {instance.BitsAllocated}"
        )
    # libjpeg would fill the rest with grey, and say nothing. Encoders pad to an even length with 00H or FFH.
    if not stream.rstrip(b"\0\xff").endswith(_END_OF_IMAGE):
        raise ValueError("the stream is cut off")


def _in_siz(stream: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components and precision of a JPEG 2000 codestream."""
    start = stream.index(_SIZ) + len(_SIZ) + 4
    right, bottom, left, top = (int.from_bytes(stream[start + 4 * n : start + 4 * n + 4]) for n in range(4))
    components = int.from_bytes(stream[start + 32 : start + 34])
    return bottom - top, right - left, components, (stream[start + 34] & 0x7F) + 1


def _in_start_of_frame(stream: bytes) -> tuple[int, int, int, int]:
    """The same of a JPEG or JPEG-LS stream."""
    place = 2
    while place + 10 <= len(stream) and stream[place] == 0xFF:
        marker, length = stream[place + 1], int.from_bytes(stream[place + 2 : place + 4])
        if marker in _START_OF_FRAME:
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, place + 4)
            return rows, columns, components, precision
        place += 1 if marker == 0xFF else 2 + length  # FFH may be repeated before a marker
    raise ValueError("the stream has no start of frame")


def _pydicom(instance: Dataset, plugin: str) -> NDArray[np.integer[Any]]:
    decoder = get_decoder(instance.file_meta.TransferSyntaxUID)
    pixels, _ = decoder.as_array(instance, raw=True, decoding_plugin=plugin)
    return cast("NDArray[np.integer[Any]]", pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


def _gdcm(instance: Dataset) -> NDArray[np.integer[Any]]:
    allocated, signed = int(instance.BitsAllocated), bool(instance.PixelRepresentation)
    data = decode_jpeg(
        _stream(instance),
        instance.file_meta.TransferSyntaxUID,
        rows=instance.Rows,
        columns=instance.Columns,
        bits_allocated=allocated,
        bits_stored=instance.BitsStored,
        signed=signed,
    )
    pixels = np.frombuffer(data, f"<{'i' if signed else 'u'}{allocated // 8}").reshape(instance.Rows, instance.Columns)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
