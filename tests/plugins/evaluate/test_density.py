"""Density errors, on values whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.evaluate.density import density, density_error


def test_errors_are_image_less_truth() -> None:
    truth = np.linspace(-1000, -801, 200, dtype=np.float32).reshape(2, 10, 10)
    lungs, spacing = np.ones(truth.shape, bool), (2.0, 0.5, 0.5)
    found = density_error(density(truth + np.float32(10), lungs, spacing), density(truth, lungs, spacing))
    assert found.laa950_points == pytest.approx(-5)  # ten of 200 voxels are no longer below
    assert found.perc15_hu == pytest.approx(10, abs=1e-3)
    assert found.mean_hu == pytest.approx(10, abs=1e-3)
    assert found.mass_g == pytest.approx(200 * 10 / 1024 * 0.0005, rel=1e-4)
    assert found.mass_percent == pytest.approx(100 * 10 / (1024 - 900.5), rel=1e-4)
