"""Edge samples around the arcs: which arcs are clean, how they line up, and their pooled edge spread function."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.mtf.skin import ARC_MM, Arcs

AIR_MM, TISSUE_MM = 10.0, 4.5  # reach of a profile outwards and inwards
BIN_MM = 0.1
EDGES_MM: NDArray[np.float64] = (
    np.arange(-round(AIR_MM / BIN_MM), round(TISSUE_MM / BIN_MM) + 1, dtype=np.float64) * BIN_MM
)
CENTRES_MM: NDArray[np.float64] = (EDGES_MM[:-1] + EDGES_MM[1:]) / 2

_AIR_OFF_HU = 60.0  # how far the air before the skin may be from -1000 HU
_TISSUE_LEAST_HU, _TISSUE_MOST_HU = -180.0, 400.0  # fat is -120; a cushion pressed on the skin reads under -180
_ROUGH_MM = 0.35
_TIGHTEST_RADIUS_MM = 25.0
_SHIFT_MOST_MM = 0.8
_NEAR_MM = 5.0  # of the line, what alignment looks at, and what may be moved there
_SMOOTHED_MM = 0.15


@dataclass(frozen=True, slots=True)
class Samples:
    """Pixels around accepted arcs: n pixels of m arcs, ordered by arc. Depth runs from air (negative) into tissue."""

    arc: NDArray[np.int32]  # (n,)
    along: NDArray[np.float32]  # (n,), -1 to 1 along the arc
    depth_mm: NDArray[np.float32]  # (n,)
    hu: NDArray[np.float32]  # (n,)
    count: int  # m


@dataclass(frozen=True, slots=True)
class Profile:
    """Sums over the pixels of each arc and each bin of depth; bins are CENTRES_MM."""

    total_hu: NDArray[np.float64]  # (arc, bin)
    pixels: NDArray[np.float64]  # (arc, bin)

    def mean(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pooled edge spread function in HU, and pixels per bin."""
        pixels = self.pixels.sum(axis=0)
        return self.total_hu.sum(axis=0) / np.maximum(pixels, 1), pixels


def gather(
    image: NDArray[np.float32],
    missing: NDArray[np.bool_],
    arcs: Arcs,
    *,
    pixel_mm: tuple[float, float],
    obliquity_most: float,
    refused: Counter[str],
) -> tuple[NDArray[np.int64], Samples]:
    """Sample one slice (row, column) in HU around its arcs, and keep the arcs that are a clean skin-air edge.

    `refused` counts, by reason, the arcs that are not. Returns the indices of the kept arcs and their pixels.
    """
    radius = 1 / np.maximum(2 * np.abs(arcs.course[:, 2]), 1e-9)
    fit = _sift(
        np.arange(len(arcs)),
        refused,
        ("surface oblique to the slice", arcs.obliquity > obliquity_most),
        ("rough outline: hair, folds or noise", arcs.roughness_mm > _ROUGH_MM),
        ("strongly curved or concave", (radius < _TIGHTEST_RADIUS_MM) | (arcs.course[:, 2] < -1 / 200)),
    )
    if fit.size == 0:
        return fit, _no_samples()
    reach = np.hypot(AIR_MM, ARC_MM / 2)
    rows, columns = (np.arange(-(n := int(np.ceil(reach / size))), n + 1) for size in pixel_mm)
    start = np.rint(arcs.centre_mm[fit] / pixel_mm).astype(np.int64)
    row = start[:, 0, None, None] + rows[None, :, None]
    column = start[:, 1, None, None] + columns[None, None, :]
    away_row = (row * pixel_mm[0] - arcs.centre_mm[fit, 0, None, None]).astype(np.float32)
    away_column = (column * pixel_mm[1] - arcs.centre_mm[fit, 1, None, None]).astype(np.float32)
    tangent, inward = arcs.tangent[fit].astype(np.float32), arcs.inward[fit].astype(np.float32)
    course = arcs.course[fit].astype(np.float32)
    u = away_row * tangent[:, 0, None, None] + away_column * tangent[:, 1, None, None]
    v = away_row * inward[:, 0, None, None] + away_column * inward[:, 1, None, None]
    near = np.flatnonzero((np.abs(u) <= ARC_MM / 2) & (np.abs(v) <= AIR_MM + 1))
    which, inside_row, inside_column = np.unravel_index(near, u.shape)
    u, v = u.ravel()[near], v.ravel()[near]
    slope = course[which, 1] + 2 * course[which, 2] * u
    depth = (v - (course[which, 0] + course[which, 1] * u + course[which, 2] * u * u)) / np.sqrt(1 + slope * slope)
    within = (depth >= EDGES_MM[0]) & (depth < EDGES_MM[-1])
    which, u, depth = which[within], u[within], depth[within]
    row = row[which, inside_row[within], 0]
    column = column[which, 0, inside_column[within]]
    off = (row < 0) | (column < 0) | (row >= image.shape[0]) | (column >= image.shape[1])
    row, column = np.clip(row, 0, image.shape[0] - 1), np.clip(column, 0, image.shape[1] - 1)
    hu = image[row, column]
    off |= missing[row, column]
    clean = _clean(which, depth, hu, off, count=fit.size, refused=refused)
    number = np.cumsum(clean) - 1
    keep = clean[which]
    samples = Samples(
        number[which[keep]].astype(np.int32),
        (u[keep] / (ARC_MM / 2)).astype(np.float32),
        depth[keep].astype(np.float32),
        hu[keep],
        int(clean.sum()),
    )
    return fit[clean], samples


