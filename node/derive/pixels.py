"""HU as stored values: signed 16 bits, Rescale Slope 1, so that every stored integer is exactly an HU.

The representation follows from the header of the source alone and never from the values of the slices, so that a slice
that comes late gets the same one as the slices that were sent before it.
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
    """How HU are stored in a derived instance: HU = stored value + intercept."""

    intercept_hu: int  # Rescale Intercept (0028,1052)
    padding: int | None  # Pixel Padding Value (0028,0120), a stored value; None where there is no padding


@dataclass(frozen=True, slots=True)
class Encoded:
    """A slice for Pixel Data (7FE0,0010)."""

    data: bytes  # (row, column), little-endian, signed 16 bits
    clipped: int  # pixels that were brought into range


def representation(source: Dataset, *, padded: bool) -> Representation:
    """Choose for one source.

    Padding keeps the HU it had, so that the series look alike side by side, unless a real pixel could have that HU
    (some scanners pad with -1024): then it moves to -2000.

    Args:
        source: its header.
        padded: whether a pixel of this slice is padding.
    """
    slope, intercept = _number(source, "RescaleSlope", 1.0), _number(source, "RescaleIntercept", 0.0)
    bits, signed = unsigned(source, "BitsStored") or 16, unsigned(source, "PixelRepresentation") == 1
    first, last = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    low, high = sorted((math.floor(slope * first + intercept), math.ceil(slope * last + intercept)))
    fits = low > _LOWEST and high <= _HIGHEST
    # A range too wide for any shift holds values no CT has; those are clipped, and counted.
    shift = 0 if fits or high - low > _HIGHEST - _LOWEST else low - _LOWEST

    code = unsigned(source, "PixelPaddingValue")
    if code is None and not padded:
        return Representation(shift, None)
    if code is not None and signed and code >= 1 << 15:
        code -= 1 << 16  # some scanners write it as US although pixels are signed
    padding_hu = PADDING_HU if code is None else round(slope * code + intercept)
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
    real = ~padding
    if not np.isfinite(hu, where=real, out=np.ones(hu.shape, bool)).all():
        raise PermanentError("a harmonized pixel is not a number")
    stored = np.rint(np.where(real, hu, 0.0).astype(np.float64)) - into.intercept_hu
    outside = real & ((stored < _LOWEST) | (stored > _HIGHEST))
    clipped = int(np.count_nonzero(outside))
    if clipped > _TOLERATED * hu.size:
        low, high = _LOWEST + into.intercept_hu, _HIGHEST + into.intercept_hu
        raise PermanentError(f"{clipped} harmonized pixels are outside of {low} to {high} HU, which no CT has")
    values = np.clip(stored, _LOWEST, _HIGHEST).astype("<i2")
    if into.padding is not None:
        # A real pixel must not be taken for padding: it moves by one HU.
        values[real & (values == into.padding)] = into.padding + 1
        values[padding] = into.padding
    return Encoded(values.tobytes(), clipped)


def _number(source: Dataset, keyword: str, missing: float) -> float:
    text = raw(source, keyword).split(b"\\")[0].strip()
    return float(text) if text else missing
