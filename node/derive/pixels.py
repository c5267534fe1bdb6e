"""HU as stored values: signed 16 bits, Rescale Slope 1, so that every stored integer is exactly an HU.

How a slice is stored follows from that slice of the source and never from others, so that one that comes late is stored
as if it had come with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.derive.elements import raw, unsigned
from node.errors import PermanentError

AIR_HU = -1024  # what most scanners clip at: a real pixel is seldom darker
PADDING_HU = -2000  # where the source's own padding cannot stay
_LOWEST, _HIGHEST = -(1 << 15), (1 << 15) - 1  # of a signed 16-bit value
_TOLERATED = 0.001  # share of the pixels of a slice that may be clipped


@dataclass(frozen=True, slots=True)
class Representation:
    """How HU are stored in a derived instance: HU = stored value + intercept.

    The intercept is 0 where all that the source could store fits so; else it shifts that range into 16 bits.
    """

    intercept_hu: int  # Rescale Intercept (0028,1052)
    padding: int | None  # Pixel Padding Value (0028,0120), a stored value; None where there is no padding


@dataclass(frozen=True, slots=True)
class Encoded:
    """A slice for Pixel Data (7FE0,0010)."""

    data: memoryview  # (row, column), little-endian, signed 16 bits
    clipped: int  # pixels that were brought into range


def representation(source: Dataset, hu: NDArray[np.float32], padding: NDArray[np.bool_]) -> Representation:
    """Choose for one source slice.

    Padding keeps the HU it has, so that the series look alike side by side, unless a real pixel could have that HU
    (some scanners pad with -1024): then it moves to -2000.

    Args:
        source: its header.
        hu: (row, column), HU, of the source.
        padding: (row, column), True where the pixel is padding; more than the header declares, where a scanner fills
            the corners outside its field with another value.
    """
    slope, intercept = _number(source, "RescaleSlope", 1.0), _number(source, "RescaleIntercept", 0.0)
    bits, signed = unsigned(source, "BitsStored") or 16, unsigned(source, "PixelRepresentation") == 1
    first, last = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    low, high = sorted((math.floor(slope * first + intercept), math.ceil(slope * last + intercept)))
    shift = 0
    if high - low <= _HIGHEST - _LOWEST:  # a wider range holds values no CT has; those are clipped, and counted
        shift = max(high - _HIGHEST, 0) or min(low - _LOWEST, 0)

    code = unsigned(source, "PixelPaddingValue")
    padded = hu[padding]
    if code is None and not padded.size:
        return Representation(shift, None)
    if padded.size and padded.min() == padded.max():
        padding_hu = round(float(padded[0]))
    elif code is not None:
        # Some scanners write it as US although pixels are signed.
        padding_hu = round(slope * (code - (1 << 16) if signed and code >= 1 << 15 else code) + intercept)
    else:
        padding_hu = PADDING_HU
    if padding_hu >= AIR_HU:
        padding_hu = PADDING_HU
    return Representation(shift, min(max(padding_hu - shift, _LOWEST), _HIGHEST - 1))


def encode(hu: NDArray[np.float32], padding: NDArray[np.bool_], into: Representation) -> Encoded:
    """Store one slice, rounded to whole HU.

    Args:
        hu: (row, column), HU; at padding pixels whatever it is, it is not used.
        padding: (row, column), True where the pixel is padding.
        into: its representation.

    Raises:
        PermanentError: a pixel is not a number, or more than a thousandth of them are out of range.
    """
    stored = np.rint(np.asarray(hu))
    if into.intercept_hu:
        stored -= into.intercept_hu
    padded = bool(padding.any())
    if padded:
        np.copyto(stored, 0, where=padding)
    lowest, highest, clipped = float(stored.min()), float(stored.max()), 0
    if not (math.isfinite(lowest) and math.isfinite(highest)):  # a NaN is both
        raise PermanentError("a harmonized pixel is not a number")
    if lowest < _LOWEST or highest > _HIGHEST:
        clipped = int(np.count_nonzero((stored < _LOWEST) | (stored > _HIGHEST)))
        if clipped > _TOLERATED * hu.size:
            low, high = _LOWEST + into.intercept_hu, _HIGHEST + into.intercept_hu
            raise PermanentError(f"{clipped} harmonized pixels are outside of {low} to {high} HU, which no CT has")
        np.clip(stored, _LOWEST, _HIGHEST, out=stored)
    values = stored.astype("<i2")
    if into.padding is not None:
        values[values == into.padding] += 1  # a real pixel must not be taken for padding: it moves by one HU
        if padded:
            values[padding] = into.padding
    return Encoded(values.reshape(-1).view(np.uint8).data, clipped)


def _number(source: Dataset, keyword: str, missing: float) -> float:
    text = raw(source, keyword).split(b"\\")[0].strip()
    return float(text) if text else missing
