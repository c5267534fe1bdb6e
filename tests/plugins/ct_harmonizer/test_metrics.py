"""Lungs and their figures, on shapes whose figures are known and on a real chest."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.metrics import lung_mask, lung_metrics

SPACING = (4.0, 1.5, 1.5)


def chest(slices: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Two elliptic lungs and a trachea in a body, with noise, and where the lungs are."""
    row, column = np.mgrid[:200, :200].astype(float) - 100
    body = (row / 70) ** 2 + (column / 90) ** 2 < 1
    lungs = ((row / 45) ** 2 + ((np.abs(column) - 42) / 28) ** 2) < 1
    trachea = (row + 20) ** 2 + column**2 < 6**2
    flat = np.where(body, 40.0, -1000.0)
    flat[lungs] = -860
    flat[trachea & ~lungs] = -1000
    noise = np.random.default_rng(0).normal(0, 15, (slices, 200, 200))
    return (flat + noise).astype(np.float32), np.broadcast_to(lungs, noise.shape)


def test_lungs_are_found_without_the_trachea() -> None:
    hu, truth = chest()
    found = lung_mask(hu, np.zeros(hu.shape, bool), SPACING)
    overlap = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert overlap > 0.97
    assert not found[:, 78:83, 99:102].any()


def test_a_body_without_lungs_and_air_alone_have_none() -> None:
    hu, lungs = chest()
    empty = np.zeros(hu.shape, bool)
    assert not lung_mask(np.where(lungs, 40, hu).astype(np.float32), empty, SPACING).any()
    assert not lung_mask(np.full(hu.shape, -1000, np.float32), empty, SPACING).any()
    assert not lung_mask(np.where(lungs, -1000, hu).astype(np.float32), empty, SPACING).any()  # a hollow phantom


def test_figures_follow_their_formulas() -> None:
    hu = np.array([-1000, -951, -950, -900, -800, -700, -600, -500, -400, -300], np.float32).reshape(1, 2, 5)
    found = lung_metrics(hu, np.ones(hu.shape, bool), (2.0, 1.0, 0.5))
    assert found.laa950_percent == pytest.approx(20)  # -950 itself is not below -950
    assert found.perc15_hu == pytest.approx(np.percentile(hu, 15))
    assert found.mass_g == pytest.approx(float(((hu + 1024) / 1024).sum()) * 0.001)
    assert found.volume_ml == pytest.approx(0.01)
    assert found.mean_hu == pytest.approx(float(hu.mean()))


def test_real_lungs_are_found(series) -> None:
    volume = series("chest/lung-dx-a0002-b40f")
    lungs = lung_mask(volume.hu, volume.padding, volume.spacing_mm)
    found = lung_metrics(volume.hu, lungs, volume.spacing_mm)
    assert 2200 < found.volume_ml < 3200
    assert -900 < found.mean_hu < -700
    head = series("phantom/head-ya")
    assert not lung_mask(head.hu, head.padding, head.spacing_mm).any()
