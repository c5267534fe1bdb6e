"""How far the lungs' density figures lie from the truth, in the same voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.metrics import lung_metrics


@dataclass(frozen=True, slots=True)
class Density:
    """Figures of one image's lungs (`metrics.lung_metrics` has the formulas)."""

    laa950_percent: float
    perc15_hu: float
    mass_g: float
    mean_hu: float


@dataclass(frozen=True, slots=True)
class DensityError:
    """Image less truth."""

    laa950_points: float  # percentage points
    perc15_hu: float
    mass_g: float
    mass_percent: float  # of the true mass
    mean_hu: float


def density(hu: NDArray[np.float32], lungs: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Density:
    """Over the voxels of `lungs`, which must hold at least one; all arrays (slice, row, column)."""
    found = lung_metrics(hu, lungs, spacing_mm)
    return Density(found.laa950_percent, found.perc15_hu, found.mass_g, found.mean_hu)


def density_error(image: Density, truth: Density) -> DensityError:
    return DensityError(
        image.laa950_percent - truth.laa950_percent,
        image.perc15_hu - truth.perc15_hu,
        image.mass_g - truth.mass_g,
        100 * (image.mass_g / truth.mass_g - 1),
        image.mean_hu - truth.mean_hu,
    )