def _clean(
    which: NDArray[np.int64],
    depth: NDArray[np.float32],
    hu: NDArray[np.float32],
    off: NDArray[np.bool_],
    *,
    count: int,
    refused: Counter[str],
) -> NDArray[np.bool_]:
    """Which of `count` arcs have clear air before and soft tissue behind the skin, from 1 mm means of their pixels."""
    bins = round(AIR_MM + TISSUE_MM + 0.5)
    cell = which * bins + np.floor(depth - EDGES_MM[0]).astype(np.int64)
    shape = (count, bins)
    pixels = np.bincount(cell, minlength=count * bins).reshape(shape)
    mean = np.bincount(cell, hu, count * bins).reshape(shape) / np.maximum(pixels, 1)
    far = int(AIR_MM) - 3  # bins of air from 10 to 3 mm before the skin
    spread = np.bincount(cell, hu.astype(np.float64) ** 2, count * bins).reshape(shape) / np.maximum(pixels, 1)
    noise = np.sqrt(np.maximum(spread - mean**2, 0) / np.maximum(pixels, 1))
    air = np.abs(mean[:, :far] + 1000) > _AIR_OFF_HU + 3 * noise[:, :far]
    inside = slice(int(AIR_MM) + 1, int(AIR_MM) + 4)
    thin = mean[:, inside] < _TISSUE_LEAST_HU - 3 * noise[:, inside]
    dense = mean[:, inside] > _TISSUE_MOST_HU
    kept = _sift(
        np.arange(count),
        refused,
        ("at the edge of the field of view", np.bincount(which[off], minlength=count) > 0),
        ("too few pixels", np.any(pixels[:, : int(AIR_MM) + 4] < 3, axis=1)),
        ("no clear air: table, arm, clothes or a tube", np.any(air, axis=1)),
        ("no soft tissue behind the skin", np.any(thin | dense, axis=1)),
    )
    clean = np.zeros(count, bool)
    clean[kept] = True
    return clean


