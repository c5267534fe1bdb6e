"""d' against the closed form in white noise and against an observer that looks at images; transfer and noise of known images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from plugins.ct_harmonizer.evaluate.detectability import d_prime, disc, noise_power, transfer

FREQUENCY = np.linspace(0, 20, 20001)


def test_in_white_noise_it_is_the_signal_to_noise_ratio_of_the_discs_area() -> None:
    """All the disc's energy is C^2 pi R^2: d' = C R sqrt(pi / N)."""
    found = d_prime(FREQUENCY, disc(FREQUENCY, 80, 6), np.ones(FREQUENCY.size), np.full(FREQUENCY.size, 50.0))
    assert found == pytest.approx(80 * 3 * np.sqrt(np.pi / 50), rel=0.01)


def test_it_is_what_a_template_reads_from_noisy_images() -> None:
    """The observer's template is the expected signal; its d' is the distance of its answers in units of their deviation."""
    random, size, pixel = np.random.default_rng(0), 64, 0.5
    blur_mm, noise_hu, noise_blur = 0.8, 60.0, 0.6
    row, column = (np.mgrid[:size, :size] - size / 2) * pixel
    fine = np.clip((3.0 - np.hypot(row, column)) / pixel + 0.5, 0, 1) * 30
    signal = ndimage.gaussian_filter(fine, blur_mm / pixel, mode="wrap")
    noise = ndimage.gaussian_filter(
        random.normal(0, noise_hu, (4000, size, size)), (0, noise_blur / pixel, noise_blur / pixel), mode="wrap"
    )
    answers = np.tensordot(noise, signal, axes=2)
    seen = float(np.sum(signal**2) / answers.std())
    frequency = np.linspace(0, 1.5, 3001)
    expected = d_prime(
        frequency,
        disc(frequency, 30, 6),
        np.exp(-2 * (np.pi * blur_mm * frequency) ** 2),
        noise_hu**2 * pixel**2 * np.exp(-4 * (np.pi * noise_blur * frequency) ** 2),
    )
    assert seen == pytest.approx(expected, rel=0.05)


def test_transfer_and_noise_of_a_blurred_noisy_image_are_what_was_put_in() -> None:
    random, pixel = np.random.default_rng(2), (0.7, 0.7)
    truth = ndimage.gaussian_filter(random.normal(0, 1, (3, 256, 256)), (0, 0.7, 0.7)) * 600 - 500
    noise = random.normal(0, 30, truth.shape)
    image = ndimage.gaussian_filter(truth, (0, 1, 1)) + noise
    frequency = np.linspace(0, 0.6, 25)
    found = transfer(image, truth, pixel, frequency)
    assert found == pytest.approx(np.exp(-2 * (np.pi * 0.7 * frequency) ** 2), abs=0.03)
    assert transfer(image, truth, pixel, np.array([0.72]))[0] == 0  # past the image's Nyquist frequency
    where = np.ones(truth.shape, bool)
    power = noise_power(noise, where, pixel, frequency)
    assert power is not None
    assert power[5:].mean() == pytest.approx(30**2 * 0.49, rel=0.1)
    where[:, :, 15:] = False  # narrower than a patch
    assert noise_power(noise, where, pixel, frequency) is None
