"""The paper's Eq. 2 as a filter: `I_b = F^-1( F(I_a) MTF_b / MTF_a )`, regularised so that noise is not blown up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

_MARGIN_MM = 15.0  # of mirrored image round the slice: longer than any kernel rings


@dataclass(frozen=True, slots=True)
class Gain:
    """What each frequency of an image is multiplied by. Rises and falls smoothly, 1 at zero frequency."""

    frequency_per_mm: NDArray[np.float64]  # from 0; beyond the last the last value holds
    gain: NDArray[np.float64]

    def on_grid(self, shape: tuple[int, int], pixel_mm: tuple[float, float]) -> NDArray[np.float32]:
        """The gain on the half plane of a real FFT of (row, column) pixels, by physical frequency."""
        down, across = fft.fftfreq(shape[0], pixel_mm[0]), fft.rfftfreq(shape[1], pixel_mm[1])
        radius = np.hypot(down[:, None], across[None, :])
        return np.asarray(np.interp(radius, self.frequency_per_mm, self.gain), np.float32)


def gain_towards(
    target: NDArray[np.float64],
    measured: NDArray[np.float64],
    frequency_per_mm: NDArray[np.float64],
    *,
    max_gain: float,
    noise_to_signal: float,
) -> Gain:
    """MTF_b / MTF_a, limited in two ways.

    Wiener: `M T / (M^2 + n)` instead of `T / M`, with n = noise_to_signal rising as f^2 (relative to 0.5 /mm), zero at f = 0, so the
    mean of an image stays. Then what lies above 1 is bent to stay below `max_gain`: `1 + (m - 1) tanh((g - 1) / (m - 1))`.
    """
    regular = noise_to_signal * (frequency_per_mm / 0.5) ** 2
    ratio = measured * target / np.maximum(measured**2 + regular, 1e-12)
    ratio = np.where(measured < 1e-3, 0.0, ratio)
    room = max_gain - 1
    over = np.maximum(ratio - 1, 0.0)
    limited = 1 + room * np.tanh(over / room) if room > 0 else np.ones_like(ratio)
    gain = np.where(ratio > 1, limited, ratio)
    gain[0] = 1.0
    return Gain(frequency_per_mm, gain)


def apply(
    image_hu: NDArray[np.float32],
    padding: NDArray[np.bool_],
    gain: Gain,
    pixel_mm: tuple[float, float],
) -> NDArray[np.float32]:
    """Filter one slice (row, column) in HU.

    Padding is filled from its nearest pixel before and left as it was after. The slice is mirrored round its border, so
    that no edge wraps round. Slices are filtered one by one: the bytes do not depend on what else is filtered.
    """
    if padding.all():
        return image_hu.copy()
    filled = fill(image_hu, padding)
    rows, columns = image_hu.shape
    margin = [min(round(_MARGIN_MM / size), length) for size, length in zip(pixel_mm, (rows, columns), strict=True)]
    width = [
        (edge, fft.next_fast_len(length + 2 * edge, real=True) - length - edge)
        for edge, length in zip(margin, (rows, columns), strict=True)
    ]
    wide = np.pad(filled.astype(np.float64), width, mode="symmetric")
    spectrum = fft.rfft2(wide)
    spectrum *= gain.on_grid(wide.shape, pixel_mm)
    result = fft.irfft2(spectrum, wide.shape)[margin[0] : margin[0] + rows, margin[1] : margin[1] + columns]
    return np.where(padding, image_hu, result.astype(np.float32))


def fill(image_hu: NDArray[np.float32], padding: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A slice (row, column) with each pixel of padding as the nearest that is none; as it was where all are, or none."""
    if not padding.any() or padding.all():
        return image_hu
    nearest = ndimage.distance_transform_edt(padding, return_distances=False, return_indices=True)
    return np.asarray(image_hu[tuple(nearest)])
