"""Does the noise fit the curve that is handed over, and is it like what the network was trained on?

Filtered back-projection of a kernel with the MTF K at the isocentre leaves noise of the spectrum `NPS(f) ~ f K(f)^2`, folded at the image's sampling frequency (Riederer,
Pelc and Chesler, Phys Med Biol 23:446, 1978; Hanson, Med Phys 6:441, 1979). The noise so tells the kernel without any edge, and a curve of another kernel is found by the ratio

    r = mean frequency of the measured spectrum / mean frequency of f M(f)^2, folded, less what small patches lose

M at the skin is softer than K by the focal spot seen from the side, so r spreads more there than at the isocentre. Iterative reconstruction, as simulated, hardly moves r.

The ranges are the extremes of 720 renditions, 3 slices and 8 renditions of a patient of `simulate.dataset.random_session`: of 50 patients, seeds 500000 to 500049, when there was neither contrast medium nor were arms
down, and of 40 from 500000 on at commit e1d762c, when there were both. 610 of them show enough soft tissue for a spectrum. The second draw moved one end alone, r at the isocentre from 1.12. `python -m plugins.ct_harmonizer.guards`
draws by the same code, of today's patients, and prints them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BIN_PER_MM = 0.025


class Range(NamedTuple):
    """Both ends belong to it."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def wider(self, share: float) -> Range:
        return Range(self.low * (1 - share), self.high * (1 + share))


# What the draws hold; each is widened by MARGIN, for extremes of another 400 lie farther out.
DRAWN_AT_SKIN = Range(0.87, 1.52)  # r
DRAWN_AT_ISOCENTRE = Range(0.92, 1.14)  # r
DRAWN_LEVEL_HU = Range(3.0, 535.0)
DRAWN_F50_PER_MM = Range(0.22, 0.94)  # at the skin
MARGIN = 0.05


def mean_frequency(mtf: NDArray[np.float64], frequency_per_mm: NDArray[np.float64], pixel_mm: float) -> float:
    """Mean frequency in cycles/mm of the noise that a kernel of this MTF leaves, as `mtf.noise` reads it from images of these pixels."""
    grid = np.fft.fftfreq(64, pixel_mm)
    row, column = np.meshgrid(grid, grid, indexing="ij")
    power = np.zeros(row.shape)
    reach = int(np.ceil(frequency_per_mm[-1] * pixel_mm))
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            radius = np.hypot(row + down / pixel_mm, column + across / pixel_mm)
            power += radius * np.interp(radius, frequency_per_mm, mtf, right=0.0) ** 2
    radius = np.hypot(row, column)
    power *= 1 - np.exp2(-((radius / 0.1) ** 2))  # patches of 12 mm less their surface lose half at 0.1 /mm
    ring = np.rint(radius / BIN_PER_MM).astype(np.int64).ravel()
    count = np.bincount(ring)
    own = np.flatnonzero(count)
    radial = np.bincount(ring, power.ravel())[own] / count[own]
    frequency = np.arange(int(0.5 / pixel_mm / BIN_PER_MM) + 1) * BIN_PER_MM
    spectrum = np.interp(frequency, own * BIN_PER_MM, radial)
    return float(frequency @ spectrum / spectrum.sum())


def foreign(
    read_per_mm: float | None,
    mtf: NDArray[np.float64],
    frequency_per_mm: NDArray[np.float64],
    *,
    pixel_mm: float,
    at_skin: bool,
) -> str | None:
    """Why this curve cannot be that of images whose noise has this mean frequency, None where it can be, or nothing was read.

    `at_skin` says where the curve is of: the skin, or the isocentre.
    """
    if read_per_mm is None:
        return None
    expected = mean_frequency(mtf, frequency_per_mm, pixel_mm)
    allowed = (DRAWN_AT_SKIN if at_skin else DRAWN_AT_ISOCENTRE).wider(MARGIN)
    if allowed.holds(read_per_mm / expected):
        return None
    sharper = "softer" if read_per_mm / expected > allowed.high else "sharper"
    return (
        f"has noise of mean frequency {read_per_mm:.3f} /mm, where a kernel with the MTF taken for it leaves {allowed.low * expected:.3f} to {allowed.high * expected:.3f} /mm:"
        f" that MTF is {sharper} than the images are, so it is not theirs, or they were filtered afterwards"
    )


def untrained(level_hu: float | None, f50_per_mm: float) -> str | None:
    """Why images of this noise and this f50 at the skin are outside what the network was trained on, None where they are inside."""
    if level_hu is None:
        return "shows too little soft tissue to read its noise, which must be like what the network was trained on"
    level, f50 = DRAWN_LEVEL_HU.wider(MARGIN), DRAWN_F50_PER_MM.wider(MARGIN)
    if not level.holds(level_hu):
        return f"has noise of {level_hu:.1f} HU, the network was trained on {level.low:.1f} to {level.high:.0f} HU"
    if not f50.holds(f50_per_mm):
        return f"has an MTF of f50 {f50_per_mm:.2f} /mm at the skin, the network was trained on {f50.low:.2f} to {f50.high:.2f} /mm"
    return None
