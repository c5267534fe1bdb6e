"""Slow variations are the measurement's; fine structure is the network's."""

import numpy as np
import pytest

from plugins.ct_harmonizer.physics.anchor import anchored
from plugins.ct_harmonizer.physics.clipping import clipped_mean, floor_of, upper_deviation
from plugins.ct_harmonizer.physics.filter import Gain

SHARP = Gain(np.array([0.0, 2.0]), np.array([1.0, 1.0]))
CLEAR = np.zeros((160, 160), bool)


@pytest.fixture
def chest():
    """A slice of soft tissue with a lung in it, and the lung's mask."""
    lung = np.zeros((160, 160), bool)
    lung[40:120, 30:110] = True
    return np.where(lung, -850.0, 40.0).astype(np.float32), lung


def run(before, after, floor_hu=None, unknown=CLEAR):
    return anchored(before, after, unknown, blur=SHARP, floor_hu=floor_hu, pixel_mm=(0.8, 0.8))


def test_a_shift_of_the_whole_slice_is_taken_back_and_detail_stays(chest):
    hu, lung = chest
    detail = np.random.default_rng(1).normal(0, 20, hu.shape).astype(np.float32)
    found = run(hu + detail, hu - 5)  # a network that took the noise, and 5 HU with it
    assert abs(float((found - hu)[lung].mean())) < 0.7
    assert (found - hu)[lung].std() < 1.5


def test_what_clipping_lifts_is_not_brought_back(chest):
    hu, lung = chest
    noisy = hu + np.random.default_rng(2).normal(0, 150, hu.shape).astype(np.float32)
    stored = np.maximum(noisy, -1024)
    assert (stored - hu)[lung].mean() > 10
    assert abs(float((run(stored, hu, floor_of(stored, CLEAR)) - hu)[lung].mean())) < 3
    assert float((run(stored, hu) - hu)[lung].mean()) > 5  # taken for no clipping, it comes back


def test_unknown_pixels_stay_as_they_were(chest):
    hu, _ = chest
    unknown = CLEAR.copy()
    unknown[:20] = True
    before = hu.copy()
    before[unknown] = -2000
    found = run(before, hu, unknown=unknown)
    assert (found[unknown] == -2000).all()
    assert np.abs(found - hu)[~unknown].max() < 0.1


def test_the_mean_of_clipped_noise_is_that_of_a_sample():
    sample = np.maximum(np.random.default_rng(3).normal(-1000, 60, 400_000), -1024)
    assert clipped_mean(np.float32([-1000.0]), -1024.0, 60.0)[0] == pytest.approx(sample.mean(), abs=0.3)
    assert upper_deviation((sample + 1000).astype(np.float32)) == pytest.approx(60, rel=0.02)
    assert floor_of(sample.astype(np.float32), np.zeros(sample.shape, bool)) == -1024


def test_dense_tissue_that_the_network_dims_is_as_bright_as_the_scan_shows_it():
    """A vein full of contrast medium: its mean comes back, what lies beside it stays as the network left it."""
    row, column = np.mgrid[-80:80, -80:80] * 0.8
    radius = np.hypot(row, column)
    before, dimmed = (np.where(radius < 12, level, 40.0).astype(np.float32) for level in (900.0, 700.0))
    after = run(before, dimmed)
    assert after[radius < 9].mean() == pytest.approx(900, abs=20)
    assert np.abs(after[radius > 22] - 40).max() < 15


def test_air_round_the_patient_stays_as_the_network_made_it_and_a_hole_in_the_lung_does_not():
    row, column = np.mgrid[-80:80, -80:80] * 0.8
    lung, bulla = np.hypot(row, column) < 30, np.hypot(row, column + 10) < 6
    inside = np.hypot(row, column) < 50
    hu = np.where(bulla, -1000.0, np.where(lung, -850.0, np.where(inside, 40.0, -1000.0))).astype(np.float32)
    found = run(hu + 8, hu)  # a scan that is 8 HU brighter than the network says
    assert (found - hu)[~inside].max() == 0
    assert (found - hu)[bulla].mean() == pytest.approx(8, abs=0.5)
    assert (found - hu)[inside].mean() == pytest.approx(8, abs=0.5)
