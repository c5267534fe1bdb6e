"""From a pooled edge spread function to the MTF, with the second edge of skin over fat taken into account.

The edge is modelled as

    ESF(x) = A + H [ S(x - x0) - a S_t(x - x0 - t) ],    S(x) = integral MTF(f) P(f) sin(2 pi f x) / (pi f) df

with S_t blurred further by the spread of skin thickness, P(f) what pooling adds: bin width, alignment jitter and the slant of the skin
through the slice. MTF is a cubic spline; given (x0, t, a) the model is linear in A and H MTF, so only three numbers are sought by
iteration. A symmetric point spread leaves no phase, so the phase of the edge alone tells skin from blur: the air side decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, optimize, special

from plugins.ct_harmonizer.mtf.curve import FREQUENCY_PER_MM
from plugins.ct_harmonizer.mtf.edge import BIN_MM, CENTRES_MM

KNOTS_PER_MM: NDArray[np.float64] = np.concatenate([np.arange(0.0, 0.8, 0.1), np.arange(0.8, 2.01, 0.15)])
_FINE_PER_MM: NDArray[np.float64] = (np.arange(500) + 0.5) * 0.004
_GRID_MM = 0.01
_REACH_MM = 20.0

_SKIN_MM, _SKIN_SPREAD_MM = 1.8, 0.5  # dermis and epidermis of the trunk; prior mean and deviation
_SKIN_VARIES_MM = 0.3  # within one body
_FAT_STEP, _FAT_STEP_SPREAD = 0.12, 0.08  # (skin - fat) / (skin - air): 0.16 over fat, 0 over muscle
_SMOOTH = 0.06  # deviation of the second difference between knots
_AIR_FLOOR_HU, _TISSUE_FLOOR_HU = 2.0, 8.0  # what the model leaves out, as a deviation beside noise
_DEEPEST_MM = 3.5  # behind it, other tissue begins


@dataclass(frozen=True, slots=True)
class Blur:
    """What pooling adds to the blur of the scanner."""

    jitter_mm: float  # standard deviation of position
    slants_mm: tuple[float, ...]  # run of the skin through the slice, for each of some quantiles of the arcs


@dataclass(frozen=True, slots=True)
class Clip:
    """A floor below which the scanner stores nothing (often -1024 HU), and the noise that it cuts."""

    floor_hu: float
    noise_hu: float


@dataclass(frozen=True, slots=True)
class EdgeFit:
    """The model at its best."""

    mtf: NDArray[np.float64]  # at FREQUENCY_PER_MM, 1 at zero
    esf_hu: NDArray[np.float64]  # at CENTRES_MM
    origin_mm: float  # x0: where the skin begins
    skin_mm: float  # t
    fat_step: float  # a
    air_hu: float
    residual_hu: float  # root mean square over the bins used


class EdgeModel:
    """The model for one blur; `fit` may be called for many edges (the bootstrap does)."""

    def __init__(self, blur: Blur) -> None:
        self._thin = _basis(blur, 0.0)
        self._thick = _basis(blur, _SKIN_VARIES_MM)
        self._splines = _splines(FREQUENCY_PER_MM)

    def fit(
        self,
        esf_hu: NDArray[np.float64],
        error_hu: NDArray[np.float64],
        start: tuple[float, float, float] | None = None,
        clip: Clip | None = None,
    ) -> EdgeFit:
        """Fit an edge over CENTRES_MM in HU; `error_hu` is the standard error of each bin (infinite: not known)."""
        used = np.isfinite(error_hu) & (CENTRES_MM < _DEEPEST_MM)
        floor = np.where(CENTRES_MM < 0, _AIR_FLOOR_HU, _TISSUE_FLOOR_HU)
        weight = np.where(used, 1 / np.sqrt(np.where(used, error_hu, 0) ** 2 + floor**2), 0.0)
        target = esf_hu.copy()
        first = start or (_crossing(esf_hu, used), _SKIN_MM, _FAT_STEP)
        best = np.asarray(first)
        linear = np.zeros(0)
        for _ in range(1 if clip is None else 4):
            found = optimize.least_squares(
                lambda x, y=target: self._residuals(x, y, weight)[0],
                best,
                bounds=([-3.0, 0.5, -0.05], [3.0, 4.0, 0.4]),
                x_scale=(0.1, 0.3, 0.05),
                diff_step=1e-4,
                xtol=1e-6,
                ftol=1e-8,
            )
            best = found.x
            linear = self._residuals(best, target, weight)[1]
            if clip is not None:
                model = self._design(best) @ linear
                target = esf_hu + model - _clipped_mean(model, clip)
        model = self._design(best) @ linear
        mtf = self._splines @ linear[1:] / linear[1]
        left = (target - model)[used]
        origin, skin, step = map(float, best)
        return EdgeFit(
            np.maximum(mtf, 0.0),
            model if clip is None else _clipped_mean(model, clip),
            origin,
            skin,
            step,
            float(linear[0] - linear[1] * (1 - step) / 2),
            float(np.sqrt(np.mean(left**2))),
        )

    def _design(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns for A and for H MTF at each knot, at CENTRES_MM."""
        origin, skin, step = at
        near = _shifted(self._thin, origin)
        far = _shifted(self._thick, origin + skin)
        return np.concatenate([np.ones((CENTRES_MM.size, 1)), near - step * far], axis=1)

    def _residuals(
        self, at: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weighted residuals with the penalties below them, and the linear part at its best."""
        design = self._design(at)
        rows = np.concatenate([design * weight[:, None], _PENALTY])
        wanted = np.concatenate([target * weight, np.zeros(len(_PENALTY))])
        linear = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        prior = [(at[1] - _SKIN_MM) / _SKIN_SPREAD_MM, (at[2] - _FAT_STEP) / _FAT_STEP_SPREAD]
        return np.concatenate([rows @ linear - wanted, prior]), linear


def _penalties() -> NDArray[np.float64]:
    """Second differences of MTF between knots, and its end at zero; in units of H, about 1000 HU."""
    count = KNOTS_PER_MM.size
    rows = []
    for knot in range(1, count - 1):
        left, right = KNOTS_PER_MM[knot] - KNOTS_PER_MM[knot - 1], KNOTS_PER_MM[knot + 1] - KNOTS_PER_MM[knot]
        row = np.zeros(count + 1)
        mean = (left + right) / 2
        row[knot], row[knot + 1], row[knot + 2] = mean / left, -mean / left - mean / right, mean / right
        rows.append(row / (_SMOOTH * (mean / 0.1) ** 2 * 1050))
    # Even in frequency: the slope at zero is zero.
    even = np.zeros(count + 1)
    even[1], even[2] = -1, 1
    rows.append(even / (_SMOOTH / 2 * 1050))
    for knot in range(count):
        if KNOTS_PER_MM[knot] > 1.75:
            end = np.zeros(count + 1)
            end[knot + 1] = 1 / (0.02 * 1050)
            rows.append(end)
    return np.stack(rows)


_PENALTY = _penalties()


def _splines(frequency_per_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(frequency, knot): the spline that is 1 at a knot and 0 at the others, flat at zero frequency."""
    spline = interpolate.CubicSpline(KNOTS_PER_MM, np.eye(KNOTS_PER_MM.size), bc_type="clamped")
    return np.asarray(spline(frequency_per_mm))


@lru_cache(maxsize=1)
def _waves() -> NDArray[np.float64]:
    """(distance, frequency): sin(2 pi f x) / (pi f) df for distances of 0 to _REACH_MM."""
    x = np.arange(round(_REACH_MM / _GRID_MM) + 1) * _GRID_MM
    return np.asarray(np.sin(2 * np.pi * x[:, None] * _FINE_PER_MM) / (np.pi * _FINE_PER_MM) * 0.004)


def _basis(blur: Blur, spread_mm: float) -> NDArray[np.float64]:
    """(distance, knot): the edge of each spline over distances of -_REACH_MM to _REACH_MM, without its constant half."""
    f = _FINE_PER_MM
    pooling = np.sinc(f * BIN_MM) * np.exp(-2 * (np.pi * f) ** 2 * (blur.jitter_mm**2 + spread_mm**2))
    if blur.slants_mm:
        pooling = pooling * np.mean([np.sinc(f * slant) for slant in blur.slants_mm], axis=0)
    half = _waves() @ (_splines(f) * pooling[:, None])
    return np.concatenate([-half[:0:-1], half])


def _shifted(basis: NDArray[np.float64], by_mm: float) -> NDArray[np.float64]:
    """The basis at CENTRES_MM - by_mm."""
    at = (CENTRES_MM - by_mm + _REACH_MM) / _GRID_MM
    index = np.clip(at.astype(np.int64), 0, len(basis) - 2)
    share = (at - index)[:, None]
    return basis[index] * (1 - share) + basis[index + 1] * share


def _crossing(esf_hu: NDArray[np.float64], used: NDArray[np.bool_]) -> float:
    """Where the edge first passes -480 HU, in mm."""
    over = np.flatnonzero(used & (esf_hu > -480))
    return float(CENTRES_MM[over[0]]) if over.size else 0.0


def _clipped_mean(mean_hu: NDArray[np.float64], clip: Clip) -> NDArray[np.float64]:
    """Mean of max(floor, N(mean, noise)): what averaging sees of values that a scanner has clipped."""
    noise = max(clip.noise_hu, 1e-3)
    z = (mean_hu - clip.floor_hu) / noise
    density = np.exp(-(np.minimum(np.abs(z), 30.0) ** 2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(clip.floor_hu + (mean_hu - clip.floor_hu) * special.ndtr(z) + noise * density)
