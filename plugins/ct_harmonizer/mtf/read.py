"""The MTF of pooled, aligned arcs, with its interval: from pixels by depth to a curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from plugins.ct_harmonizer.mtf.curve import FREQUENCY_PER_MM, Band, MTFCurve, crossing
from plugins.ct_harmonizer.mtf.edge import CENTRES_MM, Profile, Samples, sharpening
from plugins.ct_harmonizer.mtf.fit import Blur, Clip, EdgeFit, EdgeModel

RESAMPLES = 200

# Relative deviations of f50 and f10 that the model itself leaves, beside the scatter between arcs. The first three are set
# by the study of virtual bodies so that the intervals hold the truth as often as they say; the others are judgement beyond it.
MODEL_ERROR = 0.001  # always
PEAK_ERROR = 0.007  # more of it for each 1 of overshoot: the undershoot before the skin is what clipping hides
JITTER_ERROR = 0.5  # times what the position error, divided out, costs at that frequency
THICK_ERROR_PER_MM = 0.01  # for each mm of slice over 3 mm, where the skin bends within a slice
CLOTH_ERROR = 0.10  # where a cloth lies on the skin
SHARP_ERROR = 0.10  # for each 1/mm of f50 over 0.85 /mm, past the sharpest of the study


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the arcs were taken."""

    thickness_mm: float
    jitter_mm: float  # deviation of position that noise leaves in an arc
    clip: Clip | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The curve of some arcs."""

    curve: MTFCurve
    f50_per_mm: Band
    f10_per_mm: Band
    esf_hu: NDArray[np.float64]  # pooled edge at CENTRES_MM, NaN where no pixel fell
    fit: EdgeFit
    model_error: float  # relative deviation of f50 beside the scatter between arcs


def read_edge(
    edges: Profile,
    slants_mm: NDArray[np.float64],
    conditions: Conditions,
    random: np.random.Generator,
    near: EdgeFit | None = None,
) -> Reading:
    """Fit the pooled edge of arcs (rows of `edges`), each with its run `slants_mm` through the slice; `near` is a fit to start from."""
    count, clip = len(slants_mm), conditions.clip
    seen, pixels = edges.mean()
    error = _standard_error(edges, seen, pixels)
    known = pixels > 0
    added = sharpening(np.interp(CENTRES_MM, CENTRES_MM[known], seen[known]), conditions.jitter_mm)
    esf = seen - added
    slants = tuple(np.quantile(slants_mm, (0.1, 0.3, 0.5, 0.7, 0.9)).tolist())
    model = EdgeModel(Blur(conditions.jitter_mm, slants))
    best = model.fit(esf, error, clip=clip) if near is None else model.refit(esf, error, near, clip)
    drawn = random.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)
    resampled = (drawn @ edges.total_hu) / np.maximum(drawn @ edges.pixels, 1e-9) - added
    curves = model.vary(best, error, resampled, random, clip)
    crossings = np.array([crossing(FREQUENCY_PER_MM, best.mtf, level) for level in (0.5, 0.1)])
    of_f50, of_f10 = _model_error(crossings, best, conditions).tolist()
    own = _model_error(FREQUENCY_PER_MM, best, conditions)
    low, high = (_widen(best.mtf, np.quantile(curves, q, axis=0), own) for q in (0.025, 0.975))
    return Reading(
        MTFCurve(FREQUENCY_PER_MM, best.mtf, np.clip(low, 0.0, best.mtf), np.maximum(high, best.mtf)),
        _band(best.mtf, curves, 0.5, of_f50),
        _band(best.mtf, curves, 0.1, of_f10),
        np.where(known, esf, np.nan),
        best,
        of_f50,
    )


def _model_error(frequency_per_mm: NDArray[np.float64], fit: EdgeFit, conditions: Conditions) -> NDArray[np.float64]:
    """Relative deviation of the frequency at which the curve takes a value, for curves that take it at each of these."""
    f50 = crossing(FREQUENCY_PER_MM, fit.mtf, 0.5)
    model = MODEL_ERROR + PEAK_ERROR * (float(fit.mtf.max()) - 1)
    judged = (
        THICK_ERROR_PER_MM * max(conditions.thickness_mm - 3.0, 0.0),
        CLOTH_ERROR if fit.cloth_mm else 0.0,
        SHARP_ERROR * max(f50 - 0.85, 0.0),
    )
    jitter = JITTER_ERROR * 2 * (np.pi * conditions.jitter_mm * frequency_per_mm) ** 2
    return np.sqrt(model**2 + jitter**2 + float(np.sum(np.square(judged))))


def _standard_error(edges: Profile, esf: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of each pooled bin in HU from the scatter between arcs; infinite where no pixel fell."""
    own = edges.total_hu - edges.pixels * esf
    error = np.sqrt(np.sum(own**2, axis=0)) / np.maximum(pixels, 1)
    return np.where(pixels > 0, error, np.inf)


def find_clip(samples: Samples) -> Clip | None:
    """The floor where the scanner clips air, if it does, and the noise of air before clipping.

    Noise follows from how far the upper part of air's values spreads, air being normally distributed about its median.
    """
    air = samples.hu[samples.depth_mm < -4]
    floor = float(air.min())
    share = float(np.mean(air <= floor + 0.5))
    if share < 0.005 or share > 0.5 or floor < -1200:
        return None
    level, above = np.quantile(air, (0.5, special.ndtr(1.5)))
    return Clip(floor, max(float(above - level) / 1.5, 0.5))


def _widen(best: NDArray[np.float64], bound: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """A bound of the curve moved outwards by the model's own relative error, which acts along the frequency axis."""
    steep = np.abs(np.gradient(best, FREQUENCY_PER_MM)) * FREQUENCY_PER_MM
    return np.asarray(best + np.sign(bound - best) * np.hypot(bound - best, 1.96 * own * steep))


def _band(best: NDArray[np.float64], curves: NDArray[np.float64], level: float, own: float) -> Band:
    """Where the curve crosses a level: the bootstrap's 95 % interval with the model's own relative error in quadrature."""
    value = crossing(FREQUENCY_PER_MM, best, level)
    drawn = [crossing(FREQUENCY_PER_MM, curve, level) for curve in curves]
    low, high = np.quantile(drawn, (0.025, 0.975))
    more = 1.96 * own * value
    below, above = np.hypot(min(low - value, 0), more), np.hypot(max(high - value, 0), more)
    return Band(value, value - float(below), value + float(above))
