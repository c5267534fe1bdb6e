"""The shape of a nodule: segmented by K-means, meshed by marching cubes, measured as a solid.

Zarei et al. (2024) segment nodules by K-means of the HU round them. Here: two clusters of the box's HU; the nodule is the piece of the denser cluster that
lies at the middle of the box; its surface is where the HU cross the midpoint of the two clusters, found by marching cubes, so that voxels count by their share.
What hangs on to the nodule (a vessel, the pleura) is cut by a ball round the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

CUT = 1.3  # radius of the ball that cuts what hangs on, in radii of the nodule
BOX = 1.8  # half side of the box round the nodule, in radii

Triangles = NDArray[np.float64]  # (n, corner, z y x) in mm, corners in one sense of rotation


@dataclass(frozen=True, slots=True)
class Shape:
    """A solid."""

    volume_mm3: float
    area_mm2: float

    @property
    def area_per_volume(self) -> float:
        """In 1/mm."""
        return self.area_mm2 / self.volume_mm3

    @property
    def sphericity(self) -> float:
        """`pi^(1/3) (6 V)^(2/3) / A`: 1 for a ball, less for all else (Wadell 1935)."""
        return float(np.pi ** (1 / 3) * (6 * self.volume_mm3) ** (2 / 3) / self.area_mm2)


def measure_nodule(
    hu: NDArray[np.float32],
    centre: tuple[float, float, float],
    diameter_mm: float,
    spacing_mm: tuple[float, float, float],
) -> Shape | None:
    """The nodule about `centre` (slice, row, column, in voxels, may be fractions) in a volume in HU; None where none is found.

    `diameter_mm` bounds where is looked; it must be known, as from the truth.
    """
    box, inside = _box(hu.shape, centre, diameter_mm, spacing_mm)
    part = hu[box].astype(np.float64)
    if min(part.shape) < 2 or not inside.any():
        return None
    lung, nodule = two_means(part[inside])
    if nodule - lung < 1:
        return None
    level = (lung + nodule) / 2
    labels, _ = ndimage.label((part > level) & inside)
    here = tuple(
        np.clip(round(at - side.start), 0, length - 1) for at, side, length in zip(centre, box, part.shape, strict=True)
    )
    own = labels[here] or _nearest(labels, here, spacing_mm)
    if not own:
        return None
    grown = ndimage.binary_dilation(labels == own, ndimage.generate_binary_structure(3, 3))
    alone = np.where(grown & inside & ((labels == own) | (labels == 0)), part, lung)
    return shape(surface(alone, level, spacing_mm, lung))


def two_means(values: NDArray[np.float64]) -> tuple[float, float]:
    """The centres of two clusters of numbers, the lower first: Lloyd's iteration from the 5th and 95th percentile to its end."""
    low, high = np.percentile(values, (5, 95)).tolist()
    for _ in range(100):
        upper = values > (low + high) / 2
        if upper.all() or not upper.any():
            break
        before, (low, high) = (low, high), (float(values[~upper].mean()), float(values[upper].mean()))
        if (low, high) == before:
            break
    return low, high


def surface(
    field: NDArray[np.float64], level: float, spacing_mm: tuple[float, float, float], outside: float
) -> Triangles:
    """Where a field (slice, row, column) crosses the level; beyond its border it is `outside`, so that the surface is closed."""
    closed = np.pad(field, 1, constant_values=outside)
    corners, faces, _, _ = measure.marching_cubes(closed, level, spacing=spacing_mm)  # type: ignore[no-untyped-call]
    return np.asarray(corners[faces], np.float64)


def shape(triangles: Triangles) -> Shape:
    """Volume by the divergence theorem, `sum(a . (b x c)) / 6`, and area of a closed mesh."""
    a, b, c = (triangles[:, corner] - triangles.reshape(-1, 3).mean(axis=0) for corner in range(3))
    volume = abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2
    return Shape(volume, area)


def _box(
    size: tuple[int, ...],
    centre: tuple[float, float, float],
    diameter_mm: float,
    spacing_mm: tuple[float, float, float],
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """The box round a nodule, and in it the ball that cuts."""
    sides, squares = [], []
    for at, step, length in zip(centre, spacing_mm, size, strict=True):
        reach = BOX * diameter_mm / 2 / step
        side = slice(max(0, int(np.floor(at - reach))), min(length, int(np.ceil(at + reach)) + 1))
        sides.append(side)
        squares.append(((np.arange(side.start, side.stop) - at) * step) ** 2)
    distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    return (sides[0], sides[1], sides[2]), distance <= CUT * diameter_mm / 2 + max(spacing_mm[1:])


def _nearest(labels: NDArray[np.int32], here: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> int:
    """The piece nearest to a voxel that lies in none, within 2 mm."""
    at = np.argwhere(labels > 0)
    if not len(at):
        return 0
    away = np.linalg.norm((at - here) * np.asarray(spacing_mm), axis=1)
    return int(labels[tuple(at[np.argmin(away)])]) if away.min() <= max(2.0, spacing_mm[0]) else 0
