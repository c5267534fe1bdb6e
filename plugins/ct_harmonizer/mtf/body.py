"""Where the body is: a coarse mask of the largest thing in the volume, without table, arms and clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -1000.0
NO_DATA_HU = -1500.0  # below it nothing was reconstructed, whatever the padding says
SURFACE_HU = -500.0
FACTOR = 4  # pixels of the image along each side of a coarse pixel


@dataclass(frozen=True, slots=True)
class Body:
    """The body on a grid FACTOR times coarser than the image."""

    mask: NDArray[np.bool_]  # (slice, row, column), holes filled slice by slice
    gradient: NDArray[np.float32]  # (axis, slice, row, column), per mm, of the blurred body: it points inwards
    spacing_mm: tuple[float, float, float]


def find_body(
    hu: NDArray[np.float32], padding: NDArray[np.bool_] | None, spacing_mm: tuple[float, float, float]
) -> Body:
    """The largest component above -500 HU of (slice, row, column) in HU, after an opening that lets go of table and clothes."""
    slices, rows, columns = hu.shape
    coarse = np.empty((slices, rows // FACTOR, columns // FACTOR), np.float32)
    for index in range(slices):
        filled = clean(hu[index], unknown(hu[index], None if padding is None else padding[index]))
        coarse[index] = _mean_blocks(np.clip(filled, AIR_HU, 0.0))
    coarse_mm = (spacing_mm[0], spacing_mm[1] * FACTOR, spacing_mm[2] * FACTOR)
    above = coarse > SURFACE_HU
    opened = ndimage.binary_opening(above, np.ones((1, 3, 3), bool))
    labels, found = ndimage.label(opened)
    mask = np.zeros(coarse.shape, bool)
    if found:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = _fill_slices(labels == int(np.argmax(sizes)))
        mask = ndimage.binary_dilation(mask, np.ones((1, 3, 3), bool)) & (above | mask)
    solid = np.where(mask, np.float32(1), np.clip(coarse / 1000 + 1, 0, 1)).astype(np.float32)
    solid[~ndimage.binary_dilation(mask, np.ones((1, 3, 3), bool))] = 0
    # A blur of about 4 mm: wide enough for a steady normal under noise, narrow against the body.
    sigma = [min(3.0 / coarse_mm[0], 4.0), 4.0 / coarse_mm[1], 4.0 / coarse_mm[2]]
    blurred = ndimage.gaussian_filter(solid, sigma if coarse_mm[0] < 4 else [0.0, *sigma[1:]], mode="nearest")
    gradient = np.zeros((3, *coarse.shape), np.float32)
    for axis in range(3):
        if coarse.shape[axis] > 1:
            gradient[axis] = np.gradient(blurred, coarse_mm[axis], axis=axis)
    return Body(mask, gradient, coarse_mm)


def unknown(hu: NDArray[np.float32], padding: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Where nothing was reconstructed."""
    missing = ~(hu > NO_DATA_HU)
    return missing if padding is None else padding | missing


def clean(hu: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """HU with air where nothing was reconstructed."""
    return np.where(missing, np.float32(AIR_HU), hu) if missing.any() else hu


def _mean_blocks(image: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = image.shape[0] // FACTOR, image.shape[1] // FACTOR
    whole = image[: rows * FACTOR, : columns * FACTOR]
    lines = whole.reshape(rows, FACTOR, -1).mean(axis=1)
    return np.asarray(np.mean([lines[:, first::FACTOR] for first in range(FACTOR)], axis=0), np.float32)


def _fill_slices(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what no path in the slice leads out of."""
    return np.stack([ndimage.binary_fill_holes(flat) for flat in mask])
