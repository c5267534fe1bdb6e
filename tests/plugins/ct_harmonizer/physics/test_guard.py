"""The data-consistency guard passes what the filter does and stops what moves HU."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.physics.filter import apply, gain_towards
from plugins.ct_harmonizer.physics.guard import consistency
from plugins.ct_harmonizer.physics.kernels import TARGETS

GAIN = gain_towards(
    TARGETS["Br40"].mtf(FREQUENCY_PER_MM),
    TARGETS["Br59"].mtf(FREQUENCY_PER_MM),
    FREQUENCY_PER_MM,
    max_gain=2.0,
    noise_to_signal=0.02,
)


@pytest.fixture
def chest():
    """Two slices: soft tissue with a lung in it, noisy; and the lung's mask."""
    random = np.random.default_rng(0)
    lungs = np.zeros((2, 128, 128), bool)
    lungs[:, 30:90, 20:70] = True
    hu = np.where(lungs, -850.0, 40.0) + random.normal(0, 30, lungs.shape)
    return hu.astype(np.float32), lungs


def judge(before, after, lungs):
    padding = np.zeros(before.shape, bool)
    return consistency(before, after, padding, lungs, gain=GAIN, f50_per_mm=0.828, pixel_mm=(0.8, 0.8))


def filtered(hu):
    return np.stack([apply(image, np.zeros(image.shape, bool), GAIN, (0.8, 0.8)) for image in hu])


def test_the_filter_itself_passes(chest) -> None:
    hu, lungs = chest
    shift = judge(hu, filtered(hu), lungs)
    assert shift.failures() == ()
    assert abs(shift.lung_low_hu) < 0.01
    assert abs(shift.soft_low_hu) < 0.01
    assert abs(shift.lung_mean_hu) < 1


@pytest.mark.parametrize(("where", "by", "failed"), [("lung", 3.0, "lung"), ("soft", -4.0, "soft tissue")])
def test_a_shift_of_a_few_hu_is_stopped_and_named(chest, where, by, failed) -> None:
    hu, lungs = chest
    moved = filtered(hu) + np.where(lungs if where == "lung" else ~lungs, np.float32(by), np.float32(0))
    failures = judge(hu, moved, lungs).failures()
    assert failures
    assert all(failure.startswith(failed) for failure in failures)
    assert f"{by:+.2f}"[:2] in failures[0]


def test_without_lungs_nothing_is_said_of_lungs(chest) -> None:
    hu, lungs = chest
    shift = judge(hu, filtered(hu), np.zeros_like(lungs))
    assert shift.lung_low_hu is None
    assert shift.failures() == ()


def test_a_value_that_is_no_number_fails(chest) -> None:
    hu, lungs = chest
    broken = filtered(hu)
    broken[0, 60, 40] = np.nan
    assert judge(hu, broken, lungs).failures()
