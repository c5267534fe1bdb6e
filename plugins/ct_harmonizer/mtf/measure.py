"""The in-plane MTF of a CT series, measured at the patient's own skin.

After Sanders, Hurwitz and Samei, Med Phys 43:5330 (2016): the skin is an edge between air and tissue that every
chest scan holds. What differs here is said in `fit`: the second edge of skin over fat is part of the model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.ct_harmonizer.mtf.body import clean, find_body, unknown
from plugins.ct_harmonizer.mtf.cloth import bare
from plugins.ct_harmonizer.mtf.curve import Band, MTFCurve
from plugins.ct_harmonizer.mtf.edge import CENTRES_MM, Profile, align, gather, join, profile, select
from plugins.ct_harmonizer.mtf.read import Conditions, Reading, find_clip, read_edge
from plugins.ct_harmonizer.mtf.skin import find_arcs

SLICES_MOST = 120  # of a longer series, so many are measured, evenly spread
PASSES = 3  # every third of them first; the others where those do not give enough arcs
ARCS_ENOUGH, ARCS_MOST = 1500, 2000  # ends the passes; taken in one pass
ARCS_LEAST = 40
OBLIQUITY_MOST = 0.2
SLANT_MOST_MM = 1.0  # run of the skin through one slice
RADIUS_BAND_MM = 40.0
ARCS_OF_BAND_LEAST = 60


class MTFRefused(Exception):
    """The skin of this series does not show the MTF; the message says why."""


@dataclass(frozen=True, slots=True)
class RadiusBand:
    """The MTF of the arcs of one band of radius: scanners blur more away from the centre."""

    low_mm: float  # from the image centre
    high_mm: float
    segments: int
    curve: MTFCurve
    f50_per_mm: Band
    f10_per_mm: Band


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
    radius_bands: tuple[RadiusBand, ...]  # those of 40 mm that hold enough arcs, from the centre outwards
    depth_mm: NDArray[np.float64]  # from air (negative) into tissue; bins of the edge below
    esf_hu: NDArray[np.float64]  # pooled edge, NaN where no pixel fell
    model_hu: NDArray[np.float64]  # fitted edge
    skin_mm: float  # fitted depth of the second edge
    cloth_mm: float  # fitted cloth before the skin, as if it were as dense as skin; 0 where there is none
    residual_hu: float  # root mean square of edge less model
    model_error: float  # relative deviation of f50 that its interval holds beside the scatter between arcs
    clipped: bool  # the scanner clips air
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
    body = find_body(hu, padding, spacing_mm)
    if not body.mask.any():
        raise MTFRefused("nothing denser than -500 HU of the size of a body was found")
    thickness = slice_thickness_mm or spacing_mm[0]
    slope_most = min(OBLIQUITY_MOST, SLANT_MOST_MM / thickness)
    random = np.random.default_rng(seed)
    pixel_mm = (spacing_mm[1], spacing_mm[2])
    refused: Counter[str] = Counter()
    seen, measured, parts, points, slopes = 0, 0, [], [], []
    for chosen in _passes(len(hu)):
        quota = -(-ARCS_MOST // len(chosen))
        for index in chosen:
            missing = unknown(hu[index], None if padding is None else padding[index])
            image = clean(hu[index], missing)
            arcs = find_arcs(image, body, int(index), pixel_mm)
            seen += len(arcs)
            kept, samples = gather(image, missing, arcs, pixel_mm=pixel_mm, obliquity_most=slope_most, refused=refused)
            if kept.size > quota:
                some = np.zeros(kept.size, bool)
                some[random.choice(kept.size, quota, replace=False)] = True
                kept, samples = kept[some], select(samples, some)
            parts.append(samples)
            at = arcs.centre_mm[kept] / pixel_mm
            points.append(np.column_stack([np.full(len(kept), index), at]).astype(np.float32))
            slopes.append(arcs.obliquity[kept])
        measured += len(chosen)
        if sum(part.count for part in parts) >= ARCS_ENOUGH:
            break
    samples, where, slope = join(parts), np.concatenate(points), np.concatenate(slopes)
    _enough(samples.count, seen, refused)
    samples, settled, jitter_mm = align(samples)
    refused["edge did not line up with the others"] += int((~settled).sum())
    samples, where, slope = select(samples, settled), where[settled], slope[settled]
    naked = bare(samples, where * np.asarray(spacing_mm))
    refused["cloth, foam or hair on the skin"] += int((~naked).sum())
    samples, where, slope = select(samples, naked), where[naked], slope[naked]
    _enough(samples.count, seen, refused)
    samples, _, jitter_mm = align(samples)
    _enough(samples.count, seen, refused)
    slants = thickness * slope / np.sqrt(1 - slope**2)
    conditions = Conditions(thickness, jitter_mm, find_clip(samples))
    edges = profile(samples)
    reading = read_edge(edges, slants, conditions, random)
    centre = (np.asarray(hu.shape[1:]) - 1) / 2
    radius = np.hypot(*((where[:, 1:] - centre) * pixel_mm).T)
    return MTFMeasurement(
        curve=reading.curve,
        f50_per_mm=reading.f50_per_mm,
        f10_per_mm=reading.f10_per_mm,
        segments_accepted=samples.count,
        segments_seen=seen,
        refusals={reason: count for reason, count in refused.items() if count},
        slices_measured=measured,
        radius_mm=(float(np.quantile(radius, 0.1)), float(np.median(radius)), float(np.quantile(radius, 0.9))),
        radius_bands=_radius_bands(edges, radius, slants, conditions=conditions, whole=reading, random=random),
        depth_mm=CENTRES_MM,
        esf_hu=reading.esf_hu,
        model_hu=reading.fit.esf_hu,
        skin_mm=reading.fit.skin_mm,
        cloth_mm=reading.fit.cloth_mm,
        residual_hu=reading.fit.residual_hu,
        model_error=reading.model_error,
        clipped=conditions.clip is not None,
        jitter_mm=jitter_mm,
        slant_mm=float(slants.mean()),
        accepted_points=where,
    )


def _passes(slices: int) -> list[NDArray[np.int64]]:
    """Indices of the slices to measure, in passes that each run along the whole series."""
    chosen = np.unique(np.linspace(0, slices - 1, min(slices, SLICES_MOST)).round().astype(np.int64))
    return [part for first in range(PASSES) if (part := chosen[first::PASSES]).size]


def _enough(accepted: int, seen: int, refused: Counter[str]) -> None:
    if accepted < ARCS_LEAST:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in refused.most_common() if count)
        raise MTFRefused(
            f"only {accepted} of {seen} skin segments of 13 mm are clean skin-air edges, {ARCS_LEAST} are needed ({reasons or 'no outline found'})"
        )


def _radius_bands(
    edges: Profile,
    radius_mm: NDArray[np.float64],
    slants_mm: NDArray[np.float64],
    *,
    conditions: Conditions,
    whole: Reading,
    random: np.random.Generator,
) -> tuple[RadiusBand, ...]:
    """Read the arcs of each band of radius by themselves, starting from what all together show."""
    number = np.floor(radius_mm / RADIUS_BAND_MM).astype(np.int64)
    bands = []
    for band in np.unique(number):
        own = number == band
        if own.sum() < ARCS_OF_BAND_LEAST:
            continue
        part = Profile(edges.total_hu[own], edges.pixels[own])
        reading = read_edge(part, slants_mm[own], conditions, random, whole.fit)
        low = float(band * RADIUS_BAND_MM)
        bands.append(
            RadiusBand(low, low + RADIUS_BAND_MM, int(own.sum()), reading.curve, reading.f50_per_mm, reading.f10_per_mm)
        )
    return tuple(bands)
