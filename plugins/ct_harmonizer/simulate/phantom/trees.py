"""Vessel trees that fill a lung: a branch grows towards the centre of the tissue it supplies and splits that in two.

After Tawhai, Pullan, Hunter, Ann Biomed Eng 28:793 (2000); radii by Murray's law with the exponent measured in lungs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MURRAY_EXPONENT = 2.75
_TOWARDS_CENTRE = 0.42  # of the way to the centre of the supplied tissue
_SMALLEST_LENGTH_MM = 2.0


@dataclass(frozen=True, slots=True)
class Tree:
    """Round cones: ends (segment, 2, xyz) and radii (segment, 2), in mm, parents before children."""

    ends_mm: Array
    radii_mm: Array


def grow(root: Array, supplied: Array, root_radius_mm: float, random: np.random.Generator) -> Tree:
    """A tree from the root (3,) to points (n, 3) spread evenly through the tissue."""
    ends: list[Array] = []
    radii: list[tuple[float, float]] = []
    waiting = [(root, root_radius_mm, supplied)]
    while waiting:
        start, start_radius, points = waiting.pop()
        centre = points.mean(axis=0)
        step = (centre - start) * _TOWARDS_CENTRE
        length = float(np.linalg.norm(step))
        if length < _SMALLEST_LENGTH_MM:
            step *= _SMALLEST_LENGTH_MM / max(length, 1e-6)
        radius = root_radius_mm * (len(points) / len(supplied)) ** (1 / MURRAY_EXPONENT)
        bend = start + step / 2 + random.normal(0, 0.05 * length, 3)
        end = start + step
        middle_radius = min(start_radius, 1.1 * radius)
        ends += [np.stack([start, bend]), np.stack([bend, end])]
        radii += [(start_radius, middle_radius), (middle_radius, radius)]
        if len(points) > 2:
            side = _split(points - centre, step)
            waiting += [(end, radius, points[chosen]) for chosen in (side, ~side) if chosen.any()]
    return Tree(np.array(ends), np.array(radii))


def _split(about_centre: Array, direction: Array) -> NDArray[np.bool_]:
    """Which side of the plane that holds the branch and halves the tissue across its longer extent."""
    x, y, z = direction / math.sqrt(direction @ direction)
    sign = math.copysign(1.0, z)  # two axes across the branch, after Duff et al., J Comput Graph Tech 6:1 (2017)
    a = -1.0 / (sign + z)
    b = x * y * a
    frame = np.array([[1 + sign * x * x * a, b], [sign * b, sign + y * y * a], [-sign * x, -y]])
    across = about_centre @ frame
    moments = across.T @ across
    angle = 0.5 * math.atan2(2 * moments[0, 1], moments[0, 0] - moments[1, 1])
    offset = across @ np.array([math.cos(angle), math.sin(angle)])
    middle = np.partition(offset, len(offset) // 2)[len(offset) // 2]
    return np.asarray(offset >= middle)


def beside(tree: Tree, towards: Array, smallest_radius_mm: float) -> Tree:
    """The airway that runs beside each artery of at least a radius: as wide as it, next to it in a direction (3,)."""
    kept = tree.radii_mm.min(axis=1) >= smallest_radius_mm
    ends, radii = tree.ends_mm[kept], tree.radii_mm[kept]
    return Tree(ends + towards * (2.1 * radii)[:, :, None], 0.8 * radii)
