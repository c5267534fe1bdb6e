"""From a pooled edge spread function to the MTF, with skin over fat, and a cloth over skin, taken into account.

The edge is modelled as

    ESF(x) = A + H [ S(x - x0) - a S_t(x - x0 - t) + b L_c(x - x0 + c) ],    S(x) = integral MTF(f) P(f) sin(2 pi f x) / (pi f) df

with S_t blurred further by the spread s of skin thickness, L_c = S' blurred by the thickness of a cloth c before the skin (b = 0 where the
edge shows none), P(f) what pooling adds: bin width, alignment jitter and the slant of the skin through the slice. A symmetric point
spread leaves no phase, so the phase of the edge alone tells skin and cloth from blur: the air side decides.

MTF(f) = (1 + p (f/f50)^2) exp(-g (f/f50)^n), g = ln 2(1 + p), plus a cubic spline of small values. Given x0, t, a, s, b, c, f50, n and p, the
model is linear in A, H and H times the spline: those are solved for, and only the others are sought by iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, optimize, special

from plugins.ct_harmonizer.mtf.curve import FREQUENCY_PER_MM
from plugins.ct_harmonizer.mtf.edge import BIN_MM, CENTRES_MM
from plugins.ct_harmonizer.physics.clipping import clipped_mean

_STEP_PER_MM = 0.02  # repeats the edge every 25 mm, upside down
_FINE_PER_MM: NDArray[np.float64] = (np.arange(100, dtype=np.float64) + 0.5) * _STEP_PER_MM
_TURNS: NDArray[np.float64] = 2 * np.pi * _FINE_PER_MM
_KNOTS_PER_MM: NDArray[np.float64] = (
    np.arange(1, 21, dtype=np.float64) * 0.1
)  # of the spline, which is 0 at frequency 0

_SKIN_MM, _SKIN_SPREAD_MM = 1.8, 0.5  # dermis and epidermis of the trunk; prior mean and deviation
_SKIN_VARIES_MM, _SKIN_VARIES_SPREAD_MM = 0.25, 0.15  # deviation within one body
_SKIN_OPEN = 0.5  # share of these spreads that a mean over one body has, set by the study
_FAT_STEP, _FAT_STEP_SPREAD = 0.12, 0.08  # (skin - fat) / (skin - air): 0.16 over fat, 0 over muscle
_CLOTH_MM, _CLOTH_SPREAD_MM = 1.3, 0.6  # how far before the skin a cloth's middle lies
_CLOTH_VARIES_MM = 0.3
_CLOTH_GAIN = 30.0  # fall of the misfit (a chi-square) that makes a cloth certain
_CLOTH_LEAST_MM = 0.06  # under it, what looks like a cloth is misfit
_FREE, _SMOOTH = 0.05, 0.05  # deviation of the spline's values, and of their second differences between knots
_AIR_FLOOR_HU, _TISSUE_FLOOR_HU = 2.0, 8.0  # what the model leaves out, as a deviation beside noise
_POSITION_FLOOR_MM = (
    0.006  # and of position: the steep part must not decide alone where clipping hides the air before it
)
_DEEPEST_MM = 3.5  # behind it, other tissue begins
_CLIP_ROUNDS_FIRST, _CLIP_ROUNDS, _CLIP_SETTLED_HU = 2, 6, 0.5

# Of x0, t, a, s, f50, n, p and, with a cloth, b, c:
_LOWEST = np.array((-3.0, 0.5, -0.05, 0.0, 0.1, 1.0, 0.0, 0.0, 0.4))
_HIGHEST = np.array((3.0, 4.0, 0.4, 1.0, 1.8, 9.0, 4.0, 1.0, 3.0))
_SCALE = np.array((0.1, 0.3, 0.05, 0.1, 0.05, 0.5, 0.2, 0.05, 0.3))
_PRIOR_MEAN = np.array((0.0, _SKIN_MM, _FAT_STEP, _SKIN_VARIES_MM, 0.5, 2.5, 0.0, 0.0, _CLOTH_MM))
_PRIOR_SPREAD = np.array(
    (10.0, _SKIN_SPREAD_MM, _FAT_STEP_SPREAD, _SKIN_VARIES_SPREAD_MM, 10.0, 4.0, 2.0, 10.0, _CLOTH_SPREAD_MM)
)
_ORIGIN, _SKIN, _FAT, _VARIES, _F50, _POWER, _LIFT, _CLOTH, _BEFORE = range(9)


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
    esf_hu: NDArray[np.float64]  # at CENTRES_MM, clipped as the scanner clips
    whole_hu: NDArray[np.float64]  # the same not clipped
    parameters: NDArray[np.float64]  # x0, t, a, s, f50, n, p and, with a cloth, b and c
    linear: NDArray[np.float64]  # A, H, and H times the spline at each knot
    pooled_hu: NDArray[np.float64]  # the edge that was fitted
    misfit: float  # sum of squares of weighted residuals and penalties
    residual_hu: float  # root mean square over the bins used

    @property
    def skin_mm(self) -> float:
        return float(self.parameters[_SKIN])

    @property
    def cloth_mm(self) -> float:
        """Thickness of a cloth as if it were as dense as skin, 0 without one."""
        return float(self.parameters[_CLOTH]) if self.parameters.size > _CLOTH else 0.0


class EdgeModel:
    """The model for one blur."""

    def __init__(self, blur: Blur) -> None:
        f = _FINE_PER_MM
        slant = np.mean([np.sinc(f * run) for run in blur.slants_mm], axis=0)
        jitter = np.exp(-2 * (np.pi * f * blur.jitter_mm) ** 2)
        self._pooling = np.sinc(f * BIN_MM) * jitter * slant * _STEP_PER_MM

    def fit(self, esf_hu: NDArray[np.float64], error_hu: NDArray[np.float64], clip: Clip | None = None) -> EdgeFit:
        """Fit an edge over CENTRES_MM in HU; `error_hu` is the standard error of each bin (infinite: not known).

        A cloth is tried, and taken where the edge is much better explained with it.
        """
        weight = _weights(esf_hu, error_hu)
        first = np.array([_crossing(esf_hu, weight > 0), _SKIN_MM, _FAT_STEP, _SKIN_VARIES_MM, 0.4, 2.5, 0.1])
        sharper = first + np.array([0, 0, 0, 0, 0.3, 0, 0.4])  # the way from soft to sharp may be barred
        starts = [self._fit(esf_hu, weight, start, clip, rounds=_CLIP_ROUNDS_FIRST) for start in (first, sharper)]
        plain = min(starts, key=lambda fit: fit.misfit)
        if clip is not None:
            plain = self._fit(esf_hu, weight, plain.parameters, clip, near=plain.whole_hu)
        with_cloth = np.concatenate([plain.parameters, [0.1, _CLOTH_MM]])
        clothed = self._fit(esf_hu, weight, with_cloth, clip, near=plain.whole_hu)
        certain = plain.misfit - clothed.misfit > _CLOTH_GAIN and clothed.cloth_mm > _CLOTH_LEAST_MM
        return clothed if certain else plain

    def refit(
        self, esf_hu: NDArray[np.float64], error_hu: NDArray[np.float64], near: EdgeFit, clip: Clip | None = None
    ) -> EdgeFit:
        """Fit an edge like one that was fitted before, with a cloth where that one has a cloth."""
        return self._fit(esf_hu, _weights(esf_hu, error_hu), near.parameters, clip, near=near.whole_hu)

    def vary(
        self,
        best: EdgeFit,
        error_hu: NDArray[np.float64],
        edges_hu: NDArray[np.float64],
        random: np.random.Generator,
        clip: Clip | None = None,
    ) -> NDArray[np.float64]:
        """MTF (n, frequency) of edges (n, depth) near the fitted one, to first order in their difference from it.

        With each the skin's prior is drawn anew: what the edge cannot tell of skin and fat, a soft kernel's above all, is left open.
        """
        weight = _weights(best.pooled_hu, error_hu)
        at, linear = best.parameters, best.linear
        design = self._design(at)
        model = design @ linear
        passed = 1.0 if clip is None else special.ndtr((model - clip.floor_hu) / clip.noise_hu)
        steps = _SCALE[: at.size] * 1e-2
        moved = [(self._design(at + step) @ linear - model) / step.sum() for step in np.diag(steps)]
        data = np.concatenate([np.stack(moved, axis=1), design], axis=1) * (weight * passed)[:, None]
        held = np.zeros((at.size + len(_PENALTY), data.shape[1]))
        held[: at.size, : at.size] = np.diag(1 / _PRIOR_SPREAD[: at.size])
        held[at.size :, at.size :] = _PENALTY
        answer = np.linalg.pinv(np.concatenate([data, held])).T
        drawn = _SKIN_OPEN * random.standard_normal((len(edges_hu), _VARIES + 1 - _SKIN))
        skin = drawn @ answer[weight.size + _SKIN : weight.size + _VARIES + 1]
        change = ((edges_hu - best.pooled_hu) * weight) @ answer[: weight.size] + skin
        parameters = np.clip(at + change[:, : at.size], _LOWEST[: at.size], _HIGHEST[: at.size])
        others = linear + change[:, at.size :]
        return np.stack([_mtf(one, other) for one, other in zip(parameters, others, strict=True)])

    def _fit(
        self,
        esf_hu: NDArray[np.float64],
        weight: NDArray[np.float64],
        start: NDArray[np.float64],
        clip: Clip | None,
        *,
        near: NDArray[np.float64] | None = None,
        rounds: int = _CLIP_ROUNDS,
    ) -> EdgeFit:
        """The best fit from `start`; `near` is a model near it. Clipping is followed by Newton's method, `rounds` times at most."""
        low, high = _LOWEST[: start.size], _HIGHEST[: start.size]
        best, model = start, np.full(esf_hu.shape, np.inf) if near is None else near
        for _ in range(1 if clip is None else rounds):
            target, told = (esf_hu, weight) if clip is None else _unclipped(esf_hu, weight, model, clip)
            found = optimize.least_squares(
                lambda at, y=target, w=told: self._residuals(at, y, w)[0],
                np.clip(best, low + 1e-6, high - 1e-6),
                bounds=(low, high),
                x_scale=_SCALE[: start.size],
                diff_step=1e-4,
                xtol=1e-4,
                ftol=1e-5,
                max_nfev=60,
            )
            best, misfit, before = found.x, 2 * float(found.cost), model
            linear = self._residuals(best, target, told)[1]
            model = self._design(best) @ linear
            if clip is None or np.abs(model - before)[weight > 0].max() < _CLIP_SETTLED_HU:
                break
        seen = model if clip is None else clipped_mean(model, clip.floor_hu, clip.noise_hu)
        left = (esf_hu - seen)[weight > 0]
        return EdgeFit(_mtf(best, linear), seen, model, best, linear, esf_hu, misfit, float(np.sqrt(np.mean(left**2))))

    def _design(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns at CENTRES_MM for A, H, and H times the spline at each knot."""
        skin, fat = _TURNS * at[_ORIGIN], _TURNS * (at[_ORIGIN] + at[_SKIN])
        step = at[_FAT] * np.exp(-2 * (np.pi * _FINE_PER_MM * at[_VARIES]) ** 2)
        scale = 1 / (np.pi * _FINE_PER_MM)
        sine = scale * (np.cos(skin) - step * np.cos(fat))  # what multiplies sin(2 pi f x)
        cosine = -scale * (np.sin(skin) - step * np.sin(fat))
        if at.size > _CLOTH:
            cloth = _TURNS * (at[_ORIGIN] - at[_BEFORE])
            line = 2 * at[_CLOTH] * np.exp(-2 * (np.pi * _FINE_PER_MM * _CLOTH_VARIES_MM) ** 2)
            sine = sine + line * np.sin(cloth)
            cosine = cosine + line * np.cos(cloth)
        curves = np.concatenate([_shape(_FINE_PER_MM, at)[:, None], _SPLINES_FINE], axis=1) * self._pooling[:, None]
        edges = _SINES @ (sine[:, None] * curves) + _COSINES @ (cosine[:, None] * curves)
        return np.concatenate([np.ones((CENTRES_MM.size, 1)), edges], axis=1)

    def _residuals(
        self, at: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weighted residuals with penalties and priors below them, and the linear part at its best."""
        rows = np.concatenate([self._design(at) * weight[:, None], _PENALTY])
        wanted = np.concatenate([target * weight, np.zeros(len(_PENALTY))])
        normal = rows.T @ rows
        normal[0, 0] += 1e-9
        linear = np.linalg.solve(normal, rows.T @ wanted)
        prior = (at - _PRIOR_MEAN[: at.size]) / _PRIOR_SPREAD[: at.size]
        return np.concatenate([rows @ linear - wanted, prior]), linear


def _shape(frequency_per_mm: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The family of curves that kernels are like: soft ones with p = 0, edge-enhancing ones above 1."""
    ratio = frequency_per_mm / at[_F50]
    fall = np.log(2 * (1 + at[_LIFT]))
    return np.asarray((1 + at[_LIFT] * ratio**2) * np.exp(-np.minimum(fall * ratio ** at[_POWER], 700.0)))


def _splines(frequency_per_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(frequency, knot): the spline that is 1 at a knot and 0 at the others and at frequency 0, where it is flat."""
    knots = np.concatenate([[0.0], _KNOTS_PER_MM])
    return np.asarray(interpolate.CubicSpline(knots, np.eye(knots.size), bc_type="clamped")(frequency_per_mm))[:, 1:]


def _penalties() -> NDArray[np.float64]:
    """Size and second differences of the spline, in units of H, about 1050 HU."""
    count = _KNOTS_PER_MM.size
    bent = np.diff(np.eye(count + 1), n=2, axis=0)[:, 1:] / _SMOOTH
    rows = np.concatenate([np.eye(count) / _FREE, bent]) / 1050
    return np.concatenate([np.zeros((len(rows), 2)), rows], axis=1)


def _mtf(at: NDArray[np.float64], linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve at FREQUENCY_PER_MM."""
    return np.asarray(np.maximum(_shape(FREQUENCY_PER_MM, at) + _SPLINES_GIVEN @ linear[2:] / linear[1], 0.0))


_SPLINES_FINE, _SPLINES_GIVEN = _splines(_FINE_PER_MM), _splines(FREQUENCY_PER_MM)
_SINES, _COSINES = np.sin(CENTRES_MM[:, None] * _TURNS), np.cos(CENTRES_MM[:, None] * _TURNS)
_PENALTY = _penalties()


def _weights(esf_hu: NDArray[np.float64], error_hu: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over the deviation of each bin: its standard error, and what the model leaves out."""
    known = np.isfinite(error_hu)
    used = known & (CENTRES_MM < _DEEPEST_MM)
    slope = np.gradient(np.interp(CENTRES_MM, CENTRES_MM[known], esf_hu[known]), BIN_MM)
    floor = np.hypot(np.where(CENTRES_MM < 0, _AIR_FLOOR_HU, _TISSUE_FLOOR_HU), _POSITION_FLOOR_MM * slope)
    return np.where(used, 1 / np.sqrt(np.where(used, error_hu, 0.0) ** 2 + floor**2), 0.0)


def _crossing(esf_hu: NDArray[np.float64], used: NDArray[np.bool_]) -> float:
    """Where the edge first passes -480 HU, in mm."""
    over = np.flatnonzero(used & (esf_hu > -480))
    return float(CENTRES_MM[over[0]]) if over.size else 0.0


def _unclipped(
    esf_hu: NDArray[np.float64], weight: NDArray[np.float64], model_hu: NDArray[np.float64], clip: Clip
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One step of Newton's method from a model to what the edge would be without clipping, and its weights.

    What is nearly always clipped tells next to nothing. An infinite model is none yet: the edge is taken as it is.
    """
    if not np.isfinite(model_hu).all():
        return esf_hu, weight
    passed = np.maximum(special.ndtr((model_hu - clip.floor_hu) / clip.noise_hu), 1e-3)
    return model_hu + (esf_hu - clipped_mean(model_hu, clip.floor_hu, clip.noise_hu)) / passed, weight * passed
