"""What a scanner that stores nothing below a floor does to noisy values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

_CLIPPED_LEAST = 1e-4  # share of voxels at the lowest value that tells of clipping


def clipped_mean(mean_hu: NDArray[Any], floor_hu: float, noise_hu: float) -> NDArray[np.float64]:
    """E[max(floor, N(mean, noise))]: what averaging sees of values that a scanner has clipped."""
    z = (mean_hu - floor_hu) / noise_hu
    density = np.exp(-(np.minimum(np.abs(z), 30.0) ** 2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(floor_hu + (mean_hu - floor_hu) * special.ndtr(z) + noise_hu * density)


def upper_deviation(differences_hu: NDArray[np.float32]) -> float:
    """Standard deviation by the upper half of the values, which clipping does not touch; half a HU at least."""
    return max(float(np.quantile(differences_hu, special.ndtr(1.0)) - np.median(differences_hu)), 0.5)


def floor_of(hu: NDArray[np.float32], padding: NDArray[np.bool_]) -> float | None:
    """The HU below which the scanner stored nothing, where it clipped at all; of a volume or a slice."""
    known = hu[~padding & (hu > -1200)]
    if not known.size:
        return None
    lowest = float(known.min())
    return lowest if np.mean(known <= lowest + 0.5) > _CLIPPED_LEAST else None
