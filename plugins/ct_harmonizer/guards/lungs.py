"""Is it a chest, and is the chest whole? Lungs too few, in too few slices, or cut by the edge of what was reconstructed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

LUNGS_LEAST_ML = 300.0
LUNG_OF_SLICE_LEAST_MM2 = 2000.0  # a slice that shows lung shows as much
SLICES_LEAST = 1 / 3  # of all slices show lung: the whole trunk has it in nearly half, an abdomen in a fifth at most
CUT_MM = 20.0  # of the edge of the field of view run through lung in a slice whose lung is cut
HALF_MM = 50.0  # of that edge run through the body's soft tissue where half of it is missing
HALF_WIDTH = 0.9  # width over depth of half a chest, at most; a whole one is 1.2 to 1.7 times as wide as deep
SLICES_CUT_MOST = 0.1  # of those that show lung

_STEP_MM = 2.5  # the edge is looked at on a grid about this coarse
_SOFT_HU = -300.0  # what is denser is chest wall, heart, diaphragm
_SOFT_LEAST_MM2 = 1000.0  # in one piece
_AIR_HU, _LUNG_HU = (
    -500.0,
    (-970.0, -550.0),
)  # what is emptier than soft tissue; the median of lung, which air and most foam are below


def too_little(lungs: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> str | None:
    """Why a series with these lungs (slice, row, column) is no chest, None where it is one."""
    litres = float(lungs.sum() * np.prod(spacing_mm) / 1e6)
    if litres * 1000 < LUNGS_LEAST_ML:
        return f"shows {litres:.2f} l of lung, at least {LUNGS_LEAST_ML / 1000:.1f} l are needed: it is no chest CT"
    shown = int(_shown(lungs, spacing_mm).sum())
    if shown < SLICES_LEAST * len(lungs):
        return (
            f"shows lung in {shown} of its {len(lungs)} slices, a third at least is needed: it is no chest CT,"
            " but another part of the body with some lung at its end"
        )
    return None


class Cut(NamedTuple):
    """What the edge of the field of view does to one slice."""

    lung_mm: float  # of the edge that runs through lung
    half: bool  # a side of the chest is missing


def cut_off(
    hu: NDArray[np.float32],
    missing: NDArray[np.bool_],
    lungs: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> str | None:
    """Why the lungs of a volume (slice, row, column) in HU are not whole, None where they are.

    `missing` is True where nothing was reconstructed. The edge is that of the slice or of the circle of what was reconstructed, whichever comes first.
    """
    shown = _shown(lungs, spacing_mm)
    slices = [find_cut(image, gone, spacing_mm[1:]) for image, gone in zip(hu, missing, strict=True)]
    lengths = np.array([one.lung_mm for one in slices])
    through, half = lengths >= CUT_MM, np.array([one.half for one in slices]) & shown
    cut, seen = int((through | half).sum()), int((shown | through).sum())
    if cut <= SLICES_CUT_MOST * seen:
        return None
    how = (
        f"over up to {lengths.max():.0f} mm of that edge" if through.any() else "which leaves one side of the chest out"
    )
    return (
        f"has its lungs cut by the edge of the field of view in {cut} of the {seen} slices that show lung, {how}:"
        " figures of a part of the lungs are not the patient's"
    )


def find_cut(image_hu: NDArray[np.float32], missing: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> Cut:
    """How the edge of what was reconstructed cuts a slice (row, column).

    Lung at the edge is less dense than soft tissue, has the HU of lung, and lies within the convex hull of the soft tissue: the couch's foam and clothes lie outside.
    Where the edge runs down the middle of the body no lung is cut, and one side is missing: what is left is deeper than wide.
    """
    factor = [max(1, round(_STEP_MM / size)) for size in pixel_mm]
    step_mm = (factor[0] * pixel_mm[0], factor[1] * pixel_mm[1])
    known = _means((~missing).astype(np.float32), factor)
    mean = _means(np.where(missing, np.float32(0), image_hu), factor) / np.maximum(known, 1e-6)
    inner = ndimage.binary_erosion(known > 0.99, np.ones((3, 3), bool))
    ring = inner & ~ndimage.binary_erosion(inner)
    soft = _large((mean > _SOFT_HU) & (known > 0.99), _SOFT_LEAST_MM2 / (step_mm[0] * step_mm[1]))
    if not soft.any():
        return Cut(0.0, half=False)
    body = convex_hull_image(soft)  # type: ignore[no-untyped-call]
    labels, count = ndimage.label(inner & body & (mean < _AIR_HU))
    number = np.arange(1, count + 1)
    middle = np.atleast_1d(ndimage.median(mean, labels, number)) if count else np.zeros(0)
    length = np.bincount(labels[ring], minlength=count + 1)[1:] * max(step_mm)
    lung = (middle > _LUNG_HU[0]) & (middle < _LUNG_HU[1]) & (length >= CUT_MM / 2)
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    narrow = (np.ptp(columns) + 1) * step_mm[1] < HALF_WIDTH * (np.ptp(rows) + 1) * step_mm[0]
    return Cut(float(length[lung].sum()), half=bool(narrow and (ring & soft).sum() * min(step_mm) >= HALF_MM))


def _large(mask: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Pieces of at least so many pixels, thin ones like the couch's shell opened away."""
    labels, count = ndimage.label(ndimage.binary_opening(mask, np.ones((3, 3), bool)))
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= least
    keep[0] = False
    return np.asarray(keep[labels])


def _shown(lungs: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    return np.asarray(lungs.sum(axis=(1, 2)) * (spacing_mm[1] * spacing_mm[2]) >= LUNG_OF_SLICE_LEAST_MM2)


def _means(image: NDArray[np.float32], factor: list[int]) -> NDArray[np.float32]:
    """Block means; rows and columns that fill no block are left out."""
    rows, columns = (length // by for length, by in zip(image.shape, factor, strict=True))
    whole = image[: rows * factor[0], : columns * factor[1]]
    return np.asarray(whole.reshape(rows, factor[0], columns, factor[1]).mean(axis=(1, 3)), np.float32)
