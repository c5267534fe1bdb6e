"""Nodules: solids whose volume and area are known in closed form, in boxes of HU."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.vq import kmeans

from plugins.ct_harmonizer.evaluate.nodule import measure_nodule, two_means

SPACING = (1.0, 0.7, 0.7)


def ball(radius_mm: float, middle: tuple[float, float, float] = (14.2, 20.4, 19.7)) -> np.ndarray:
    """A solid ball of 40 HU in lung of -860, its edge as wide as a voxel."""
    axes = [(np.arange(length) - at) * step for length, at, step in zip((30, 42, 40), middle, SPACING, strict=True)]
    away = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    return (-860 + 900 * np.clip((radius_mm - away) / 0.8 + 0.5, 0, 1)).astype(np.float32)


@pytest.mark.parametrize("radius", [3.0, 5.0, 7.0])
def test_a_ball_has_its_volume_its_area_and_sphericity_one(radius) -> None:
    found = measure_nodule(ball(radius), (14.2, 20.4, 19.7), 2 * radius, SPACING)
    assert found is not None
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)
    assert found.area_mm2 == pytest.approx(4 * np.pi * radius**2, rel=0.03)
    assert found.sphericity == pytest.approx(1, abs=0.02)
    assert found.area_per_volume == pytest.approx(3 / radius, rel=0.03)


def test_a_spheroid_is_less_spherical() -> None:
    axes = [(np.arange(60) - 30.3) * 0.5 for _ in range(3)]
    away = np.sqrt((axes[0] / 2)[:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    hu = (-860 + 900 * np.clip((4 - away) / 0.5 + 0.5, 0, 1)).astype(np.float32)
    found = measure_nodule(hu, (30.3, 30.3, 30.3), 14.0, (0.5, 0.5, 0.5))
    eccentricity = np.sqrt(1 - 0.25)  # prolate, half axes 8, 4, 4
    area = 2 * np.pi * 16 * (1 + 8 / (4 * eccentricity) * np.arcsin(eccentricity))
    assert found is not None
    assert found.area_mm2 == pytest.approx(area, rel=0.04)
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * 8 * 16, rel=0.04)


def test_a_vessel_that_hangs_on_is_cut() -> None:
    hu = ball(5.0)
    hu[13:16, 19:22, 20:] = 40  # a vessel to the border
    found = measure_nodule(hu, (14.2, 20.4, 19.7), 10.0, SPACING)
    assert found is not None
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * 125, rel=0.1)


def test_nothing_is_found_where_nothing_is() -> None:
    assert measure_nodule(np.full((20, 20, 20), -860, np.float32), (10, 10, 10), 6.0, SPACING) is None
    assert measure_nodule(ball(3.0), (5, 36, 5), 6.0, SPACING) is None


def test_two_means_are_those_of_scipy() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(-860, 60, 700), random.normal(20, 90, 200)])
    codes, _ = kmeans(values[:, None], np.array([[-900.0], [100.0]]))
    assert two_means(values) == pytest.approx(sorted(codes.ravel()), abs=0.5)
