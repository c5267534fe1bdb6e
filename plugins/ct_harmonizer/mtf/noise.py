"""Noise of a CT series, read in the patient's soft tissue: its level in HU, and its power spectrum (NPS)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from plugins.ct_harmonizer.mtf.body import clean, unknown

SQUARE_MM = 6.0  # side of the squares of the noise level
PATCH_MM = 12.0  # side of the patches of the spectrum: it says nothing below 1 / 12 mm
BIN_PER_MM = 0.025  # width of the bins of the radial spectrum

_SOFT_HU = (0.0, 100.0)  # of the blurred image: muscle and organs, neither fat nor contrast medium nor bone
_BLUR_MM = 2.0
_SLICES_MOST = 30
_SQUARES_LEAST = 100
_PATCHES_LEAST, _PATCHES_MOST = 20, 300
_LIKE_MODE = 0.2  # patches whose deviation is off the most frequent by more of it hold anatomy or artefact
_CALM = 1.2  # of the others those are used that, blurred, deviate by at most so much more than most do


@dataclass(frozen=True, slots=True)
class NPS:
    """Noise power spectrum in HU^2 mm^2 over cycles/mm."""

    frequency_per_mm: NDArray[np.float64]  # (n,), 0 to the coarser axis' Nyquist frequency by BIN_PER_MM
    radial_hu2_mm2: NDArray[np.float64]  # (n,), mean of the plane over each ring
    row_per_mm: NDArray[np.float64]  # (rows,), rising, 0 in the middle
    column_per_mm: NDArray[np.float64]  # (columns,), likewise
    plane_hu2_mm2: NDArray[np.float64]  # (rows, columns)
    patches: int
    patch_mm: float  # the longer side

    @property
    def variance_hu2(self) -> float:
        """The integral over the plane: by Parseval's theorem the mean variance of the detrended patches."""
        cell = (self.row_per_mm[1] - self.row_per_mm[0]) * (self.column_per_mm[1] - self.column_per_mm[0])
        return float(self.plane_hu2_mm2.sum() * cell)

    @property
    def peak_per_mm(self) -> float:
        """Where the radial spectrum, smoothed by one bin, is highest, past what the patches are too small for."""
        smooth = ndimage.gaussian_filter1d(self.radial_hu2_mm2, 1.0)
        first = min(int(np.ceil(1 / (self.patch_mm * BIN_PER_MM))), smooth.size - 1)
        top = first + int(np.argmax(smooth[first:]))
        if not first < top < smooth.size - 1:
            return float(self.frequency_per_mm[top])
        before, at, after = smooth[top - 1 : top + 2]
        return float(self.frequency_per_mm[top] + BIN_PER_MM * (before - after) / 2 / (before - 2 * at + after))

    @property
    def mean_per_mm(self) -> float:
        """`sum f NPS(f) / sum NPS(f)` of the radial spectrum (AAPM TG-233)."""
        return float(self.frequency_per_mm @ self.radial_hu2_mm2 / self.radial_hu2_mm2.sum())


@dataclass(frozen=True, slots=True)
class Noise:
    """What soft tissue shows of the noise; None where there is too little of it."""

    level_hu: float | None
    nps: NPS | None


def measure_noise(
    hu: NDArray[np.float32], spacing_mm: tuple[float, float, float], padding: NDArray[np.bool_] | None = None
) -> Noise:
    """Noise of a volume (slice, row, column) in HU, from at most 30 of its slices.

    The level is the global noise level of Christianson et al., AJR 205:W93 (2015): the most frequent standard deviation in
    6 mm squares wholly in soft tissue, which is 0 to 100 HU after a blur of 2 mm.

    The spectrum is that of 12 mm patches wholly in soft tissue, on a grid of half their side, at most 300. Anatomy in them would read as noise of
    low frequency, so patches are used whose deviation is within 20 % of the most frequent one and which, after the blur, deviate no more than
    1.2 times the most frequent. Patches so small and so chosen lose what varies slowly: of noise alone 10 % are missing at 0.2 /mm, 20 % at 0.15 /mm
    and half at 0.1 /mm.
    """
    pixel_mm = (spacing_mm[1], spacing_mm[2])
    deviations, patches, low = [], [], []
    for index in np.unique(np.linspace(0, len(hu) - 1, min(len(hu), _SLICES_MOST)).round().astype(np.int64)):
        image, blurred, soft = _soft_tissue(
            clean(hu[index], unknown(hu[index], None if padding is None else padding[index])), pixel_mm
        )
        if not soft.any():
            continue
        deviations.append(_local_deviations(image, soft, pixel_mm))
        here = _patches(image, blurred, soft, pixel_mm)
        patches.append(here[0])
        low.append(here[1].std(axis=(1, 2)))
    if not patches:
        return Noise(None, None)
    squares = np.concatenate(deviations)
    level_hu = _mode(squares) if squares.size >= _SQUARES_LEAST else None
    return Noise(level_hu, _spectrum(np.concatenate(patches), np.concatenate(low), pixel_mm))


