"""The in-plane MTF of a CT series, measured at the patient's own skin.

After Sanders, Hurwitz and Samei, Med Phys 43:5330 (2016): the skin is an edge between air and tissue that every
chest scan holds. What differs here is said in `fit`: the second edge of skin over fat is part of the model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from plugins.ct_harmonizer.mtf.body import NO_DATA_HU, clean, find_body
from plugins.ct_harmonizer.mtf.curve import FREQUENCY_PER_MM, MTFCurve, crossing
from plugins.ct_harmonizer.mtf.edge import CENTRES_MM, Profile, Samples, align, bare, gather, join, profile, select
from plugins.ct_harmonizer.mtf.fit import Blur, Clip, EdgeModel
from plugins.ct_harmonizer.mtf.skin import find_arcs

SLICES_MOST = 120  # of a longer series, so many are measured, evenly spread
ARCS_MOST = 2000
ARCS_LEAST = 40
OBLIQUITY_MOST = 0.2
SLANT_MOST_MM = 1.0  # run of the skin through one slice
RESAMPLES = 200
MODEL_ERROR = 0.03  # relative deviation of f50 and f10 that the model itself leaves, from virtual bodies
THICK_ERROR_PER_MM = 0.02  # more of it for each mm of slice over 3 mm, where the skin bends within a slice
CLOTH_ERROR = 0.10  # more of it where a cloth lies on the skin
SHARP_ERROR = 0.25  # more of it for each 1/mm of f50 over 0.55 /mm, where pixels and alignment tell
CLIP_ERROR = 0.05  # more of it where the scanner clips air, and with it the undershoot of the edge


class MTFRefused(Exception):
    """The skin of this series does not show the MTF; the message says why."""


@dataclass(frozen=True, slots=True)
class Band:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MTFMeasurement:
    """The MTF at the skin, and what it was read from."""

    curve: MTFCurve
    f50_per_mm: Band
    f10_per_mm: Band
    segments_accepted: int
    segments_seen: int
    refusals: dict[str, int]  # reason -> arcs turned away for it
    slices_measured: int
    radius_mm: tuple[float, float, float]  # of the accepted arcs from the image centre: 10 %, median, 90 %
    depth_mm: NDArray[np.float64]  # from air (negative) into tissue; bins of the edge below
    esf_hu: NDArray[np.float64]  # pooled edge, NaN where no pixel fell
    model_hu: NDArray[np.float64]  # fitted edge
    skin_mm: float  # fitted depth of the second edge
    cloth_mm: float  # fitted cloth before the skin, as if it were as dense as skin; 0 where there is none
    residual_hu: float  # root mean square of edge less model
    jitter_mm: float  # alignment error divided out
    slant_mm: float  # mean run of the skin through a slice, divided out
    accepted_points: NDArray[np.float32]  # (n, 3): slice, row, column of accepted arcs' centres, in pixels


def measure_mtf(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    padding: NDArray[np.bool_] | None = None,
    *,
    slice_thickness_mm: float | None = None,
    seed: int = 0,
) -> MTFMeasurement:
    """Measure the in-plane MTF of a volume (slice, row, column) in HU.

    `spacing_mm` lies between slices, rows and columns; `padding` is True where a pixel has no HU; the slice thickness
    is taken for the spacing where it is not given. The bootstrap draws from `seed`.

    Raises:
        MTFRefused: too little skin has clear air before it.
    """
    chosen = np.unique(np.linspace(0, len(hu) - 1, min(len(hu), SLICES_MOST)).round().astype(np.int64))
    body = find_body(hu, padding, spacing_mm)
    if not body.mask.any():
        raise MTFRefused("nothing denser than -500 HU of the size of a body was found")
    thickness = slice_thickness_mm or spacing_mm[0]
    slope_most = min(OBLIQUITY_MOST, SLANT_MOST_MM / thickness)
    random = np.random.default_rng(seed)
    pixel_mm = (spacing_mm[1], spacing_mm[2])
    refused: Counter[str] = Counter()
    seen, parts, points, slopes = 0, [], [], []
    quota = -(-ARCS_MOST // len(chosen))
    for index in chosen:
        pad = None if padding is None else padding[index]
        image = clean(hu[index], pad)
        missing = ~(hu[index] > NO_DATA_HU) if pad is None else pad | ~(hu[index] > NO_DATA_HU)
        arcs = find_arcs(image, body, int(index), pixel_mm)
        seen += len(arcs)
        kept, samples = gather(image, missing, arcs, pixel_mm=pixel_mm, obliquity_most=slope_most, refused=refused)
        if kept.size > quota:
            lot = np.sort(random.choice(kept.size, quota, replace=False))
            some = np.zeros(kept.size, bool)
            some[lot] = True
            kept, samples = kept[lot], select(samples, some)
        parts.append(samples)
        at = arcs.centre_mm[kept] / pixel_mm
        points.append(np.column_stack([np.full(len(kept), index), at]).astype(np.float32))
        slopes.append(arcs.obliquity[kept])
    samples, where, slope = join(parts), np.concatenate(points), np.concatenate(slopes)
    _enough(samples.count, seen, refused)
    samples, settled, jitter_mm = align(samples)
    refused["edge did not line up with the others"] += int((~settled).sum())
    samples, where, slope = select(samples, settled), where[settled], slope[settled]
    naked = bare(samples)
    refused["cloth, foam or hair on the skin"] += int((~naked).sum())
    samples, where, slope = select(samples, naked), where[naked], slope[naked]
    _enough(samples.count, seen, refused)
    samples, _, jitter_mm = align(samples)
    _enough(samples.count, seen, refused)
    slants = thickness * slope / np.sqrt(1 - slope**2)
    reading = _read(samples, slants, thickness, jitter_mm, random)
    centre = (np.asarray(hu.shape[1:]) - 1) / 2
    radius = np.hypot(*((where[:, 1:] - centre) * pixel_mm).T)
    return MTFMeasurement(
        **reading,
        segments_accepted=samples.count,
        segments_seen=seen,
        refusals={reason: count for reason, count in refused.items() if count},
        slices_measured=len(chosen),
        radius_mm=(float(np.quantile(radius, 0.1)), float(np.median(radius)), float(np.quantile(radius, 0.9))),
        jitter_mm=jitter_mm,
        slant_mm=float(slants.mean()),
        accepted_points=where,
    )


def _enough(accepted: int, seen: int, refused: Counter[str]) -> None:
    if accepted < ARCS_LEAST:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in refused.most_common() if count)
        raise MTFRefused(
            f"only {accepted} of {seen} skin segments of 13 mm are clean skin-air edges, {ARCS_LEAST} are needed ({reasons or 'no outline found'})"
        )


def _read(
    samples: Samples,
    slants_mm: NDArray[np.float64],
    thickness_mm: float,
    jitter_mm: float,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Pool, fit and resample the aligned samples: the fields of a measurement that come from the edge."""
    edges = profile(samples)
    esf, pixels = edges.mean()
    clip = _clip(samples)
    error = _standard_error(edges, esf, pixels)
    model = EdgeModel(Blur(jitter_mm, tuple(np.quantile(slants_mm, (0.1, 0.3, 0.5, 0.7, 0.9)).tolist())))
    best = model.fit(esf, error, clip=clip)
    drawn = random.multinomial(samples.count, np.full(samples.count, 1 / samples.count), RESAMPLES).astype(float)
    curves = model.vary(best, error, (drawn @ edges.total_hu) / np.maximum(drawn @ edges.pixels, 1e-9), clip)
    f50 = crossing(FREQUENCY_PER_MM, best.mtf, 0.5)
    errors = (
        MODEL_ERROR,
        THICK_ERROR_PER_MM * max(thickness_mm - 3.0, 0.0),
        CLOTH_ERROR if best.cloth_mm else 0.0,
        SHARP_ERROR * max(f50 - 0.55, 0.0),
        CLIP_ERROR if clip else 0.0,
    )
    own = float(np.linalg.norm(errors))
    low, high = (_widen(best.mtf, np.quantile(curves, q, axis=0), own) for q in (0.025, 0.975))
    return {
        "curve": MTFCurve(FREQUENCY_PER_MM, best.mtf, np.clip(low, 0.0, best.mtf), np.maximum(high, best.mtf)),
        "f50_per_mm": _band(best.mtf, curves, 0.5, own),
        "f10_per_mm": _band(best.mtf, curves, 0.1, own),
        "depth_mm": CENTRES_MM,
        "esf_hu": np.where(pixels > 0, esf, np.nan),
        "model_hu": best.esf_hu,
        "skin_mm": best.skin_mm,
        "cloth_mm": best.cloth_mm,
        "residual_hu": best.residual_hu,
    }


def _standard_error(edges: Profile, esf: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of each pooled bin in HU from the scatter between arcs; infinite where no pixel fell."""
    own = edges.total_hu - edges.pixels * esf
    error = np.sqrt(np.sum(own**2, axis=0)) / np.maximum(pixels, 1)
    return np.where(pixels > 0, error, np.inf)


def _clip(samples: Samples) -> Clip | None:
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


def _widen(best: NDArray[np.float64], bound: NDArray[np.float64], own: float) -> NDArray[np.float64]:
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
