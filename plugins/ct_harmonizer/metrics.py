"""Lungs, and what is measured in them. All HU are air = -1000, water = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_LUNG_HU = -500.0  # below it: air, lung, bowel gas
_EMPTY_HU = -1500.0  # below it nothing was reconstructed
_STEP_MM = 2.5  # lungs are sought on a grid about this coarse
_LEAST_LITRES = 0.15  # of one lung region, or what is found is bowel gas or a sinus
_AIRWAY_HU = -930.0
_AIRWAY_MOST_LITRES = 0.08


@dataclass(frozen=True, slots=True)
class LungMetrics:
    """Figures over the voxels of the lungs."""

    laa950_percent: float  # share of voxels below -950 HU
    perc15_hu: float  # 15th percentile
    mass_g: float  # sum of (HU + 1024) / 1024 x voxel volume
    volume_ml: float
    mean_hu: float


def lung_mask(
    hu: NDArray[np.float32], padding: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Where the lungs are in a volume (slice, row, column) in HU; nothing where there are none.

    Below -500 HU in a lightly blurred, coarser volume; not connected to the air around the body in its slice; pieces of 150 ml and
    more; without trachea and main bronchi (large smooth air); holes of vessels filled; refined to the image's own grid.
    """
    factor = [max(1, round(_STEP_MM / size)) for size in spacing_mm[1:]]
    coarse = np.stack([_blocks(slice_hu, pad, factor) for slice_hu, pad in zip(hu, padding, strict=True)])
    voxel_ml = spacing_mm[0] * spacing_mm[1] * factor[0] * spacing_mm[2] * factor[1] / 1000
    low = coarse < _LUNG_HU
    inside = np.stack([flat & ~_reaches_border(flat) for flat in low])
    airway = _airways(coarse, inside, voxel_ml)
    labels, count = ndimage.label(inside & ~airway)
    if count == 0:
        return np.zeros(hu.shape, bool)
    volume = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml
    mean = ndimage.mean(coarse, labels, np.arange(count + 1))
    # Lung is never as empty as the inside of a hollow phantom, nor as full as noise round the threshold.
    keep = (volume >= _LEAST_LITRES * 1000) & (mean > -965) & (mean < -550)
    keep[0] = False
    lungs = keep[labels]
    around = ndimage.generate_binary_structure(2, 1)
    closed = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(flat, around, iterations=2)) for flat in lungs])
    closed &= ~airway
    return _refine(hu, closed, factor)


def _blocks(image: NDArray[np.float32], padding: NDArray[np.bool_], factor: list[int]) -> NDArray[np.float32]:
    """Block means of one slice; what was not reconstructed is air."""
    filled = np.where(padding | ~(image > _EMPTY_HU), np.float32(-1000), image)
    rows, columns = (-(-length // by) for length, by in zip(image.shape, factor, strict=True))
    wide = np.pad(
        filled, ((0, rows * factor[0] - image.shape[0]), (0, columns * factor[1] - image.shape[1])), mode="edge"
    )
    return np.asarray(wide.reshape(rows, factor[0], columns, factor[1]).mean(axis=(1, 3)), np.float32)


def _reaches_border(low: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of the mask that is connected to the border of the slice."""
    labels, count = ndimage.label(low)
    rim = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        rim[edge] = True
    rim[0] = False
    return np.asarray(rim[labels])


def _airways(coarse: NDArray[np.float32], inside: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    """Trachea and main bronchi: compact pieces of nearly pure air that do not grow to the size of a lung."""
    air = np.asarray(inside & (ndimage.gaussian_filter(coarse, (0.0, 0.7, 0.7)) < _AIRWAY_HU))
    labels, count = ndimage.label(air)
    if count == 0:
        return air
    volume = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml
    mean = ndimage.mean(coarse, labels, np.arange(count + 1))
    spans = ndimage.find_objects(labels)
    tall = np.array([False, *(span[0].stop - span[0].start >= 3 for span in spans)])
    keep = (volume < _AIRWAY_MOST_LITRES * 1000) & (volume > 1.0) & (mean < -955) & tall
    keep[0] = False
    return np.asarray(ndimage.binary_dilation(keep[labels], np.ones((1, 3, 3), bool)) & inside)


def _refine(hu: NDArray[np.float32], coarse: NDArray[np.bool_], factor: list[int]) -> NDArray[np.bool_]:
    """The coarse mask on the image's grid, its border moved to where the image itself crosses the threshold."""
    around = ndimage.generate_binary_structure(2, 2)
    out = np.empty(hu.shape, bool)
    for index, flat in enumerate(coarse):
        if not flat.any():
            out[index] = False
            continue
        core = ndimage.binary_erosion(flat, around)
        rim = ndimage.binary_dilation(flat, around) & ~core
        fine_core, fine_rim = (
            np.repeat(np.repeat(part, factor[0], axis=0), factor[1], axis=1)[: hu.shape[1], : hu.shape[2]]
            for part in (core, rim)
        )
        smooth = ndimage.gaussian_filter(hu[index], 1.0)
        out[index] = fine_core | (fine_rim & (smooth < _LUNG_HU))
    return out


def lung_metrics(
    hu: NDArray[np.float32], lungs: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> LungMetrics:
    """Figures over the voxels of `lungs`, which must hold at least one.

    LAA-950 is the share of voxels **below** -950 HU; Perc15 the 15th percentile; mass is the sum of (HU + 1024) / 1024 times the volume of a voxel, 1 g/ml
    being water's density (Zarei et al. 2024).
    """
    values = hu[lungs]
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return LungMetrics(
        100 * float(np.mean(values < -950)),
        float(np.percentile(values, 15)),
        float(np.sum((values.astype(np.float64) + 1024) / 1024) * voxel_ml),
        float(values.size * voxel_ml),
        float(values.mean(dtype=np.float64)),
    )
