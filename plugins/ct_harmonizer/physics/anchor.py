"""Anchoring: what varies slowly across a slice is the measurement's, not the network's.

Below some hundredths of a cycle per mm a scanner neither blurs nor adds noise worth the name, so there is nothing to learn, and a network that errs there moves
Perc15 and lung mass. With a the input, b the network's output, M the measured MTF and W(f) = exp(-ln 2 (f / 0.03 mm)^2),

    b' = b + F^-1(W F(m (a - c(M b)))) / F^-1(W F(m))

where m is 1 in lung and soft tissue and 0 in air, bone and metal; what is round the patient, neither tissue nor mostly surrounded by it, stays b. In bone and contrast medium, which training knows least, the same is done once more below 0.1 cycles/mm,
with m 1 where the scan blurred by 1.5 mm is over 150 HU, and added there alone, in three passes. Here c(x) = E[max(floor, N(x, s))] is what a scanner that clips would store of x on average: the
lift that clipping gives a noisy lung is no part of the patient and is not brought back. s is the deviation of a from M b in the lungs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from plugins.ct_harmonizer.physics.clipping import clipped_mean, upper_deviation
from plugins.ct_harmonizer.physics.filter import Gain, apply

CUTOFF_PER_MM = 0.03
_LUNG_HU = (-985.0, -500.0)
_SOFT_HU = (-200.0, 200.0)
_DENSE_HU, _DENSE_BLUR_MM, _DENSE_CUTOFF_PER_MM = 150.0, 1.5, 0.1
_DENSE_PASSES = 3  # the soft edge leaves some of what is missing to the next
_LEAST_WEIGHT = 0.05
_SURROUNDED = 0.5  # share of tissue round a pixel; air beside the skin has less, for the body is convex
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
    missing, share = _missing(before_hu - shown, lung | soft, CUTOFF_PER_MM, pixel_mm)
    slow = np.where(lung | soft | (share > _SURROUNDED), after_hu + missing, after_hu)
    widths = [_DENSE_BLUR_MM / size for size in pixel_mm]
    dense = (gaussian_filter(before_hu, widths) > _DENSE_HU) & ~unknown
    soft_edged = gaussian_filter(dense.astype(np.float32), widths)
    for _ in range(_DENSE_PASSES if dense.any() else 0):
        left = before_hu - apply(slow, unknown, blur, pixel_mm)
        slow += soft_edged * _missing(left, dense, _DENSE_CUTOFF_PER_MM, pixel_mm)[0]
    return np.where(unknown, before_hu, slow).astype(np.float32)


def _missing(
    difference: NDArray[np.float32], tissue: NDArray[np.bool_], cutoff_per_mm: float, pixel_mm: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What of a difference (row, column) in some tissue varies slowly, and the share of that tissue round each pixel."""
    frequency = np.linspace(0.0, 3.0, 3001)
    slow = Gain(frequency, np.exp(-np.log(2) * (frequency / cutoff_per_mm) ** 2))
    mask, nowhere = tissue.astype(np.float32), np.zeros(tissue.shape, bool)
    moved = apply(mask * difference, nowhere, slow, pixel_mm)
    share = apply(mask, nowhere, slow, pixel_mm)
    return np.asarray(moved / np.maximum(share, _LEAST_WEIGHT), np.float32), share
