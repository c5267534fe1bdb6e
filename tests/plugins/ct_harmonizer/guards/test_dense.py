"""A millilitre of dense tissue that is moved is found and told, wherever it lies."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.guards.dense import moved
from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.physics.filter import Gain, apply, gain_towards
from plugins.ct_harmonizer.physics.kernels import TARGETS

SPACING_MM = (2.0, 1.0, 1.0)
MTF = TARGETS["Br40"].mtf(FREQUENCY_PER_MM)


@pytest.fixture(scope="module")
def truth():
    """A vein of 350 HU and 16 mm along eight slices, and a bone of 700 HU beside it."""
    hu = np.full((8, 96, 96), 40, np.float32)
    row, column = np.mgrid[:96, :96]
    hu[:, np.hypot(row - 30, column - 30) < 8] = 350
    hu[:, np.hypot(row - 60, column - 65) < 14] = 700
    return hu


@pytest.fixture(scope="module")
def scan(truth):
    noise = np.random.default_rng(3).normal(0, 20, truth.shape).astype(np.float32)
    return np.stack([blurred(one) for one in truth]) + noise


def blurred(image):
    return apply(image, np.zeros(image.shape, bool), Gain(FREQUENCY_PER_MM, MTF), (1.0, 1.0))


def judge(before, after, gain=None):
    missing = np.zeros(before.shape, bool)
    blur = Gain(FREQUENCY_PER_MM, MTF) if gain is None else None
    return moved(before, after, missing, gain=gain, blur=blur, f50_per_mm=0.385, spacing_mm=SPACING_MM)


def test_the_patient_without_blur_passes(scan, truth) -> None:
    found = judge(scan, truth)
    assert found.failure() is None
    assert abs(found.by_hu) < 8


def test_a_filter_passes(scan) -> None:
    gain = gain_towards(
        TARGETS["Br32"].mtf(FREQUENCY_PER_MM), MTF, FREQUENCY_PER_MM, max_gain=2.0, noise_to_signal=0.02
    )
    filtered = np.stack([apply(one, np.zeros(one.shape, bool), gain, (1.0, 1.0)) for one in scan])
    assert judge(scan, filtered, gain).failure() is None


def test_a_bolus_that_is_darkened_is_told_with_its_place(scan, truth) -> None:
    darker = truth.copy()
    darker[:6, 20:40, 20:40] -= np.where(truth[:6, 20:40, 20:40] > 200, np.float32(150), np.float32(0))
    found = judge(scan, darker)
    assert found.by_hu == pytest.approx(-150, abs=25)
    assert found.from_hu == pytest.approx(350, abs=25)
    assert f"slice {found.slice + 1}: moved by {found.by_hu:+.0f} HU" in found.failure()


def test_dense_tissue_may_move_by_a_twentieth(scan, truth) -> None:
    for share, passes in ((0.97, True), (0.9, False)):
        duller = np.where(truth > 600, np.float32(700 * share), truth)
        assert (judge(scan, duller).failure() is None) == passes


def test_values_that_are_no_numbers_fail(scan, truth) -> None:
    broken = truth.copy()
    broken[4, 60, 65] = np.nan
    assert judge(scan, broken).failure() is not None


def test_without_dense_tissue_nothing_is_said(truth) -> None:
    soft = np.minimum(truth, 60)
    assert judge(soft, soft) is None
