"""Streaks of metal: tissue that something at the top of the scale has darkened beyond what any tissue is.

Metal by itself is no reason: a sternal wire, a stent, or contrast medium that comes undiluted down an arm's vein (some millilitres of it stand above 3000 HU) harm little.
What counts is what was done to the tissue about it: voxels outside the lungs that, blurred, are under -250 HU, far below fat, and in their slice hang together with the dense thing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DENSE_HU = 2500.0  # no bone is denser, and edge enhancement lifts none so far
STREAK_HU = -250.0
STREAK_MOST_ML = 5.0

_DENSE_LEAST_MM2 = 8.0  # in a slice
_BLUR_MM = 1.5
_RIM_MM = 3.0  # round the dense thing, where edge enhancement undershoots
_CLEAR_MM = 5.0  # of lung and of the air about the body, whose edges are partly filled
_AIR_HU = -500.0
_TOP_HU = 600.0  # what is denser is cut before the blur


def streaks(
    hu: NDArray[np.float32],
    missing: NDArray[np.bool_],
    lungs: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> float:
    """Volume in ml of a volume (slice, row, column) in HU that streaks have darkened."""
    voxels = sum(_darkened(*each, spacing_mm[1:]) for each in zip(hu, missing, lungs, strict=True))
    return float(voxels * np.prod(spacing_mm) / 1000)


def spoilt(
    hu: NDArray[np.float32],
    missing: NDArray[np.bool_],
    lungs: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> str | None:
    """Why streaks forbid to harmonize a volume, None where they do not."""
    found = streaks(hu, missing, lungs, spacing_mm)
    if found <= STREAK_MOST_ML:
        return None
    return (
        f"has {found:.1f} ml of tissue darkened under {STREAK_HU:g} HU by streaks of something denser than {DENSE_HU:g} HU,"
        f" at most {STREAK_MOST_ML:g} ml are allowed: metal spoils it"
    )


def _darkened(
    image: NDArray[np.float32], missing: NDArray[np.bool_], lung: NDArray[np.bool_], pixel_mm: tuple[float, float]
) -> int:
    """Voxels of a slice (row, column)."""
    labels, count = ndimage.label((image > DENSE_HU) & ~missing)
    large = np.bincount(labels.ravel(), minlength=count + 1) * (pixel_mm[0] * pixel_mm[1]) >= _DENSE_LEAST_MM2
    large[0] = False
    dense = large[labels]
    if not dense.any():
        return 0
    cut = np.where(missing, np.float32(-1000), np.clip(image, -1024, _TOP_HU))
    blurred = ndimage.gaussian_filter(cut, [_BLUR_MM / size for size in pixel_mm])
    outside = missing | ~ndimage.binary_fill_holes(blurred > _AIR_HU)
    spared = _grown(lung | outside, _CLEAR_MM, pixel_mm)
    rim = _grown(dense, _RIM_MM, pixel_mm)
    labels, count = ndimage.label(((blurred < STREAK_HU) & ~spared) | rim)
    touching = np.zeros(count + 1, bool)
    touching[labels[rim]] = True
    return int((touching[labels] & ~rim).sum())


def _grown(mask: NDArray[np.bool_], by_mm: float, pixel_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Grown by a square, which is many times faster than by a disc."""
    sides = [2 * round(by_mm / size) + 1 for size in pixel_mm]
    return np.asarray(ndimage.maximum_filter(mask.view(np.uint8), sides) > 0)
