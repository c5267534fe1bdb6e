"""Anchoring: what varies slowly across a slice is the measurement's, not the network's.

Below some hundredths of a cycle per mm a scanner neither blurs nor adds noise worth the name, so there is nothing to learn, and a network that errs there moves
Perc15 and lung mass. With a the input, b the network's output, M the measured MTF and W(f) = exp(-ln 2 (f / 0.03 mm)^2),

    b' = b + F^-1(W F(m (a - c(M b)))) / F^-1(W F(m))

where m is 1 in lung and soft tissue and 0 in air, bone and metal, and c(x) = E[max(floor, N(x, s))] is what a scanner that clips would store of x on average: the
lift that clipping gives a noisy lung is no part of the patient and is not brought back. s is the deviation of a from M b in the lungs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.physics.clipping import clipped_mean, upper_deviation
from plugins.ct_harmonizer.physics.filter import Gain, apply

CUTOFF_PER_MM = 0.03
_LUNG_HU = (-985.0, -500.0)
_SOFT_HU = (-200.0, 200.0)
_LEAST_WEIGHT = 0.05
_LEAST_VOXELS = 200


def anchored(
    before_hu: NDArray[np.float32],
    after_hu: NDArray[np.float32],
    unknown: NDArray[np.bool_],
    *,
    blur: Gain,
    floor_hu: float | None,
    pixel_mm: tuple[float, float],
) -> NDArray[np.float32]:
    """One slice (row, column) in HU; `floor_hu` is what the scanner clipped at, None where it did not clip."""
    blurred = apply(after_hu, unknown, blur, pixel_mm)
    lung = (blurred > _LUNG_HU[0]) & (blurred < _LUNG_HU[1]) & ~unknown
    soft = (blurred > _SOFT_HU[0]) & (blurred < _SOFT_HU[1]) & ~unknown
    shown = blurred
    if floor_hu is not None and lung.sum() >= _LEAST_VOXELS:
        noise = upper_deviation(before_hu[lung] - blurred[lung])
        shown = np.where(lung, clipped_mean(blurred, floor_hu, noise), blurred)
    tissue = (lung | soft).astype(np.float32)
    slow, nowhere = _low_pass(), np.zeros(unknown.shape, bool)
    moved = apply(tissue * (before_hu - shown), nowhere, slow, pixel_mm)
    weight = np.maximum(apply(tissue, nowhere, slow, pixel_mm), _LEAST_WEIGHT)
    return np.where(unknown, before_hu, after_hu + moved / weight).astype(np.float32)


def _low_pass() -> Gain:
    frequency = np.linspace(0.0, 3.0, 3001)
    return Gain(frequency, np.exp(-np.log(2) * (frequency / CUTOFF_PER_MM) ** 2))
