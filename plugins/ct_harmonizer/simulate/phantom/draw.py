"""Drawing many small solids into a stack of slices, each voxel by the share of it that the solid fills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate.phantom.trees import Tree

# Shares of voxels, in steps of 1 / FULL: a quarter of the memory of floats, and 2 HU off at most at an edge.
Volume = NDArray[np.uint8]
FULL = 255
_LAYERS = 3  # heights within a slice at which its share is taken
_COARSE_MM = 1.8  # pixels on which organs and what varies slowly are worked out


@dataclass(frozen=True, slots=True)
class Canvas:
    """The fine grid: slices at heights z_mm, pixel (row, column) at ((column - n/2) pixel, (row - n/2) pixel) mm."""

    z_mm: NDArray[np.float64]  # (slice,), rising or falling
    size: int
    pixel_mm: float
    thickness_mm: float

    @property
    def coarser(self) -> int:
        """Pixels along one of the coarse grid's, even. Its width does not depend on the canvas, so that a patient is the same however fine the drawing."""
        return max(4, 2 * round(_COARSE_MM / self.pixel_mm / 2))

    @property
    def half(self) -> int:
        """Pixels along one of the grid of lung texture and emphysema, twice as fine as the coarse one."""
        return self.coarser // 2

    def across_mm(self, pixels: int) -> float:
        """So many pixels, to a nanometre: of 1.8 mm a rounding error must not make another random field."""
        return round(pixels * self.pixel_mm, 6)

    def empty(self) -> Volume:
        return np.zeros((len(self.z_mm), self.size, self.size), np.uint8)

    def box(
        self, low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[tuple[slice, slice, slice], tuple[NDArray[np.float32], ...]] | None:
        """Indices of the voxels between two corners (xyz, mm), and their x, y and layer heights z; None if outside."""
        half = self.thickness_mm / 2
        inside = np.flatnonzero((self.z_mm + half > low[2]) & (self.z_mm - half < high[2]))
        if not inside.size:
            return None
        first = np.maximum(np.floor(low[:2] / self.pixel_mm).astype(int) + self.size // 2, 0)
        last = np.minimum(np.ceil(high[:2] / self.pixel_mm).astype(int) + self.size // 2 + 1, self.size)
        if (first >= last).any():
            return None
        x = ((np.arange(first[0], last[0]) - self.size // 2) * self.pixel_mm).astype(np.float32)
        y = ((np.arange(first[1], last[1]) - self.size // 2) * self.pixel_mm).astype(np.float32)
        offsets = ((np.arange(_LAYERS) + 0.5) / _LAYERS - 0.5) * self.thickness_mm
        slices = slice(int(inside[0]), int(inside[-1]) + 1)
        z = (self.z_mm[slices, None] + offsets).astype(np.float32)
        where = (slices, slice(int(first[1]), int(last[1])), slice(int(first[0]), int(last[0])))
        return where, (x[None, None, None, :], y[None, None, :, None], z[:, :, None, None])

    def share(self, distance_mm: NDArray[np.float32]) -> Volume:
        """Filled share of each voxel (slice, row, column) from distances (slice, layer, row, column)."""
        width = np.float32(np.hypot(self.pixel_mm, self.thickness_mm / _LAYERS / 2))
        share = np.clip(0.5 - distance_mm / width, 0, 1).mean(axis=1, dtype=np.float32)
        return np.asarray(np.rint(FULL * share), np.uint8)


def draw_tree(canvas: Canvas, volume: Volume, tree: Tree) -> None:
    """Raise each voxel to the share of it that the tree fills."""
    half = canvas.thickness_mm / 2
    heights = tree.ends_mm[:, :, 2]
    seen = (heights.max(1) + tree.radii_mm.max(1) > canvas.z_mm.min() - half) & (
        heights.min(1) - tree.radii_mm.max(1) < canvas.z_mm.max() + half
    )
    for (a, b), (ra, rb) in zip(tree.ends_mm[seen], tree.radii_mm[seen], strict=True):
        margin = max(ra, rb) + 0.6
        found = canvas.box(np.minimum(a, b) - margin, np.maximum(a, b) + margin)
        if found is None:
            continue
        where, (x, y, z) = found
        part = volume[where]
        np.maximum(part, canvas.share(_cone(a, b, float(ra), float(rb), (x, y, z))), out=part)


def _cone(
    a: NDArray[np.float64], b: NDArray[np.float64], ra: float, rb: float, at: tuple[NDArray[np.float32], ...]
) -> NDArray[np.float32]:
    """Distance to a round cone from a to b, at x, y and z that broadcast together."""
    dx, dy, dz = (b - a).astype(np.float32)
    px, py, pz = (p - np.float32(c) for p, c in zip(at, a, strict=True))
    along = np.clip((px * dx + py * dy + pz * dz) / np.float32(((b - a) ** 2).sum()), 0, 1)
    gap = np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2 + (pz - along * dz) ** 2)
    return np.asarray(gap - np.float32(ra) - along * np.float32(rb - ra))


def tree_distance(tree: Tree, along: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance (x, y, z) to a tree on a cube of points whose coordinates are `along` on each axis; over 2 mm it is only a bound."""
    far = np.float32(2.0)
    distance = np.full((len(along),) * 3, far, np.float32)
    for (a, b), (ra, rb) in zip(tree.ends_mm, tree.radii_mm, strict=True):
        margin = max(ra, rb) + float(far)
        low = np.searchsorted(along, np.minimum(a, b) - margin)
        high = np.searchsorted(along, np.maximum(a, b) + margin)
        where = tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
        x, y, z = (along[of] for of in where)
        near = (x[:, None, None], y[None, :, None], z[None, None, :])
        np.minimum(distance[where], _cone(a, b, float(ra), float(rb), near), out=distance[where])
    return distance


def draw_ball(canvas: Canvas, volume: Volume, ball: Ball) -> None:
    """Raise each voxel to the share of it that the ball fills."""
    margin = ball.radius_mm * 1.5 + 0.6
    found = canvas.box(ball.centre_mm - margin, ball.centre_mm + margin)
    if found is None:
        return
    where, (x, y, z) = found
    px, py, pz = (p - np.float32(c) for p, c in zip((x, y, z), ball.centre_mm, strict=True))
    part = volume[where]
    np.maximum(part, canvas.share(ball.distance(px, py, pz)), out=part)


@dataclass(frozen=True, slots=True)
class Ball:
    """A lumpy ball: its radius varies with direction by waves (wave, xyz) of amplitudes and phases (wave,)."""

    centre_mm: NDArray[np.float64]  # xyz
    radius_mm: float
    waves: NDArray[np.float32]
    amplitudes: NDArray[np.float32]
    phases: NDArray[np.float32]

    def distance(
        self, px: NDArray[np.float32], py: NDArray[np.float32], pz: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """From the surface along the radius, in mm, negative inside, at points given from the centre."""
        radius = np.sqrt(px**2 + py**2 + pz**2) + np.float32(1e-5)
        return np.asarray(radius - np.float32(self.radius_mm) * self.relief(px / radius, py / radius, pz / radius))

    def relief(self, nx: NDArray[np.float32], ny: NDArray[np.float32], nz: NDArray[np.float32]) -> NDArray[np.float32]:
        """Radius over mean radius in each direction."""
        total = np.ones(np.broadcast(nx, ny, nz).shape, np.float32)
        for (kx, ky, kz), amplitude, phase in zip(self.waves, self.amplitudes, self.phases, strict=True):
            total += amplitude * np.cos(kx * nx + ky * ny + kz * nz + phase)
        return total


def lumpy(centre_mm: NDArray[np.float64], radius_mm: float, roughness: float, random: np.random.Generator) -> Ball:
    """A ball whose radius varies by about that share."""
    waves = random.normal(0, 2.2, (5, 3)).astype(np.float32)
    amplitudes = (roughness * random.normal(0, 0.6, 5)).clip(-roughness, roughness).astype(np.float32)
    return Ball(centre_mm, radius_mm, waves, amplitudes, random.uniform(0, 2 * np.pi, 5).astype(np.float32))