def nps_of(patches: NDArray[np.float64], pixel_mm: tuple[float, float]) -> NPS:
    """Spectrum of patches (n, row, column) of noise in HU, each less its second-order surface (see `detrended`).

    `NPS(u, v) = (dx dy) / (Nx Ny) < |DFT2(patch)|^2 >`, in HU^2 mm^2 (ICRU Report 87; AAPM TG-233), on a grid refined by zeros.
    """
    count, rows, columns = patches.shape
    shape = tuple(
        fft.next_fast_len(max(length, int(np.ceil(80 / size))))
        for length, size in zip((rows, columns), pixel_mm, strict=True)
    )
    power = np.zeros(shape)
    for start in range(0, count, 64):
        power += np.sum(np.abs(fft.fft2(patches[start : start + 64], shape)) ** 2, axis=0)
    plane = power * (pixel_mm[0] * pixel_mm[1] / (rows * columns) / count)
    row, column = (np.fft.fftfreq(length, size) for length, size in zip(shape, pixel_mm, strict=True))
    ring = np.rint(np.hypot(row[:, None], column) / BIN_PER_MM).astype(np.int64).ravel()
    inside = int(0.5 / max(pixel_mm) / BIN_PER_MM) + 1
    radial = (np.bincount(ring, plane.ravel()) / np.maximum(np.bincount(ring), 1))[:inside]
    row, column, plane = (np.asarray(np.fft.fftshift(each), np.float64) for each in (row, column, plane))
    longer_mm = max(rows * pixel_mm[0], columns * pixel_mm[1])
    return NPS(np.arange(inside, dtype=np.float64) * BIN_PER_MM, radial, row, column, plane, count, longer_mm)


def detrended(patches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Patches (n, row, column) less their least-squares surface of second order."""
    down, right = np.meshgrid(*(np.linspace(-1, 1, length) for length in patches.shape[1:]), indexing="ij")
    terms = np.stack([np.ones_like(down), down, right, down**2, down * right, right**2], axis=-1).reshape(-1, 6)
    basis, _ = np.linalg.qr(terms)
    flat = patches.reshape(len(patches), len(terms)).astype(np.float64)
    return np.asarray((flat - (flat @ basis) @ basis.T).reshape(patches.shape))


def _soft_tissue(
    image: NDArray[np.float32], pixel_mm: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """A slice, the slice blurred, and where it is soft tissue, cut to where that is."""
    blurred = ndimage.gaussian_filter(image, [_BLUR_MM / size for size in pixel_mm], truncate=3.0)
    soft = (blurred > _SOFT_HU[0]) & (blurred < _SOFT_HU[1])
    rows, columns = np.flatnonzero(soft.any(axis=1)), np.flatnonzero(soft.any(axis=0))
    if rows.size == 0:
        return image, blurred, soft
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return image[box], blurred[box], soft[box]


def _local_deviations(
    image: NDArray[np.float32], soft: NDArray[np.bool_], pixel_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Standard deviations in HU of the squares wholly in soft tissue, round each of their pixels."""
    size = [max(3, round(SQUARE_MM / length)) for length in pixel_mm]
    whole = ndimage.binary_erosion(soft, np.ones((size[0], 1), bool))
    whole = ndimage.binary_erosion(whole, np.ones((1, size[1]), bool))
    exact = image.astype(np.float64)
    mean, square = (ndimage.uniform_filter(each, size)[whole] for each in (exact, exact**2))
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)))


def _patches(
    image: NDArray[np.float32], blurred: NDArray[np.float32], soft: NDArray[np.bool_], pixel_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Detrended patches (n, row, column) wholly in soft tissue, and the same of the blurred slice."""
    size = tuple(max(8, round(PATCH_MM / length)) for length in pixel_mm)
    if soft.shape[0] < size[0] or soft.shape[1] < size[1]:
        return np.zeros((0, *size)), np.zeros((0, *size))
    step = (slice(None, None, size[0] // 2), slice(None, None, size[1] // 2))
    windows = np.lib.stride_tricks.sliding_window_view
    whole = windows(soft, size)[step].all(axis=(2, 3))
    own, low = (detrended(windows(each, size)[step][whole]) for each in (image, blurred))
    return own, low


def _spectrum(patches: NDArray[np.float64], low_hu: NDArray[np.float64], pixel_mm: tuple[float, float]) -> NPS | None:
    """The spectrum of the patches that hold noise alone, as far as can be told; None where they are too few."""
    if len(patches) < _PATCHES_LEAST:
        return None
    deviation = patches.std(axis=(1, 2))
    mode = _mode(deviation)
    like = np.flatnonzero(np.abs(deviation - mode) <= _LIKE_MODE * mode)
    calm = like[low_hu[like] <= _CALM * _mode(low_hu[like])]
    some = calm[np.linspace(0, calm.size - 1, min(calm.size, _PATCHES_MOST)).round().astype(np.int64)]
    return nps_of(patches[some], pixel_mm) if some.size >= _PATCHES_LEAST else None


def _mode(values: NDArray[np.float64]) -> float:
    """The most frequent of positive values: the top of their smoothed histogram of 100 bins."""
    top = max(float(np.percentile(values, 95)), 1e-3)
    counts, edges = np.histogram(values, bins=100, range=(0.0, top))
    at = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(np.float64), 2.0)))
    return float((edges[at] + edges[at + 1]) / 2)
