"""How well a small nodule can be seen: transfer, noise and task put together as d'.

Detectability index of the non-prewhitening observer (Samei and Richard, Med Phys 42:314, 2015; ICRU Report 54):

    d'^2 = ( int int W^2 T^2 du dv )^2 / int int W^2 T^2 N du dv

with the task W, the Fourier transform of a disc in HU mm^2; the transfer T of the image; and its noise power N in HU^2 mm^2. Zarei et al. (2024) give d' in
their Eq. 9; this is the formula of the same group's earlier papers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from plugins.ct_harmonizer.mtf.noise import detrended, nps_of

CONTRAST_HU = 100.0  # of the disc against what is round it: a faint nodule in lung
DIAMETER_MM = 5.0
_PATCH, _PATCHES_LEAST = 16, 10

Curve = NDArray[np.float64]


def disc(frequency_per_mm: Curve, contrast_hu: float = CONTRAST_HU, diameter_mm: float = DIAMETER_MM) -> Curve:
    """`C pi R^2 x 2 J1(2 pi R f) / (2 pi R f)`: the transform of a disc, in HU mm^2."""
    radius = diameter_mm / 2
    argument = 2 * np.pi * radius * frequency_per_mm
    bell = np.where(argument > 0, 2 * special.j1(argument) / np.where(argument > 0, argument, 1.0), 1.0)
    return np.asarray(contrast_hu * np.pi * radius**2 * bell)


def d_prime(frequency_per_mm: Curve, task: Curve, transfer: Curve, noise_hu2_mm2: Curve) -> float:
    """Of curves that are the same in each direction: the integrals are `2 pi int f ... df`. Frequencies rise from 0 in equal steps."""
    seen = (task * transfer) ** 2
    weight = 2 * np.pi * frequency_per_mm
    above, below = (float(np.trapezoid(weight * each, frequency_per_mm)) for each in (seen, seen * noise_hu2_mm2))
    return above / np.sqrt(below) if below > 0 else float("inf")


def transfer(
    image_hu: NDArray[np.floating],
    truth_hu: NDArray[np.floating],
    pixel_mm: tuple[float, float],
    frequency_per_mm: Curve,
    width_per_mm: float = 0.05,
) -> Curve:
    """How much of the truth's waves the image shows: `sum Re(conj(T) I) / sum |T|^2` over rings of frequency, from slices (slice, row, column).

    Noise, which knows nothing of the truth, falls out of the mean. Slices are tapered towards their border. What a ring holds too little truth for is
    interpolated; beyond the image's Nyquist frequency it is 0.
    """
    rows, columns = truth_hu.shape[1:]
    taper = np.outer(np.hanning(rows), np.hanning(columns))
    radius = np.hypot(fft.fftfreq(rows, pixel_mm[0])[:, None], fft.rfftfreq(columns, pixel_mm[1])[None])
    nyquist = 0.5 / max(pixel_mm)
    ring = np.rint(radius / width_per_mm).astype(np.int64)
    count = int(nyquist / width_per_mm) + 1
    cross, power = np.zeros(ring.max() + 1), np.zeros(ring.max() + 1)
    for image, truth in zip(image_hu, truth_hu, strict=True):
        middle = float(np.mean(truth))
        i, t = (fft.rfft2((each.astype(np.float64) - middle) * taper) for each in (image, truth))
        cross += np.bincount(ring.ravel(), (np.conj(t) * i).real.ravel())
        power += np.bincount(ring.ravel(), (np.abs(t) ** 2).ravel())
    curve = cross[:count] / np.maximum(power[:count], 1e-12)
    return np.interp(frequency_per_mm, np.arange(count) * width_per_mm, curve, right=0.0)


def noise_power(
    residual_hu: NDArray[np.floating], where: NDArray[np.bool_], pixel_mm: tuple[float, float], frequency_per_mm: Curve
) -> Curve | None:
    """Power in HU^2 mm^2 of residuals (slice, row, column) in patches of 16 pixels wholly in `where`; None where there are fewer than 10.

    Beyond the image's Nyquist frequency it is 0.
    """
    patches = []
    for flat, mask in zip(residual_hu, where, strict=True):
        whole = ndimage.minimum_filter(mask, _PATCH, mode="constant")
        for row, column in np.argwhere(whole[:: _PATCH // 2, :: _PATCH // 2]) * (_PATCH // 2) - _PATCH // 2:
            patches.append(flat[row : row + _PATCH, column : column + _PATCH])
    if len(patches) < _PATCHES_LEAST:
        return None
    found = nps_of(detrended(np.array(patches)), pixel_mm)
    return np.interp(frequency_per_mm, found.frequency_per_mm, found.radial_hu2_mm2, right=0.0)
