"""The bodies of the study, and what must not change an answer measured on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plugins.ct_harmonizer.mtf import MTFCurve, MTFMeasurement, measure_mtf, on_grid
from plugins.ct_harmonizer.mtf.study.__main__ import table
from plugins.ct_harmonizer.mtf.study.bodies import Body
from plugins.ct_harmonizer.mtf.study.kernels import KERNELS, Truth

TRUTH = {truth.name: truth for truth in KERNELS}
BODY = Body(slices=8, pixel_mm=0.8, half_axes_mm=(105.0, 80.0), widens=0.02, dose_mas=50.0, floor_hu=-1024.0, seed=4242)


@pytest.fixture(scope="module")
def plain() -> MTFMeasurement:
    return measure_mtf(*BODY.image(TRUTH["bone"]))


@pytest.mark.parametrize(
    "changed",
    [
        {"half_axes_mm": (125.0, 96.0)},
        {"rotation": 0.6},
        {"centre_mm": (7.37, -11.81)},
        {"pixel_mm": 0.63},
        {"seed": 4243},
    ],
    ids=["scale", "rotation", "translation", "pixel size", "noise seed"],
)
def test_what_is_not_the_kernel_moves_the_answer_less_than_its_interval(plain, changed) -> None:
    """An enhancing kernel outside the fit's family, with noise, and air clipped at -1024 HU."""
    found = measure_mtf(*replace(BODY, **changed).image(TRUTH["bone"]))
    for one, other in ((found.f50_per_mm, plain.f50_per_mm), (found.f10_per_mm, plain.f10_per_mm)):
        assert one.low <= other.high
        assert other.low <= one.high
        assert one.value == pytest.approx(other.value, rel=0.03)


def test_an_enhancing_kernel_is_read_through_clipped_noise(plain) -> None:
    truth = TRUTH["bone"]
    assert plain.clipped
    assert plain.f50_per_mm.value == pytest.approx(truth.f50_per_mm, rel=0.03)
    assert plain.f10_per_mm.value == pytest.approx(truth.f10_per_mm, rel=0.05)
    assert plain.curve.overshoot
    assert plain.curve.overshoot.value == pytest.approx(truth.peak, abs=0.06)
    assert 1 < plain.curve.overshoot.low < plain.curve.overshoot.high
    assert plain.curve.peak_at_per_mm == pytest.approx(0.33, abs=0.08)


def test_blur_that_grows_outwards_shows_in_the_bands_of_radius() -> None:
    """A body off centre, blurred more beyond 80 mm from the centre."""
    body, truth = replace(BODY, floor_hu=None, centre_mm=(30.0, 0.0)), TRUTH["body"]
    inner, spacing = body.image(truth)
    outer, _ = body.image(truth.stretched(0.8))
    across = (np.arange(inner.shape[1]) - (inner.shape[1] - 1) / 2) * spacing[1]
    found = measure_mtf(np.where(np.hypot(across[:, None], across[None, :]) < 80, inner, outer), spacing)
    bands = {band.low_mm: band for band in found.radius_bands}
    assert sum(band.segments for band in bands.values()) <= found.segments_accepted
    assert bands[40.0].f50_per_mm.value == pytest.approx(truth.f50_per_mm, rel=0.05)
    assert bands[80.0].f50_per_mm.value == pytest.approx(0.8 * truth.f50_per_mm, rel=0.05)
    assert bands[40.0].f50_per_mm.low > bands[80.0].f50_per_mm.high


def test_on_the_images_own_grid_the_mtf_lies_where_its_fft_puts_frequencies(plain) -> None:
    grid = on_grid(plain.curve, 0.8)
    assert grid.shape == (64, 64)
    assert grid.dtype == np.float32
    assert grid[0, 0] == 1
    frequency = 20 / (64 * 0.8)
    assert grid[0, 20] == pytest.approx(plain.curve.at(np.array(frequency)), abs=1e-6)
    assert grid[0, 20] == grid[20, 0] == grid[0, -20]
    half = on_grid(plain.curve, 0.4)
    assert half[0, 10] == pytest.approx(grid[0, 20], abs=1e-6)
    wide = on_grid(plain.curve, (0.8, 0.4), size=32)
    assert wide[4, 0] == pytest.approx(wide[0, 2], abs=1e-6)


def test_the_table_says_bias_rms_and_coverage() -> None:
    row = {"kernel": "k", "f50": 0.5, "f10": 0.8, "slice_mm": 2.0, "cloth_mm": 0.0}
    right = {"f50_found": 0.51, "f50_low": 0.49, "f50_high": 0.53, "f10_found": 0.8, "f10_low": 0.79, "f10_high": 0.81}
    wrong = {"f50_found": 0.55, "f50_low": 0.54, "f50_high": 0.56, "f10_found": 0.8, "f10_low": 0.79, "f10_high": 0.81}
    lines = table([row | right, row | wrong, row | {"refused": "no skin"}]).splitlines()
    assert "| k | 0.50, 0.80 | 2 | 1 | +6.0 | 7.2 | 50 | +0.0 | 0.0 | 100 |" in lines
    worn = table([row | right, row | wrong | {"cloth_mm": 0.2}]).splitlines()
    assert "| bare, slices up to 3 mm | 0.50, 0.80 | 1 | 0 | +2.0 | 2.0 | 100 | +0.0 | 0.0 | 100 |" in worn
    assert "| with a cloth, slices up to 3 mm | 0.50, 0.80 | 1 | 0 | +10.0 | 10.0 | 0 | +0.0 | 0.0 | 100 |" in worn


def test_a_kernel_is_what_it_says() -> None:
    for truth in KERNELS:
        f = np.linspace(0, 2, 401)
        assert truth.mtf(f)[0] == pytest.approx(1)
        assert truth.mtf(np.array(truth.f50_per_mm)) == pytest.approx(0.5, abs=0.01)
        twice = Truth(truth.name, truth.mtf).stretched(2)
        assert twice.f50_per_mm == pytest.approx(2 * truth.f50_per_mm, rel=0.01) or twice.f50_per_mm > 1.5


def test_a_kernel_that_enhances_nothing_has_no_overshoot() -> None:
    flat = 0.5 ** (np.linspace(0, 3, 81) ** 2)
    assert MTFCurve(np.linspace(0, 1.6, 81), flat, 0.98 * flat, np.maximum(1.02 * flat, 1)).overshoot is None
    hardly = flat + 0.006 * (flat > 0.9)
    assert MTFCurve(np.linspace(0, 1.6, 81), hardly, hardly - 0.001, hardly + 0.001).overshoot is None
