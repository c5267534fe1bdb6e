"""Arcs that wear a cloth are turned away; a blur that differs from place to place is no cloth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from plugins.ct_harmonizer.mtf import measure_mtf
from plugins.ct_harmonizer.mtf.cloth import bare
from plugins.ct_harmonizer.mtf.edge import Samples
from plugins.ct_harmonizer.mtf.study.bodies import Body
from plugins.ct_harmonizer.mtf.study.kernels import KERNELS

AROUND, ALONG_Z = 40, 10  # arcs round the body, slices
ANGLE = np.tile(np.arange(AROUND) / AROUND, ALONG_Z)  # of each arc, in turns
AT_MM = np.stack(
    [
        np.repeat(np.arange(ALONG_Z) * 3.0, AROUND),
        80 * np.sin(2 * np.pi * ANGLE),
        80 * np.cos(2 * np.pi * ANGLE),
    ],
    axis=1,
)


def samples(blur_mm: NDArray[np.float64], cloth_mm: NDArray[np.float64], gap_mm: float, seed: int) -> Samples:
    """350 pixels an arc of a Gaussian edge of 1050 HU, with a cloth before it, 30 HU of noise and 0.05 mm of misplacement."""
    random = np.random.default_rng(seed)
    count = ANGLE.size
    arc = np.repeat(np.arange(count), 350)
    depth = random.uniform(-10, 4.5, arc.size)
    true = depth + 0.05 * random.standard_normal(count)[arc]
    edge = special.ndtr(true / blur_mm[arc])
    line = np.exp(-0.5 * ((true + gap_mm) / blur_mm[arc]) ** 2) / (blur_mm[arc] * np.sqrt(2 * np.pi))
    hu = -1000 + 1050 * (edge + cloth_mm[arc] * line) + random.normal(0, 30, arc.size)
    return Samples(
        arc.astype(np.int32), np.zeros(arc.size, np.float32), depth.astype(np.float32), hu.astype(np.float32), count
    )


@settings(max_examples=8, deadline=None)
@given(
    share=st.floats(0.15, 0.7),
    cloth_mm=st.floats(0.1, 0.4),
    gap_mm=st.floats(1.3, 4.0),
    blur_mm=st.floats(0.25, 0.6),
    seed=st.integers(0, 1000),
)
def test_no_arc_under_a_cloth_is_kept_and_few_bare_ones_are_lost(share, cloth_mm, gap_mm, blur_mm, seed) -> None:
    clothed = share > ANGLE
    kept = bare(samples(np.full(ANGLE.size, blur_mm), np.where(clothed, cloth_mm, 0.0), gap_mm, seed), AT_MM)
    assert kept[clothed].mean() < 0.02
    assert kept[~clothed].mean() > 0.75


def test_blur_that_grows_round_the_body_is_no_cloth() -> None:
    blur_mm = 0.45 * (1 + 0.2 * np.cos(2 * np.pi * ANGLE))
    assert bare(samples(blur_mm, np.zeros(ANGLE.size), 2.0, 0), AT_MM).mean() > 0.95


def test_few_arcs_are_all_kept() -> None:
    """They form no clusters to tell apart; the fit looks for a cloth all the same."""
    whole = samples(np.full(ANGLE.size, 0.4), np.zeros(ANGLE.size), 2.0, 0)
    few = whole.arc < 60
    part = Samples(whole.arc[few], whole.along[few], whole.depth_mm[few], whole.hu[few], 60)
    assert bare(part, AT_MM[:60]).all()


@pytest.mark.parametrize("kernel", ["soft", "body"])
def test_a_cloth_over_part_of_the_body_does_not_soften_the_answer(kernel) -> None:
    truth = next(truth for truth in KERNELS if truth.name == kernel)
    worn = Body(
        slices=8, pixel_mm=0.8, half_axes_mm=(105.0, 80.0), widens=0.02, dose_mas=50.0, seed=11,
        cloth_mm=0.15, cloth_gap_mm=2.2, cloth_share=0.45,
    )  # fmt: skip
    found = measure_mtf(*worn.image(truth))
    assert found.refusals["cloth, foam or hair on the skin"] > 50
    assert found.f50_per_mm.value == pytest.approx(truth.f50_per_mm, rel=0.015)
    assert found.f10_per_mm.value == pytest.approx(truth.f10_per_mm, rel=0.03)
    assert found.f50_per_mm.low <= 1.005 * truth.f50_per_mm
    assert found.f50_per_mm.high >= 0.995 * truth.f50_per_mm
