"""A curve of another kernel does not go with the noise of a series; a range is a range."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.guards.noise import (
    DRAWN_F50_PER_MM,
    DRAWN_LEVEL_HU,
    Range,
    foreign,
    mean_frequency,
    untrained,
)
from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.mtf.noise import measure_noise
from plugins.ct_harmonizer.simulate.dataset import make
from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name, others

PIXEL_MM = 0.75
CURVES = {one.kernel.name: one.kernel.mtf(FREQUENCY_PER_MM) for one in others()}


@pytest.fixture(scope="module")
def scanned():
    """Two series of one virtual patient: kernel, mean frequency of the noise, and the curves at the isocentre and at the skin."""
    chosen = [by_name("Force Br40 100 mAs"), by_name("Force Br59 20 mAs")]
    heights = np.array([-30.0, -50.0])
    shots = make(Patient(seed=7), chosen, Grid(512, PIXEL_MM), heights, thickness_mm=2.0, seed=1, detail=0.1)
    spacing_mm = (20.0, PIXEL_MM, PIXEL_MM)
    read = [measure_noise(hu.astype(np.float32), spacing_mm).nps.mean_per_mm for hu in shots.hu]
    return {
        one.kernel.name: (mean, [one.mtf(FREQUENCY_PER_MM, radius) for radius in (0.0, 150.0)])
        for one, mean in zip(chosen, read, strict=True)
    }


def judge(mean, curve, *, at_skin, pixel_mm=PIXEL_MM):
    return foreign(mean, curve, FREQUENCY_PER_MM, pixel_mm=pixel_mm, at_skin=at_skin)


@pytest.mark.parametrize(("own", "other", "told"), [("Br40", "Br59", "sharper"), ("Br59", "Br40", "softer")])
def test_a_series_goes_with_its_own_curve_and_with_no_other(scanned, own, other, told) -> None:
    mean = scanned[own][0]
    for place, at_skin in enumerate((False, True)):
        assert judge(mean, scanned[own][1][place], at_skin=at_skin) is None
        assert f"{told} than the images" in str(judge(mean, scanned[other][1][place], at_skin=at_skin))


def test_what_is_expected_is_what_is_read(scanned) -> None:
    """Of filtered back-projection at the isocentre, within a tenth."""
    for mean, (isocentre, _) in scanned.values():
        assert mean == pytest.approx(mean_frequency(isocentre, FREQUENCY_PER_MM, PIXEL_MM), rel=0.1)


@pytest.mark.parametrize("folder", ["chest/lung-dx-a0002-b70f", "chest/lung-dx-a0002-b40f"])
def test_the_noise_of_a_real_pair_tells_its_two_kernels_apart(series, folder) -> None:
    volume = series(folder)
    mean = measure_noise(volume.hu, volume.spacing_mm).nps.mean_per_mm
    own, other = ("B70", "B40") if "b70f" in folder else ("B40", "B70")
    assert judge(mean, CURVES[own], at_skin=False, pixel_mm=volume.spacing_mm[1]) is None
    assert judge(mean, CURVES[other], at_skin=False, pixel_mm=volume.spacing_mm[1]) is not None


def test_where_no_spectrum_was_read_nothing_is_said() -> None:
    assert judge(None, CURVES["B10"], at_skin=True) is None


def test_outside_of_what_training_draws() -> None:
    assert untrained(30.0, 0.4) is None
    assert "900.0 HU" in str(untrained(900.0, 0.4))
    assert "1.0 HU" in str(untrained(1.0, 0.4))
    assert "f50 1.20 /mm" in str(untrained(30.0, 1.2))
    assert "too little soft tissue" in str(untrained(None, 0.4))
    for drawn, judged in (
        (DRAWN_LEVEL_HU, lambda x: untrained(x, 0.4)),
        (DRAWN_F50_PER_MM, lambda x: untrained(30.0, x)),
    ):
        assert [judged(end) for end in drawn] == [None, None]


def test_both_ends_belong_to_a_range() -> None:
    assert [Range(1.0, 2.0).holds(value) for value in (0.9, 1.0, 2.0, 2.1)] == [False, True, True, False]
