"""Signed distances of simple solids, near their surface, and how solids combine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


class Points(NamedTuple):
    """Coordinates in mm, of shapes that broadcast together."""

    x: Tensor
    y: Tensor
    z: Tensor


Node = tuple[float, float, float, float]  # x, y, z, radius in mm


def ellipsoid(at: Points, centre: tuple[float, float, float], semi_axes: tuple[float, float, float]) -> Tensor:
    """An ellipsoid along the axes; the distance is first-order exact."""
    u, v, w = ((p - c) / s for p, c, s in zip(at, centre, semi_axes, strict=True))
    level = torch.sqrt(u**2 + v**2 + w**2 + 1e-9)
    slope = torch.sqrt((u / semi_axes[0]) ** 2 + (v / semi_axes[1]) ** 2 + (w / semi_axes[2]) ** 2 + 1e-9)
    return (level - 1) * level / slope


def turned(at: Points, centre: tuple[float, float, float], degrees: float) -> Points:
    """Coordinates about a centre, the plane turned by an angle from x towards y."""
    angle = torch.deg2rad(torch.tensor(degrees))
    cosine, sine = float(torch.cos(angle)), float(torch.sin(angle))
    x, y = at.x - centre[0], at.y - centre[1]
    return Points(x * cosine + y * sine, y * cosine - x * sine, at.z - centre[2])


def tube(at: Points, nodes: Sequence[Node]) -> Tensor:
    """A chain of round cones through the nodes."""
    distance: Tensor | None = None
    for (x0, y0, z0, r0), (x1, y1, z1, r1) in pairwise(nodes):
        length2 = (x1 - x0) ** 2 + (y1 - y0) ** 2 + (z1 - z0) ** 2
        along = ((at.x - x0) * (x1 - x0) + (at.y - y0) * (y1 - y0) + (at.z - z0) * (z1 - z0)) / length2
        along = along.clamp(0, 1)
        gap = torch.sqrt(
            (at.x - x0 - along * (x1 - x0)) ** 2
            + (at.y - y0 - along * (y1 - y0)) ** 2
            + (at.z - z0 - along * (z1 - z0)) ** 2
        )
        part = gap - (r0 + along * (r1 - r0))
        distance = part if distance is None else union(distance, part, 2.0)
    if distance is None:
        raise ValueError("a tube needs two nodes or more")
    return distance


def union(a: Tensor, b: Tensor, rounding_mm: float) -> Tensor:
    """Both solids, their crease filled to a radius (polynomial smooth minimum)."""
    blend = (rounding_mm - (a - b).abs()).clamp(min=0) / rounding_mm
    return torch.minimum(a, b) - blend**2 * (rounding_mm / 4)


def common(a: Tensor, b: Tensor, rounding_mm: float) -> Tensor:
    """What both solids share, the edge rounded."""
    return -union(-a, -b, rounding_mm)


def without(a: Tensor, b: Tensor, rounding_mm: float) -> Tensor:
    """The first solid less the second, the edge rounded."""
    return common(a, -b, rounding_mm)


def bump(position: Tensor, centre: float, width: float) -> Tensor:
    """A Gaussian of height 1."""
    return torch.exp(-(((position - centre) / width) ** 2))


def ramp(position: Tensor, low: float, high: float) -> Tensor:
    """0 below low, 1 above high, smooth between."""
    t = ((position - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def within(
    at: Points,
    x_mm: tuple[float, float],
    y_mm: tuple[float, float],
    solids: Callable[[Points], tuple[Tensor, ...]],
) -> tuple[Tensor, ...]:
    """Distances to solids that lie well within a range of x and y: on a grid (z, y, x), outside it those at its edge.

    It saves most of the work; loose points (n,) are worked out each.
    """
    if at.x.ndim == 1:
        return solids(at)
    columns = ((at.x.flatten() >= x_mm[0]) & (at.x.flatten() <= x_mm[1])).nonzero().flatten()
    rows = ((at.y.flatten() >= y_mm[0]) & (at.y.flatten() <= y_mm[1])).nonzero().flatten()
    left, right, top, bottom = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    near = Points(at.x[:, :, left:right], at.y[:, top:bottom], at.z)
    margins = (left, at.x.shape[2] - right, top, at.y.shape[1] - bottom)
    return tuple(F.pad(part[None], margins, mode="replicate")[0] for part in solids(near))
