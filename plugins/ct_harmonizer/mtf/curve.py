"""The modulation transfer function as a curve over physical frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FREQUENCY_PER_MM: NDArray[np.float64] = np.linspace(0.0, 1.6, 81)
"""Frequencies every measured curve is given at, in cycles/mm."""


_ENHANCED = 1.01  # a peak under it is no overshoot of a kernel


@dataclass(frozen=True, slots=True)
class Band:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MTFCurve:
    """MTF over frequency, 1 at zero frequency, with its 95 % band. All arrays of one length."""

    frequency_per_mm: NDArray[np.float64]  # rising from 0
    mtf: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def at(self, frequency_per_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The MTF at any frequencies; 0 beyond the last."""
        return np.interp(frequency_per_mm, self.frequency_per_mm, self.mtf, right=0.0)

    @property
    def f50_per_mm(self) -> float:
        return crossing(self.frequency_per_mm, self.mtf, 0.5)

    @property
    def f10_per_mm(self) -> float:
        return crossing(self.frequency_per_mm, self.mtf, 0.1)

    @property
    def peak(self) -> float:
        """Highest value: above 1 where the kernel enhances edges."""
        return float(self.mtf.max())

    @property
    def overshoot(self) -> Band | None:
        """The highest value with its 95 % interval, of a kernel that enhances edges: 1.01 at least, its lower bound over 1."""
        top = int(np.argmax(self.mtf))
        if self.mtf[top] < _ENHANCED or self.low[top] <= 1:
            return None
        return Band(float(self.mtf[top]), float(self.low[top]), float(self.high[top]))

    @property
    def peak_at_per_mm(self) -> float:
        """The frequency of the highest value; 0 without edge enhancement."""
        return float(self.frequency_per_mm[np.argmax(self.mtf)])


def crossing(frequency_per_mm: NDArray[np.float64], mtf: NDArray[np.float64], level: float) -> float:
    """The first frequency past the peak where the curve falls below the level, in cycles/mm; the last where it never does."""
    top = int(np.argmax(mtf))
    below = np.flatnonzero(mtf[top:] < level)
    if below.size == 0:
        return float(frequency_per_mm[-1])
    after = top + int(below[0])
    before = max(after - 1, 0)
    fall = mtf[before] - mtf[after]
    share = (mtf[before] - level) / fall if fall > 0 else 0.0
    return float(frequency_per_mm[before] + share * (frequency_per_mm[after] - frequency_per_mm[before]))


def on_grid(curve: MTFCurve, pixel_mm: tuple[float, float] | float, size: int = 64) -> NDArray[np.float32]:
    """The MTF (row, column), each `size` long, on the grid of `numpy.fft.fft2` of a square patch of the image.

    Frequencies are the image's own, up to its Nyquist frequency 1 / (2 pixel): element [0, 0] is frequency 0 (`fftshift` moves it
    to the middle), [0, k] lies at k / (size x pixel) cycles/mm. The curve counts along every direction.
    """
    rows_mm, columns_mm = (pixel_mm, pixel_mm) if isinstance(pixel_mm, (int, float)) else pixel_mm
    radius = np.hypot(np.fft.fftfreq(size, rows_mm)[:, None], np.fft.fftfreq(size, columns_mm)[None, :])
    return curve.at(radius).astype(np.float32)
