"""How well the MTF is measured at a virtual patient's skin: f50 and f10 against the rendition's own, at the radius where the skin was read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.mtf.curve import crossing
from plugins.ct_harmonizer.mtf.measure import MTFRefused, measure_mtf
from plugins.ct_harmonizer.simulate.renditions import Rendition

FREQUENCY_PER_MM: NDArray[np.float64] = np.linspace(0.0, 2.0, 401)
JUDGED_F50_PER_MM = (0.3, 0.7)  # kernels that the bars are for


@dataclass(frozen=True, slots=True)
class Resolution:
    """Frequencies in cycles/mm where the MTF falls to a half and a tenth; None where the skin was refused."""

    f50_per_mm: float | None
    f10_per_mm: float | None
    true_f50_per_mm: float
    true_f10_per_mm: float
    refused: str | None  # why


def resolution(
    hu: NDArray[np.float32], spacing_mm: tuple[float, float, float], rendition: Rendition, skin_mm: float
) -> Resolution:
    """Measure a volume (slice, row, column) in HU.

    Args:
        hu: contiguous slices, as the rendition gives them.
        spacing_mm: of slices, rows, columns.
        rendition: how they were taken.
        skin_mm: where the truth is taken if no skin is read.
    """
    try:
        found = measure_mtf(hu, spacing_mm)
    except MTFRefused as refusal:
        return Resolution(None, None, *_truth(rendition, skin_mm), str(refusal))
    true = _truth(rendition, found.radius_mm[1])
    return Resolution(found.f50_per_mm.value, found.f10_per_mm.value, *true, None)


def _truth(rendition: Rendition, radius_mm: float) -> tuple[float, float]:
    curve = rendition.mtf(FREQUENCY_PER_MM, radius_mm)
    return crossing(FREQUENCY_PER_MM, curve, 0.5), crossing(FREQUENCY_PER_MM, curve, 0.1)
