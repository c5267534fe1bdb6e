"""The modulation transfer function as a curve over physical frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FREQUENCY_PER_MM: NDArray[np.float64] = np.linspace(0.0, 1.6, 81)
"""Frequencies every measured curve is given at, in cycles/mm."""


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