def _sift(
    candidates: NDArray[np.int64], refused: Counter[str], *reasons: tuple[str, NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """The candidates no reason speaks against; each of the others is counted under its first reason."""
    left = candidates
    for reason, against in reasons:
        refused[reason] += int(against[left].sum())
        left = left[~against[left]]
    return left


def _no_samples() -> Samples:
    none = np.zeros(0, np.float32)
    return Samples(np.zeros(0, np.int32), none, none, none, 0)


def join(parts: list[Samples]) -> Samples:
    """The samples of several slices, arcs numbered on."""
    offsets = np.cumsum([0, *(part.count for part in parts)])
    if not parts:
        return _no_samples()
    return Samples(
        np.concatenate([part.arc + np.int32(offset) for part, offset in zip(parts, offsets[:-1], strict=True)]),
        np.concatenate([part.along for part in parts]),
        np.concatenate([part.depth_mm for part in parts]),
        np.concatenate([part.hu for part in parts]),
        int(offsets[-1]),
    )


def profile(samples: Samples) -> Profile:
    """Bin the samples by depth, arc by arc."""
    bins = CENTRES_MM.size
    index = np.floor((samples.depth_mm - EDGES_MM[0]) / BIN_MM).astype(np.int64)
    inside = (index >= 0) & (index < bins)
    cell = samples.arc[inside].astype(np.int64) * bins + index[inside]
    shape = (samples.count, bins)
    size = samples.count * bins
    return Profile(
        np.asarray(np.bincount(cell, samples.hu[inside], size), np.float64).reshape(shape),
        np.asarray(np.bincount(cell, minlength=size), np.float64).reshape(shape),
    )


def align(samples: Samples, rounds: int = 4) -> tuple[Samples, NDArray[np.bool_], float]:
    """Move each arc's line (a parabola) until its pixels lie on the pooled edge.

    Only the air-side half of the edge counts: behind it, skin and fat differ from place to place. Returns the moved samples, which arcs
    settled, and the standard deviation in mm of the position error that noise leaves in an arc.
    """
    near = _part(samples, np.abs(samples.depth_mm) < _NEAR_MM)
    shifts = np.zeros((samples.count, 3))
    jitter_mm = 0.0
    for _ in range(rounds):
        moved = _moved(near, shifts)
        esf = _pooled(moved)
        slope = np.gradient(esf, BIN_MM) * _trusted(esf)
        seen = CENTRES_MM[slope != 0]
        edge = _part(
            moved, (moved.depth_mm > seen.min(initial=9) - BIN_MM) & (moved.depth_mm < seen.max(initial=-9) + BIN_MM)
        )
        steep = np.interp(edge.depth_mm, CENTRES_MM, slope).astype(np.float32)
        left = edge.hu - np.interp(edge.depth_mm, CENTRES_MM, esf).astype(np.float32)
        step, spread = _solve(edge, steep, left)
        shifts += np.clip(step, -0.4, 0.4)
        if left.size:
            jitter_mm = float(np.sqrt(np.mean(left**2, dtype=np.float64) * np.median(spread)))
    settled = np.all(np.abs(shifts) < _SHIFT_MOST_MM, axis=1)
    return _moved(samples, shifts), settled, jitter_mm


def _solve(
    edge: Samples, steep: NDArray[np.float32], left: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least-squares parabola (arc, 3) that moves what is `left` away, for an edge of slope `steep`, and by arc the variance of the
    line's position for each HU^2 of a pixel's.
    """
    powers = [np.ones_like(edge.along)]
    for _ in range(4):
        powers.append(powers[-1] * edge.along)
    sums = [np.bincount(edge.arc, steep * steep * power, edge.count) for power in powers]
    right = np.stack([np.bincount(edge.arc, steep * left * power, edge.count) for power in powers[:3]], axis=1)
    normal = np.stack([np.stack(sums[i : i + 3], axis=-1) for i in range(3)], axis=-2)
    held = 0.02 * max(float(np.median(sums[0])) if edge.count else 1.0, 1e-6)
    inverse = np.linalg.inv(normal + held * np.eye(3))
    # Mean over the arc of b' N^-1 b for b = (1, s, s^2).
    spread = inverse[:, 0, 0] + inverse[:, 1, 1] / 3 + inverse[:, 2, 2] / 5 + 2 * inverse[:, 0, 2] / 3
    return np.einsum("nij,nj->ni", inverse, right), spread


def _moved(samples: Samples, shifts: NDArray[np.float64]) -> Samples:
    """The samples with each arc's line moved by its parabola (arc, 3) in mm over -1 to 1."""
    level, tilt, bend = (by.astype(np.float32)[samples.arc] for by in shifts.T)
    moved = samples.depth_mm + level + samples.along * (tilt + samples.along * bend)
    return Samples(samples.arc, samples.along, moved, samples.hu, samples.count)


def _part(samples: Samples, mask: NDArray[np.bool_]) -> Samples:
    """Some of the pixels, arcs numbered as they were."""
    at = np.flatnonzero(mask)
    return Samples(samples.arc[at], samples.along[at], samples.depth_mm[at], samples.hu[at], samples.count)


def _pooled(samples: Samples) -> NDArray[np.float64]:
    """Mean HU at CENTRES_MM, linear where no pixel fell."""
    index = np.floor((samples.depth_mm - EDGES_MM[0]) / BIN_MM).astype(np.int64)
    inside = (index >= 0) & (index < CENTRES_MM.size)
    pixels = np.bincount(index[inside], minlength=CENTRES_MM.size)
    total = np.bincount(index[inside], samples.hu[inside], CENTRES_MM.size)
    known = pixels > 0
    return np.interp(CENTRES_MM, CENTRES_MM[known], total[known] / pixels[known])


def sharpening(esf_hu: NDArray[np.float64], jitter_mm: float) -> NDArray[np.float64]:
    """What alignment to noise adds to a pooled edge over CENTRES_MM, in HU.

    A pixel that noise lifts moves its arc deeper, and itself with it. To first order the pooled edge loses d/dx (variance of
    position x slope of the edge) where pixels count in the alignment: it looks sharper than the blur of that variance leaves it.
    """
    padded = np.concatenate([np.full(9, esf_hu[0]), esf_hu, np.full(9, esf_hu[-1])])
    smooth = np.exp(-0.5 * (np.arange(-9, 10) * BIN_MM / _SMOOTHED_MM) ** 2)
    slope = np.gradient(np.convolve(padded, smooth / smooth.sum(), mode="valid"), BIN_MM)
    return -(jitter_mm**2) * np.gradient(slope * _trusted(esf_hu), BIN_MM)


def _trusted(esf_hu: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the alignment looks: the air side of the edge, up to 3 mm before it."""
    middle = float(np.interp(0.0, CENTRES_MM, esf_hu))
    return np.where((np.abs(CENTRES_MM) < 3.0) & (esf_hu < max(middle, -500.0)), 1.0, 0.0)


def select(samples: Samples, keep: NDArray[np.bool_]) -> Samples:
    """The samples of the kept arcs, renumbered."""
    number = np.cumsum(keep) - 1
    mask = keep[samples.arc]
    return Samples(
        number[samples.arc[mask]].astype(np.int32),
        samples.along[mask],
        samples.depth_mm[mask],
        samples.hu[mask],
        int(keep.sum()),
    )
