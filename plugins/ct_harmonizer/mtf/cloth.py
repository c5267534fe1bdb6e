"""Which arcs lie bare: a cloth, foam or hair before the skin is closer than the blur can part, and reads as blur."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from plugins.ct_harmonizer.mtf.edge import BIN_MM, CENTRES_MM, Samples

_BEFORE_MM = 5.0
_NEAR_MM = 25.0
_NEIGHBOURS, _NEIGHBOURS_LEAST = 30, 5
_SHARE = 0.75  # of the neighbours that must show nothing: half would keep the arcs along a hem
_ARCS_LEAST = 100  # fewer form no clusters to tell apart
_CLUSTER_SHARE = 0.15  # of all arcs that the bare ones are at least
_ROUNDS = 2  # the first with the edge of all
_DEVIATIONS = 3.0
_BEFORE_HU = 3.0  # mean over 5 mm: a cloth of 0.015 mm as dense as skin


def bare(samples: Samples, at_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which arcs, at `at_mm` (arc, 3) in the volume, have nothing before the skin.

    One arc knows what lies before it to some 6 HU, a cloth of 0.1 mm adds 10 to 25. A cloth spans many arcs, so an arc is judged by its
    neighbours, whose noise is not its own, and kept where they are of the lowest cluster; by itself it is only held against what is left.
    """
    kept = np.ones(samples.count, bool)
    for _ in range(_ROUNDS):
        before = _before(samples, kept)
        around = _around(before, at_mm)
        known = np.isfinite(around)
        if known.sum() < _ARCS_LEAST:
            return kept
        level, deviation = _lowest_cluster(around[known])
        kept = known & (np.abs(around - level) <= _DEVIATIONS * deviation + _BEFORE_HU)
    middle = float(np.median(before[kept]))
    scatter = 1.48 * float(np.median(np.abs(before[kept] - middle)))
    return kept & (np.abs(before - middle) <= _DEVIATIONS * scatter + _BEFORE_HU)


def _before(samples: Samples, pooled: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What lies before each arc: the mean HU of the last 5 mm, less the mean of the air 5 to 10 mm before it.

    Its weights are made such that neither a shift nor a wider blur of the edge of the `pooled` arcs changes it: x dESF/dx is what blur adds.
    """
    near = (samples.depth_mm > -_BEFORE_MM) & (samples.depth_mm < 0.0)
    far = samples.depth_mm <= -_BEFORE_MM
    air = _means(samples.arc[far], samples.hu[far], samples.count)
    depth = CENTRES_MM[(CENTRES_MM > -_BEFORE_MM) & (CENTRES_MM < 0.0)]
    own = near & pooled[samples.arc]
    at = np.clip(((samples.depth_mm[own] + _BEFORE_MM) / BIN_MM).astype(np.int64), 0, depth.size - 1)
    esf = _means(at, samples.hu[own], depth.size)
    slope = np.gradient(esf, BIN_MM)
    changes = np.stack([slope, depth * slope], axis=1)
    weight = 1 - changes @ np.linalg.lstsq(changes, np.ones(depth.size))[0]
    arc = samples.arc[near]
    excess = (samples.hu[near] - air[arc]) * np.interp(samples.depth_mm[near], depth, weight)
    return _means(arc, excess, samples.count)


def _means(which: NDArray[np.integer[Any]], values: NDArray[np.floating[Any]], count: int) -> NDArray[np.float64]:
    """The mean of the values of each of `count`, 0 where there are none."""
    total = np.asarray(np.bincount(which, values, count), np.float64)
    return total / np.maximum(np.bincount(which, minlength=count), 1)


def _around(before: NDArray[np.float64], at_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """What _SHARE of an arc's nearest others stay under; NaN for an arc that is alone."""
    if before.size <= _NEIGHBOURS_LEAST:
        return np.full(before.size, np.nan)
    count = min(_NEIGHBOURS + 1, before.size)
    _, who = KDTree(at_mm).query(at_mm, k=count, distance_upper_bound=_NEAR_MM)
    others = np.sort(np.append(before, np.inf)[who[:, 1:]], axis=1)  # the nearest is the arc itself
    number = (who[:, 1:] < before.size).sum(axis=1)
    at = np.maximum(np.ceil(_SHARE * number).astype(np.int64) - 1, 0)
    return np.where(number >= _NEIGHBOURS_LEAST, others[np.arange(before.size), at], np.nan)


def _lowest_cluster(values: NDArray[np.float64]) -> tuple[float, float]:
    """Middle of the lowest cluster, and its deviation by its left flank, which nothing but noise makes."""
    ordered = np.sort(values)
    wide = round(_CLUSTER_SHARE * ordered.size)
    widths = ordered[wide:] - ordered[:-wide]
    first = int(np.argmax(widths <= 4 * widths.min()))  # a higher cluster may be denser
    while (ahead := int(np.argmin(widths[first : first + wide]))) > 0:
        first += ahead
    level = float(np.median(ordered[first : first + wide + 1]))
    below = ordered[ordered < level]
    return level, 1.48 * float(np.median(level - below)) if below.size else 0.0
