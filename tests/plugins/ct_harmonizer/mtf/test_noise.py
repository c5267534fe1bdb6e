"""Noise of known spectrum, and an independent tool (actilib, University Hospital Zurich) on the same pixels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from actilib.analysis.gnl import calculate_gnl
from actilib.analysis.nps import noise_properties
from actilib.analysis.rois import SquareROI

from plugins.ct_harmonizer.mtf.noise import detrended, measure_noise, nps_of

PIXEL_MM = (0.7, 0.7)


def coloured(shape, pixel_mm, mtf, sigma_hu, seed=0):
    """Noise of filtered backprojection, its spectrum |f| M(f)^2 and `sigma_hu`, and that spectrum as a function."""
    frequency = np.hypot(
        *np.meshgrid(*(np.fft.fftfreq(n, d) for n, d in zip(shape[1:], pixel_mm, strict=True)), indexing="ij")
    )
    weight = frequency * mtf(frequency) ** 2
    scale = sigma_hu**2 / weight.mean() * pixel_mm[0] * pixel_mm[1]
    white = np.random.default_rng(seed).standard_normal(shape)
    noise = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(weight / weight.mean())).real * sigma_hu
    return noise, lambda f: scale * f * mtf(f) ** 2


def kernel(f50_per_mm):
    return lambda f: 0.5 ** ((f / f50_per_mm) ** 2)


def cut(noise, side):
    """Patches (n, side, side) that lie side by side in each slice."""
    count = noise.shape[1] // side
    blocks = noise[:, : count * side, : count * side].reshape(len(noise), count, side, count, side)
    return blocks.transpose(0, 1, 3, 2, 4).reshape(-1, side, side)


@pytest.mark.parametrize("pixel_mm", [(0.7, 0.7), (0.4, 0.9)])
def test_white_noise_has_a_flat_spectrum_of_its_variance(pixel_mm) -> None:
    white = np.random.default_rng(0).normal(0, 20, (400, 24, 32))
    read = nps_of(detrended(white), pixel_mm)
    flat = 20**2 * pixel_mm[0] * pixel_mm[1]
    past = read.frequency_per_mm > 0.15  # what lies below went with the surface
    assert read.radial_hu2_mm2[past] == pytest.approx(flat, rel=0.06)
    assert read.plane_hu2_mm2.shape == (read.row_per_mm.size, read.column_per_mm.size)
    assert read.frequency_per_mm[-1] == pytest.approx(0.5 / max(pixel_mm), abs=0.025)


def test_the_integral_is_the_variance() -> None:
    patches = detrended(np.random.default_rng(1).normal(0, 9, (50, 17, 17)))
    assert nps_of(patches, PIXEL_MM).variance_hu2 == pytest.approx(float(patches.var()), rel=1e-9)


@pytest.mark.parametrize("f50_per_mm", [0.25, 0.4, 0.6])
def test_filtered_noise_has_the_spectrum_it_was_given(f50_per_mm) -> None:
    noise, truth = coloured((40, 256, 256), PIXEL_MM, kernel(f50_per_mm), 25)
    read = nps_of(detrended(cut(noise, 32)), PIXEL_MM)
    past = read.frequency_per_mm > 0.12
    expected = truth(read.frequency_per_mm)
    assert read.radial_hu2_mm2[past] == pytest.approx(expected[past], abs=0.09 * expected.max())
    fine = np.linspace(0, 0.714, 2000)
    assert read.peak_per_mm == pytest.approx(fine[np.argmax(truth(fine))], abs=0.025)
    assert read.mean_per_mm == pytest.approx(float(fine @ truth(fine) / truth(fine).sum()), rel=0.08)


@pytest.mark.parametrize("f50_per_mm", [0.3, 0.5])
def test_actilib_reads_the_same_spectrum(f50_per_mm) -> None:
    noise, _ = coloured((60, 64, 64), PIXEL_MM, kernel(f50_per_mm), 15)
    header = SimpleNamespace(PixelSpacing=list(PIXEL_MM))
    images = [{"pixels": 50 + image, "header": header} for image in noise]
    theirs = noise_properties(images, SquareROI(32, 32, 32))
    ours = nps_of(detrended(noise[:, 16:48, 16:48]), PIXEL_MM)
    assert np.sqrt(ours.variance_hu2) == pytest.approx(theirs["noise"], rel=0.01)
    shared = ours.frequency_per_mm[(ours.frequency_per_mm > 0.1) & (ours.frequency_per_mm < 0.6)]
    expected = np.interp(shared, theirs["f1d"], theirs["nps_1d"])
    assert np.interp(shared, ours.frequency_per_mm, ours.radial_hu2_mm2) == pytest.approx(
        expected, abs=0.06 * max(expected)
    )
    assert ours.peak_per_mm == pytest.approx(theirs["fpeak"], abs=0.04)
    frequency, power = np.array(theirs["f1d"]), np.array(theirs["nps_1d"])
    within = frequency < 0.5 / 0.7  # theirs goes on into the corners of the plane
    mean = float(frequency[within] @ power[within] / power[within].sum())
    assert ours.mean_per_mm == pytest.approx(mean, rel=0.03)


def test_actilib_reads_the_same_noise_level_of_a_patient(series) -> None:
    """On slices of the chest below the shoulders. Its bins are 1 HU wide and named by their number: the middle is 1.5 HU more."""
    volume = series("chest/lung-dx-a0002-b40f")
    header = SimpleNamespace(PixelSpacing=list(volume.spacing_mm[1:]))
    apart = []
    for index in range(4, 22, 3):
        theirs, _ = calculate_gnl({"pixels": volume.hu[index].astype(np.float64), "header": header})
        ours = measure_noise(volume.hu[index : index + 1], volume.spacing_mm).level_hu
        apart.append(ours - (theirs + 1.5))
    assert abs(np.median(apart)) < 0.6
    assert np.abs(apart).max() < 1.6


def test_a_body_shows_the_noise_it_was_given(body) -> None:
    """Skin, fat, lungs and soft tissue; the noise of `Body.image` is that of `coloured`."""
    volume, spacing = body(slices=8, noise_hu=20.0, widens=0.0).image(kernel(0.35))
    read = measure_noise(volume, spacing)
    _, truth = coloured((1, 352, 352), spacing[1:], kernel(0.35), 20)
    assert read.level_hu == pytest.approx(20, rel=0.06)
    assert read.nps
    assert np.sqrt(read.nps.variance_hu2) == pytest.approx(20, rel=0.06)
    frequency = read.nps.frequency_per_mm
    heard = (frequency > 0.19) & (frequency < 0.45)
    assert read.nps.radial_hu2_mm2[heard] == pytest.approx(truth(frequency[heard]), rel=0.15)


@pytest.mark.parametrize("noise_hu", [8.0, 25.0])
def test_the_level_is_the_deviation_of_white_noise(noise_hu) -> None:
    hu = (40 + np.random.default_rng(0).normal(0, noise_hu, (6, 128, 128))).astype(np.float32)
    assert measure_noise(hu, (2.0, 0.7, 0.7)).level_hu == pytest.approx(noise_hu, rel=0.1)


def test_anatomy_is_not_noise(series) -> None:
    """Two kernels of one acquisition: the spectrum of the sharp one peaks where its MTF does."""
    soft, sharp = (measure_noise(*_read(series(f"chest/lung-dx-a0002-{kernel}"))) for kernel in ("b40f", "b70f"))
    assert soft.nps
    assert sharp.nps
    assert 0.2 < soft.nps.peak_per_mm < 0.33
    assert 0.48 < sharp.nps.peak_per_mm < 0.6
    assert np.sqrt(sharp.nps.variance_hu2) == pytest.approx(sharp.level_hu, rel=0.1)
    assert sharp.nps.patches == 300


def test_nothing_is_told_without_soft_tissue() -> None:
    nothing = measure_noise(np.full((3, 64, 64), -1000, np.float32), (2.0, 0.7, 0.7))
    assert nothing.level_hu is None
    assert nothing.nps is None
    water = np.zeros((3, 64, 64), np.float32) + 50
    assert measure_noise(water, (2.0, 0.7, 0.7), np.ones(water.shape, bool)).level_hu is None


def _read(volume):
    return volume.hu, volume.spacing_mm, volume.padding
