"""Reconstruction kernels, each given by the MTF that an image made with it has at the isocentre."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

_Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Kernel:
    """MTF(f) = (1 + b (f/c)^2) exp(-(f/c)^p): one peak of edge enhancement, then a fall.

    f50 and f10 in cycles/mm fix c and p; b is the edge enhancement, 0 for none. Made by `kernel`.
    """

    name: str
    f50_per_mm: float
    f10_per_mm: float
    enhancement: float  # b
    scale_per_mm: float  # c
    power: float  # p

    def mtf(self, frequency_per_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The modulation transfer at each frequency in cycles/mm; 1 at zero."""
        relative = np.abs(frequency_per_mm) / self.scale_per_mm
        return np.asarray((1 + self.enhancement * relative**2) * np.exp(-(relative**self.power)))

    @property
    def limit_per_mm(self) -> float:
        """The frequency above which the MTF is under 1/1000."""
        return self._falls_to(1e-3)

    @property
    def seen_per_mm(self) -> float:
        """The frequency above which the MTF is under 1/100: as far as a detector must see for this kernel."""
        return self._falls_to(1e-2)

    def _falls_to(self, level: float) -> float:
        return _falls_to(level, self.mtf, self.f10_per_mm, 10 * self.f10_per_mm)


@dataclass(frozen=True, slots=True)
class Windowed:
    """MTF(f) = (1 + b sin^2(pi f / c)) w(f / c) below the cut-off c and 0 beyond: windows that textbooks put on the ramp (Kak and Slaney 1988, chapter 3).

    No curve of `Kernel` is like one of these, which makes them kernels that nothing was trained on.
    """

    name: str
    window: Literal["hann", "cosine", "sinc"]
    cutoff_per_mm: float  # c
    enhancement: float = 0.0  # b

    def mtf(self, frequency_per_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The modulation transfer at each frequency in cycles/mm; 1 at zero."""
        relative = np.minimum(np.abs(frequency_per_mm) / self.cutoff_per_mm, 1.0)
        window = {
            "hann": 0.5 + 0.5 * np.cos(np.pi * relative),
            "cosine": np.cos(np.pi * relative / 2),
            "sinc": np.sinc(relative),
        }[self.window]
        return np.asarray((1 + self.enhancement * np.sin(np.pi * relative) ** 2) * np.maximum(window, 0.0))

    @property
    def f50_per_mm(self) -> float:
        """Where the MTF is 0.5."""
        return _falls_to(0.5, self.mtf, 0.0, self.cutoff_per_mm)

    @property
    def limit_per_mm(self) -> float:
        """The frequency above which there is nothing."""
        return self.cutoff_per_mm

    @property
    def seen_per_mm(self) -> float:
        """The frequency above which the MTF is under 1/100: as far as a detector must see for this kernel."""
        return _falls_to(1e-2, self.mtf, 0.0, self.cutoff_per_mm)


AnyKernel = Kernel | Windowed


def kernel(name: str, f50_per_mm: float, f10_per_mm: float, enhancement: float = 0.0) -> Kernel:
    """A kernel of the given f50 and f10 (MTF 0.5 and 0.1) in cycles/mm.

    Raises:
        ValueError: no curve of this family falls from 0.5 to 0.1 between these two frequencies.
    """

    def crossings(power: float) -> tuple[float, float]:
        def curve(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray((1 + enhancement * x**2) * np.exp(-(x**power)))

        half = _falls_to(0.5, curve, 0.5, 20.0)
        return half, _falls_to(0.1, curve, half, 40.0)

    def mismatch(power: float) -> float:
        half, tenth = crossings(power)
        return tenth / half - f10_per_mm / f50_per_mm

    steepest, flattest = 14.0, 1.2
    if not 0 < f50_per_mm < f10_per_mm or mismatch(steepest) > 0 or mismatch(flattest) < 0:
        raise ValueError(f"kernel {name}: no curve has f50 {f50_per_mm} and f10 {f10_per_mm} cycles/mm")
    power = float(brentq(mismatch, flattest, steepest, xtol=1e-6))
    return Kernel(name, f50_per_mm, f10_per_mm, enhancement, f50_per_mm / crossings(power)[0], power)


def peaked(name: str, f50_per_mm: float, f10_per_mm: float, peak: float = 1.0) -> Kernel:
    """The kernel of the given f50 and f10 whose MTF rises to `peak`, 1 where there is no overshoot.

    Raises:
        ValueError: as `kernel`.
    """
    frequency = np.linspace(0, f10_per_mm, 200)
    made = kernel(name, f50_per_mm, f10_per_mm)
    low, high = 0.0, 30.0
    while peak > 1 and high - low > 1e-3:  # the peak rises with the enhancement until no curve of the family is left
        middle = (low + high) / 2
        try:
            tried = kernel(name, f50_per_mm, f10_per_mm, middle)
        except ValueError:
            high = middle
            continue
        if tried.mtf(frequency).max() > peak:
            high = middle
        else:
            low, made = middle, tried
    if made.mtf(frequency).max() < peak - 0.01:
        raise ValueError(f"kernel {name}: no curve of f50 {f50_per_mm} and f10 {f10_per_mm} cycles/mm rises to {peak}")
    return made


def _falls_to(level: float, curve: _Curve, low: float, high: float) -> float:
    """The last place in (low, high) where the curve falls through the level."""
    grid = np.linspace(low, high, 2000)
    above = np.flatnonzero(curve(grid) > level)
    start = int(above[-1]) if above.size else 0
    return float(brentq(lambda x: float(curve(np.array(x))) - level, grid[start], grid[min(start + 1, grid.size - 1)]))


# After the public figures for Siemens Br40 and Br59; SHARP lies between Br49 and Br59.
SOFT = kernel("Soft", 0.385, 0.626)
SHARP = kernel("Sharp", 0.68, 0.90, enhancement=1.2)
SHARPEST = kernel("Sharpest", 0.828, 1.044, enhancement=1.6)
