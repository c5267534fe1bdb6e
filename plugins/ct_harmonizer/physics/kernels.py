"""Named reconstruction kernels as MTF curves: the targets, and the fall-back where the skin cannot be measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel by its MTF at isocentre, as published for a wire or an edge."""

    name: str
    f50_per_mm: float
    f10_per_mm: float
    peak: float = 1.0  # highest value of the MTF: above 1 where the kernel enhances edges

    def mtf(self, frequency_per_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The curve at any frequencies."""
        return curve(frequency_per_mm, self.f50_per_mm, self.f10_per_mm, self.peak)


def curve(
    frequency_per_mm: NDArray[np.float64], f50_per_mm: float, f10_per_mm: float, peak: float = 1.0
) -> NDArray[np.float64]:
    """`(1 + p (f/f50)^2) exp(-(f/a)^b)` through f50, f10 and the peak: MTF over frequency, 1 at zero.

    a and b follow in closed form from f50, f10 and p; p is found by bisection so that the maximum is `peak`.
    """
    if not 0 < f50_per_mm < f10_per_mm:
        raise ValueError(f"f50 must lie between 0 and f10, got f50 {f50_per_mm} and f10 {f10_per_mm}")
    ratio = f10_per_mm / f50_per_mm
    scan = np.linspace(0.0, 1.0, 201)

    def shape(x: NDArray[np.float64], p: float) -> NDArray[np.float64]:
        fall_50, fall_10 = np.log(2 * (1 + p)), np.log(10 * (1 + p * ratio**2))
        b = np.log(fall_10 / fall_50) / np.log(ratio)
        return np.asarray((1 + p * x**2) * np.exp(-fall_50 * x**b))

    low, high = 0.0, 20.0
    if peak > 1:
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if shape(scan, middle).max() < peak else (low, middle)
    return shape(np.abs(frequency_per_mm) / f50_per_mm, low)


def _siemens() -> tuple[Kernel, ...]:
    """Siemens Force (Br, Qr) and Sensation/Definition (B) kernels; neighbours of an index share a curve within 4 %."""
    return (
        Kernel("Br32", 0.300, 0.475),
        Kernel("Br40", 0.385, 0.626),
        Kernel("Br44", 0.434, 0.731),
        Kernel("Br49", 0.559, 0.759, 1.015),
        Kernel("Br59", 0.828, 1.044, 1.27),
        Kernel("Br62", 0.931, 1.177, 1.30),
        Kernel("Br64", 1.007, 1.275, 1.35),
        Kernel("Br69", 1.224, 1.558, 1.45),
        Kernel("Qr32", 0.298, 0.495),
        Kernel("Qr40", 0.382, 0.652),
        Kernel("Qr49", 0.548, 0.936),
        Kernel("Qr54", 0.661, 1.137),
        Kernel("Qr59", 0.80, 1.34),
        Kernel("Qr61", 0.86, 1.43),
        Kernel("B30", 0.35, 0.59),
        Kernel("B40", 0.438, 0.71),
        Kernel("B70", 0.75, 0.93, 1.415),
    )


_VENDORS: dict[str, tuple[Kernel, ...]] = {
    "SIEMENS": _siemens(),
    "PHILIPS": (Kernel("D", 0.50, 0.91),),
    "GE": (Kernel("SOFT", 0.37, 0.66), Kernel("STANDARD", 0.51, 0.80), Kernel("BONE", 0.81, 1.10)),
}

TARGETS: dict[str, Kernel] = {kernel.name: kernel for kernel in _siemens() if kernel.name not in {"B30", "B40", "B70"}}
"""Kernels that may be named as a target, beside f50 and f10 given as numbers."""
TARGETS |= {kernel.name: kernel for kernel in _siemens() if kernel.name in {"B30", "B40", "B70"}}


def look_up(manufacturer: str, convolution_kernel: str) -> Kernel | None:
    r"""The table's kernel for Manufacturer (0008,0070) and Convolution Kernel (0018,1210), None where it is not in it.

    A trailing letter and strength (`Br40d\\3`, `B70f`, `B31s`) do not change the family; an index that differs by at
    most one from a listed one takes its curve (`B31` is `B30`).
    """
    vendor = next((name for name in _VENDORS if name in manufacturer.upper()), None)
    wanted = convolution_kernel.strip().upper()
    if vendor is None or not wanted:
        return None
    if vendor != "SIEMENS":
        return next((kernel for kernel in _VENDORS[vendor] if kernel.name == wanted), None)
    parts = re.match(r"([A-Z]+)(\d{2})", wanted)
    if parts is None:
        return None
    family, index = parts[1], int(parts[2])
    near = [kernel for kernel in _VENDORS[vendor] if re.fullmatch(rf"{family}\d\d", kernel.name.upper())]
    best = min(near, key=lambda kernel: abs(int(kernel.name[-2:]) - index), default=None)
    return best if best is not None and abs(int(best.name[-2:]) - index) <= 1 else None
