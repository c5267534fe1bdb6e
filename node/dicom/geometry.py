"""How the slices of a series lie in space (PS3.3 sections C.7.6.1.1.1 and C.7.6.2.1.1).

Positions and distances in mm, angles in degrees, all in the patient's coordinates: x to the left, y to the back, z to the
head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.errors import PermanentError

UNIFORM_FRACTION = 0.01
UNIFORM_LEAST_MM = 0.01
_SAME_POSITION_MM = 0.01
_SAME_DIRECTION = 1e-3  # of a direction cosine: 0.06 degrees
_UNIT_TOLERANCE = 1e-2
_OBLIQUE_COSINE = 0.8  # the nearest axis of the body must be nearer than this, as PixelMed's viewers have it
_PLANES = ("sagittal", "coronal", "axial")  # whose normal is x, y, z


class OrientationInvalid(PermanentError):
    """Image Orientation (Patient) (0020,0037) that is not two perpendicular unit vectors."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Parallel slices, in order along their normal."""

    normal: tuple[float, float, float]  # unit vector, row direction x column direction
    order: tuple[int, ...]  # of the slices as given: order[0] is the first along the normal
    positions_mm: tuple[float, ...]  # along the normal, ascending
    tilt_deg: float | None  # between the normal and the line of slice origins; None for a single slice

    @property
    def distances_mm(self) -> tuple[float, ...]:
        """From each slice to the next, along the normal."""
        return tuple(b - a for a, b in zip(self.positions_mm, self.positions_mm[1:], strict=False))

    @property
    def spacing_mm(self) -> float | None:
        """The median distance; None for a single slice."""
        return float(np.median(self.distances_mm)) if len(self.positions_mm) > 1 else None

    @property
    def spacing_uniform(self) -> bool | None:
        """Whether every distance is within 1 % of the median, or 0.01 mm; None for a single slice."""
        spacing = self.spacing_mm
        if spacing is None:
            return None
        allowed = _allowance_mm(spacing)
        return all(abs(distance - spacing) <= allowed for distance in self.distances_mm)

    @property
    def extent_mm(self) -> float:
        """From the first slice centre to the last."""
        return self.positions_mm[-1] - self.positions_mm[0]

    @property
    def duplicates(self) -> tuple[tuple[int, int], ...]:
        """Pairs of slices, as given, that lie at one position; the one that was given first comes first."""
        pairs = zip(self.order, self.order[1:], self.distances_mm, strict=False)
        return tuple((min(a, b), max(a, b)) for a, b, distance in pairs if distance < _SAME_POSITION_MM)

    @property
    def gaps(self) -> tuple[tuple[float, float, int], ...]:
        """Where slices are missing from an otherwise even stack: position before, position after, how many."""
        spacing = self.spacing_mm
        if not spacing or self.duplicates:
            return ()
        found = []
        for start, distance in zip(self.positions_mm, self.distances_mm, strict=False):
            steps = round(distance / spacing)
            if abs(distance - steps * spacing) > steps * _allowance_mm(spacing):
                return ()  # uneven rather than incomplete
            if steps > 1:
                found.append((start, start + distance, steps - 1))
        return tuple(found)


def stack(orientation: Sequence[float], origins: Sequence[Sequence[float]]) -> Stack:
    """The stack of slices of one Image Orientation (Patient), given each slice's Image Position (Patient).

    Raises:
        OrientationInvalid: the orientation is not two perpendicular unit vectors.
    """
    normal = normal_of(orientation)
    places = np.asarray(origins, dtype=float)  # (slice, 3)
    along = places @ normal
    order = np.argsort(along, kind="stable")
    return Stack(
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
        order=tuple(int(index) for index in order),
        positions_mm=tuple(float(position) for position in along[order]),
        tilt_deg=_tilt_deg(normal, places[order[-1]] - places[order[0]]),
    )


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    """The unit normal of a slice. Raises as `stack`."""
    row, column = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if any(abs(length - 1) > _UNIT_TOLERANCE for length in lengths) or abs(float(row @ column)) > _UNIT_TOLERANCE:
        raise OrientationInvalid(f"the orientation {list(orientation)} is not two perpendicular unit vectors")
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal), dtype=float)


def plane(normal: Sequence[float]) -> str:
    """The plane whose normal this is nearest to: "axial", "coronal" or "sagittal"; "oblique" where none is near."""
    cosines = np.abs(np.asarray(normal))
    nearest = int(np.argmax(cosines))
    return _PLANES[nearest] if cosines[nearest] >= _OBLIQUE_COSINE else "oblique"


def same_direction(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two orientations agree, rounding apart."""
    return all(abs(a - b) <= _SAME_DIRECTION for a, b in zip(one, other, strict=True))


def _allowance_mm(spacing_mm: float) -> float:
    # A hair of room, so that 1.01 mm beside 1.00 mm is not a matter of binary rounding.
    return max(UNIFORM_FRACTION * spacing_mm, UNIFORM_LEAST_MM) + 1e-6


def _tilt_deg(normal: NDArray[np.float64], line: NDArray[np.float64]) -> float | None:
    length = float(np.linalg.norm(line))
    if length < _SAME_POSITION_MM:
        return None
    across = float(np.linalg.norm(np.cross(normal, line)))
    return math.degrees(math.atan2(across, abs(float(normal @ line))))
