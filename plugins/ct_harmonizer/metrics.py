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
_CLOSED_MM = 5.0  # radius of the vessels and nodules that are filled where they touch the lungs' border
_SOFT_HU = -600.0  # above it: what trachea and main bronchi are surrounded by, and bullae are not
_AIRWAY_MOST_MM2, _AIRWAY_LITRES, _AIRWAY_LEAST_MM = (
    2000.0,
    (0.001, 0.08),
    15.0,
)  # in a slice, in all, from top to bottom
_AIRWAY_MEDIAN_HU = -960.0


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

    All within the pleura, vessels and small airways too, without trachea and main bronchi. Below -500 HU in a coarser volume; not connected to the air
    around the body in its slice; pieces of 150 ml and more; holes and notches of vessels filled; refined to the image's own grid.
    """
    factor = [max(1, round(_STEP_MM / size)) for size in spacing_mm[1:]]
    step_mm = (spacing_mm[0], spacing_mm[1] * factor[0], spacing_mm[2] * factor[1])
    coarse = np.stack([_blocks(slice_hu, pad, factor) for slice_hu, pad in zip(hu, padding, strict=True)])
    low = coarse < _LUNG_HU
    inside = np.stack([flat & ~_reaches_border(flat) for flat in low])
    if not inside.any():
        return np.zeros(hu.shape, bool)
    airway = _airways(hu, coarse, inside, step_mm, factor)
    labels, count = ndimage.label(inside & ~airway)
    volume = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(step_mm) / 1e6
    mean = ndimage.mean(coarse, labels, np.arange(count + 1))
    # Lung is never as empty as the inside of a hollow phantom, nor as full as noise round the threshold.
    keep = (volume >= _LEAST_LITRES) & (mean > -965) & (mean < -550)
    keep[0] = False
    ball = _disc(_CLOSED_MM, step_mm[1:])
    closed = np.stack([ndimage.binary_fill_holes(_closed(flat, ball)) for flat in keep[labels]])
    return _refine(hu, closed & ~airway, factor)


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


def _airways(
    hu: NDArray[np.float32],
    coarse: NDArray[np.float32],
    inside: NDArray[np.bool_],
    step_mm: tuple[float, float, float],
    factor: list[int],
) -> NDArray[np.bool_]:
    """Trachea and main bronchi on the coarse grid: air in soft tissue, where bullae are air in lung.

    Darker than midway from the lungs' median to the darkest there is; small in its slice; most of what lies round it soft tissue; several slices tall. The
    median of its HU on the image's own grid decides, since clipping at -1024 HU lifts means of noisy air by tens of HU and leaves medians.
    """
    smooth = ndimage.gaussian_filter(coarse, (0.0, 0.7, 0.7))
    air = inside & (smooth < np.percentile(smooth[inside], (0.3, 50)).mean())
    pieces = np.stack([_in_soft_tissue(flat, image, step_mm) for flat, image in zip(air, coarse, strict=True)])
    labels, _ = ndimage.label(pieces, np.ones((3, 3, 3)))
    found = np.zeros(inside.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        own = labels[box] == number
        litres = own.sum() * np.prod(step_mm) / 1e6
        if not _AIRWAY_LITRES[0] < litres < _AIRWAY_LITRES[1] or len(own) * step_mm[0] < _AIRWAY_LEAST_MM:
            continue
        first = (box[1].start * factor[0], box[2].start * factor[1])
        fine = hu[box[0], first[0] : box[1].stop * factor[0], first[1] : box[2].stop * factor[1]]
        if np.median(fine[_repeated(own, factor)[:, : fine.shape[1], : fine.shape[2]]]) < _AIRWAY_MEDIAN_HU:
            found[box] |= own
    return np.asarray(ndimage.binary_dilation(found, np.ones((1, 3, 3), bool)) & inside)


def _in_soft_tissue(
    air: NDArray[np.bool_], coarse: NDArray[np.float32], step_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Pieces of one slice that are small and lie in soft tissue."""
    labels, _ = ndimage.label(air)
    kept = np.zeros(air.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        wide = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in box)
        own = labels[wide] == number
        if not 3 <= own.sum() <= _AIRWAY_MOST_MM2 / (step_mm[1] * step_mm[2]):
            continue
        rim = ndimage.binary_dilation(own, iterations=3) & ~ndimage.binary_dilation(own)
        kept[wide] |= own & (np.mean(coarse[wide][rim] > _SOFT_HU) >= 0.5)
    return kept


def _closed(flat: NDArray[np.bool_], ball: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Closed as if nothing lay beyond the slice's border."""
    margin = [(length // 2, length // 2) for length in ball.shape]
    inner = tuple(slice(before, size + before) for (before, _), size in zip(margin, flat.shape, strict=True))
    return np.asarray(ndimage.binary_closing(np.pad(flat, margin), ball)[inner])


def _disc(radius_mm: float, step_mm: tuple[float, float]) -> NDArray[np.bool_]:
    rows, columns = (np.arange(-int(radius_mm / step), int(radius_mm / step) + 1) * step for step in step_mm)
    return np.asarray(np.hypot(rows[:, None], columns) <= radius_mm + 1e-6)


def _repeated(coarse: NDArray[np.bool_], factor: list[int]) -> NDArray[np.bool_]:
    """The last two axes on the image's own grid."""
    return np.repeat(np.repeat(coarse, factor[0], axis=-2), factor[1], axis=-1)


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
        fine_core, fine_rim = (_repeated(part, factor)[: hu.shape[1], : hu.shape[2]] for part in (core, rim))
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
