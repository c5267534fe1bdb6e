"""Curves of known MTF to measure: a truth that does not flatter the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, special

from plugins.ct_harmonizer.mtf.curve import crossing
from plugins.ct_harmonizer.simulate.kernels import kernel

MTF = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_FINE_PER_MM: NDArray[np.float64] = np.linspace(0, 2, 4001)


@dataclass(frozen=True, slots=True)
class Truth:
    """An MTF, given by its name and a curve over frequency in cycles/mm."""

    name: str
    mtf: MTF

    def stretched(self, factor: float) -> Truth:
        """The same shape with all frequencies `factor` times higher."""
        return Truth(self.name, lambda f: self.mtf(f / factor))

    @property
    def f50_per_mm(self) -> float:
        return crossing(_FINE_PER_MM, self.mtf(_FINE_PER_MM), 0.5)

    @property
    def f10_per_mm(self) -> float:
        return crossing(_FINE_PER_MM, self.mtf(_FINE_PER_MM), 0.1)

    @property
    def peak(self) -> float:
        return float(self.mtf(_FINE_PER_MM).max())


def _gaussian(f50_per_mm: float) -> MTF:
    return lambda f: np.asarray(np.exp(-np.log(2) * (f / f50_per_mm) ** 2))


def _hann(end_per_mm: float, aperture_mm: float) -> MTF:
    """A Hann window on the ramp, and the detector's aperture."""

    def mtf(f: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.clip(np.abs(f) / end_per_mm, 0, 1)
        return np.asarray(0.5 * (1 + np.cos(np.pi * inside)) * np.sinc(f * aperture_mm))

    return mtf


def _tailed(wide_per_mm: float, narrow_per_mm: float, share: float) -> MTF:
    """A sum of two Gaussians: a sharp core with a broad foot, as a focal spot with wings gives."""
    first, second = _gaussian(wide_per_mm), _gaussian(narrow_per_mm)
    return lambda f: share * first(f) + (1 - share) * second(f)


def _bone(edge_per_mm: float, width_per_mm: float, lift: float, at_per_mm: float) -> MTF:
    """Edge enhancement as a bump, and a fall like the error function's."""

    def mtf(f: NDArray[np.float64]) -> NDArray[np.float64]:
        bump = 1 + lift * np.sin(np.pi / 2 * np.clip(np.abs(f) / at_per_mm, 0, 2)) ** 2
        fall = special.erfc((np.abs(f) - edge_per_mm) / width_per_mm) / special.erfc(-edge_per_mm / width_per_mm)
        return np.asarray(bump * fall)

    return mtf


def _points(*pairs: tuple[float, float]) -> MTF:
    """A smooth line through published points (frequency in cycles/mm, MTF), 0 past the last."""
    line = interpolate.PchipInterpolator(*np.array([(0.0, 1.0), *pairs]).T, extrapolate=False)
    return lambda f: np.nan_to_num(np.asarray(line(np.abs(f))))


KERNELS: tuple[Truth, ...] = (
    Truth("soft", kernel("soft", 0.30, 0.475).mtf),
    Truth("body", kernel("body", 0.385, 0.626).mtf),
    Truth("gaussian", _gaussian(0.40)),
    Truth("hann", _hann(0.90, 0.5)),
    Truth("tailed", _tailed(0.45, 0.85, 0.7)),
    # B40-like, lifted by a few percent; B70-like, peak 1.4
    Truth("points", _points((0.1, 1.0), (0.2, 0.98), (0.3, 0.86), (0.4, 0.62), (0.5, 0.35), (0.6, 0.15), (0.75, 0.0))),
    Truth("lung", kernel("lung", 0.56, 0.76, 0.35).mtf),
    Truth("quantitative", _bone(0.55, 0.32, 0.0, 0.3)),
    Truth("sharp", kernel("sharp", 0.68, 0.90, 1.2).mtf),
    Truth("bone", _bone(0.58, 0.22, 0.35, 0.35)),
    Truth("edge", _points((0.1, 1.06), (0.25, 1.27), (0.4, 1.41), (0.5, 1.30), (0.6, 0.98), (0.75, 0.5), (0.93, 0.1), (1.1, 0.0))),
    Truth("sharpest", kernel("sharpest", 0.828, 1.044, 1.6).mtf),
)  # fmt: skip
