"""Data consistency: what a slice showed at low frequencies, the harmonized slice must show too.

Both the input a and the output b are blurred by one and the same low-pass

    W(f) = exp(-ln 2 (f / f_c)^2),    f_c = 0.5 f50 of the measured MTF

after the known change of resolution is taken out. Of a filter it is known forwards: a is multiplied by the filter's own gain G(f). Of a network, which aims at the
patient without blur, it is known backwards: b is multiplied by the measured MTF M(f), and noise and clipping are put back, for a scanner that stores
nothing below a floor lifts the mean of a noisy lung: b is replaced by the mean of max(floor, N(M b, s)), with s the deviation of a from M b in that tissue. Then, over the voxels of each tissue,

    D = | mean( F^-1(W M F(b)) - F^-1(W G F(a)) ) |

must be at most 2 HU in lung and 3 HU in soft tissue. A filter that does what it says leaves D near zero; a network, or a fault, that moves HU does
not. Beside it the plain shift of the tissue's mean HU, without G and W, has the same limits: neither must move a mean but by what clipping had.
Tissue masks are eroded, so that voxels near an edge, which a change of resolution does move, are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plugins.ct_harmonizer.physics.clipping import clipped_mean, floor_of, upper_deviation
from plugins.ct_harmonizer.physics.filter import Gain, apply

LUNG_LIMIT_HU, SOFT_LIMIT_HU = 2.0, 3.0
_SOFT_HU = (0.0, 100.0)
_ERODE_MM = 3.0
_LEAST_VOXELS = 200


@dataclass(frozen=True, slots=True)
class Shift:
    """Mean differences, harmonized less expected, in HU; None where a tissue has too few voxels to say."""

    lung_low_hu: float | None  # D, below 0.5 f50
    soft_low_hu: float | None
    lung_mean_hu: float | None  # plain shift of the mean
    soft_mean_hu: float | None

    def failures(self) -> tuple[str, ...]:
        """What is over its limit, in words."""
        checks = (
            ("lung, below half of f50", self.lung_low_hu, LUNG_LIMIT_HU),
            ("soft tissue, below half of f50", self.soft_low_hu, SOFT_LIMIT_HU),
            ("lung, mean", self.lung_mean_hu, LUNG_LIMIT_HU),
            ("soft tissue, mean", self.soft_mean_hu, SOFT_LIMIT_HU),
        )
        return tuple(
            f"{name}: moved by {value:+.2f} HU, at most {limit:g} HU are allowed"
            for name, value, limit in checks
            if value is not None and not abs(value) <= limit  # NaN fails
        )


def low_pass(f50_per_mm: float, gain: Gain | None = None) -> Gain:
    """W(f), times the gain where one is given."""
    frequency = np.linspace(0.0, 3.0, 601)
    curve = np.exp(-np.log(2) * (frequency / (0.5 * f50_per_mm)) ** 2)
    if gain is not None:
        curve = curve * np.interp(frequency, gain.frequency_per_mm, gain.gain)
    return Gain(frequency, curve)


def consistency(
    before_hu: NDArray[np.float32],
    after_hu: NDArray[np.float32],
    padding: NDArray[np.bool_],
    lungs: NDArray[np.bool_],
    *,
    gain: Gain | None = None,
    blur: Gain | None = None,
    f50_per_mm: float,
    pixel_mm: tuple[float, float],
) -> Shift:
    """Compare two volumes (slice, row, column) in HU over the lungs given and over soft tissue, slice by slice.

    `gain` is what a filter did to the first, `blur` what the scanner did to what the second shows; one of them, or neither.
    """
    with_gain, plain = low_pass(f50_per_mm, gain), low_pass(f50_per_mm)
    floor = floor_of(before_hu, padding) if blur is not None else None
    reach = [max(1, round(_ERODE_MM / size)) for size in pixel_mm]
    block = np.ones((2 * reach[0] + 1, 2 * reach[1] + 1), bool)
    sums = np.zeros((2, 3))  # tissue; voxels, low-frequency difference, plain difference
    for a, b, pad, lung in zip(before_hu, after_hu, padding, lungs, strict=True):
        smooth = ndimage.gaussian_filter(a, [1.5 / size for size in pixel_mm])
        soft = (smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1]) & ~pad
        masks = [ndimage.binary_erosion(mask, block) for mask in (lung & ~pad, soft)]
        if not any(mask.any() for mask in masks):
            continue
        shown = b if blur is None else _as_scanned(a, apply(b, pad, blur, pixel_mm), masks, floor)
        low = apply(shown, pad, plain, pixel_mm) - apply(a, pad, with_gain, pixel_mm)
        for tissue, mask in enumerate(masks):
            sums[tissue] += (mask.sum(), low[mask].sum(dtype=np.float64), (shown - a)[mask].sum(dtype=np.float64))
    means = [[float(total / row[0]) if row[0] >= _LEAST_VOXELS else None for total in row[1:]] for row in sums]
    return Shift(means[0][0], means[1][0], means[0][1], means[1][1])


def _as_scanned(
    before_hu: NDArray[np.float32],
    blurred_hu: NDArray[np.float32],
    masks: list[NDArray[np.bool_]],
    floor_hu: float | None,
) -> NDArray[np.float32]:
    """The mean of what a scanner would have stored of this, with the noise that each tissue has before it was clipped."""
    if floor_hu is None:
        return blurred_hu
    shown = blurred_hu.copy()
    for mask in masks:
        if not mask.any():
            continue
        noise = upper_deviation((before_hu - blurred_hu)[mask])
        shown[mask] = clipped_mean(blurred_hu, floor_hu, noise)[mask]
    return shown.astype(np.float32)
