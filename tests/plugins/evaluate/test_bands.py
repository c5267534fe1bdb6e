"""Bands: they add up to the image, their energies are brought to the reference's, and the mean stays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from plugins.ct_harmonizer.evaluate.bands import energies, learn, normalize, split

PIXEL = (0.7, 0.8)


@pytest.fixture(scope="module")
def lung() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    hu = ndimage.gaussian_filter(random.normal(0, 1, (2, 160, 160)), (0, 2, 2)) * 300 - 860
    mask = np.zeros(hu.shape, bool)
    mask[:, 20:140, 30:130] = True
    return hu.astype(np.float32), mask


def test_bands_add_up(lung) -> None:
    assert split(lung[0], PIXEL).sum(axis=0) == pytest.approx(lung[0], abs=1e-2)


def test_a_wave_lies_in_the_band_between_the_two_blurs(lung) -> None:
    wave = np.broadcast_to(np.cos(2 * np.pi * np.arange(160) * 0.8 / 8), (1, 160, 160)).astype(np.float32)
    found = energies(split(wave, PIXEL), np.ones(wave.shape, bool))
    gaussian = [np.exp(-2 * (np.pi * sigma / 8) ** 2) for sigma in (0, 0.7, 1.4, 2.8, 5.6, 11.2)]
    assert found == pytest.approx(-np.diff(gaussian) / np.sqrt(2), abs=0.01)


def test_a_sharper_noisier_image_gets_the_energies_of_the_reference(lung) -> None:
    hu, mask = lung
    reference = learn([(hu, mask, PIXEL)])
    noisy = (hu + np.random.default_rng(1).normal(0, 60, hu.shape)).astype(np.float32)
    out = normalize(noisy, mask, PIXEL, reference)
    assert energies(split(out, PIXEL), mask) == pytest.approx(reference.energies_hu, rel=0.06)
    assert np.std(out[mask]) < np.std(noisy[mask])
    assert out.mean() == pytest.approx(noisy.mean(), abs=1)
    assert normalize(hu, mask, PIXEL, reference) == pytest.approx(hu, abs=2)
