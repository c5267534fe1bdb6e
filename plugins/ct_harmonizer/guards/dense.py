"""Dense tissue after harmonization: what was a compact bright region must be as bright as it was.

Contrast medium, calcium and bone are a small part of what training shows, and no mean over soft tissue sees what becomes of a vein full of it.
The harmonized slice b is blurred as the scan was (network) or the scan a filtered as the slice was (classical), both by the low-pass of `physics.guard`; then over every box of 1 ml
within dense tissue (over 150 HU in the blurred scan, 3 mm from its border) the mean of the difference must be at most 20 HU or 5 % of how far the scan there stands above water, whichever is more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from plugins.ct_harmonizer.physics.filter import Gain, apply
from plugins.ct_harmonizer.physics.guard import low_pass

DENSE_HU, TOP_HU = 150.0, 2500.0  # above the latter the scale may have cut what was there
LIMIT_HU, LIMIT_SHARE = 20.0, 0.05
BOX_MM = 10.0  # a side of a box of 1 ml
BORDER_MM = 3.0


@dataclass(frozen=True, slots=True)
class Moved:
    """The place of dense tissue that moved most, measured by what is allowed there."""

    by_hu: float
    from_hu: float
    allowed_hu: float
    slice: int  # from 0

    def failure(self) -> str | None:
        """What is over its limit, in words."""
        if abs(self.by_hu) <= self.allowed_hu:
            return None
        return (
            f"dense tissue (contrast medium, calcium or bone) of {self.from_hu:.0f} HU on slice {self.slice + 1}: moved by {self.by_hu:+.0f} HU"
            f" over 1 ml, at most {self.allowed_hu:.0f} HU are allowed"
        )


def moved(
    before_hu: NDArray[np.float32],
    after_hu: NDArray[np.float32],
    missing: NDArray[np.bool_],
    *,
    gain: Gain | None,
    blur: Gain | None,
    f50_per_mm: float,
    spacing_mm: tuple[float, float, float],
) -> Moved | None:
    """Compare two volumes (slice, row, column) in HU; None where there is no millilitre of dense tissue.

    `gain` and `blur` are as in `physics.guard.consistency`.
    """
    pixel_mm = spacing_mm[1:]
    with_gain, plain = low_pass(f50_per_mm, gain), low_pass(f50_per_mm)
    core = np.zeros(before_hu.shape, np.bool_)
    difference, level = (np.zeros(before_hu.shape, np.float32) for _ in range(2))
    reach = [max(1, round(BORDER_MM / size)) for size in pixel_mm]
    for index, (a, b, gone) in enumerate(zip(before_hu, after_hu, missing, strict=True)):
        smooth = ndimage.gaussian_filter(a, [1.5 / size for size in pixel_mm])
        dense = (smooth > DENSE_HU) & (smooth < TOP_HU) & ~gone
        down = ndimage.binary_erosion(dense, np.ones((2 * reach[0] + 1, 1), bool))
        core[index] = ndimage.binary_erosion(down, np.ones((1, 2 * reach[1] + 1), bool))
        if not core[index].any():
            continue
        shown = b if blur is None else apply(b, gone, blur, pixel_mm)
        level[index] = apply(a, gone, with_gain, pixel_mm)
        difference[index] = apply(shown, gone, plain, pixel_mm) - level[index]
    return _worst(core, difference, level, spacing_mm)


def _worst(
    core: NDArray[np.bool_],
    difference: NDArray[np.float32],
    level: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
) -> Moved | None:
    """Over boxes of 1 ml, of which dense tissue fills a half or more."""
    box = [max(1, round(BOX_MM / size)) for size in spacing_mm]
    share = ndimage.uniform_filter(core.astype(np.float32), box, mode="constant")
    whole = core & (share >= 0.5)
    if not whole.any():
        return None
    by, at = (
        ndimage.uniform_filter(np.where(core, of, np.float32(0)), box, mode="constant")[whole] / share[whole]
        for of in (difference, level)
    )
    allowed = np.maximum(LIMIT_HU, LIMIT_SHARE * at)
    over = np.nan_to_num(np.abs(by) / allowed, nan=np.inf)
    top = int(np.argmax(over))
    return Moved(float(by[top]), float(at[top]), float(allowed[top]), int(np.argwhere(whole)[top][0]))
