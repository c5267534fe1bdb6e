"""Eq. 2 as a filter: what it does to known signals."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM
from plugins.ct_harmonizer.physics.filter import Gain, apply, gain_towards
from plugins.ct_harmonizer.physics.kernels import TARGETS, curve, look_up

CLEAR = np.zeros((96, 128), bool)


def towards(source: str, target: str, *, max_gain: float = 2.0, noise: float = 0.02) -> Gain:
    return gain_towards(
        TARGETS[target].mtf(FREQUENCY_PER_MM),
        TARGETS[source].mtf(FREQUENCY_PER_MM),
        FREQUENCY_PER_MM,
        max_gain=max_gain,
        noise_to_signal=noise,
    )


@pytest.mark.parametrize(("source", "target"), [("Br69", "Br40"), ("Br59", "Br40"), ("Br40", "Br32"), ("Br32", "Br59")])
def test_the_mean_stays_and_no_frequency_passes_the_limit(source, target) -> None:
    gain = towards(source, target)
    assert gain.gain[0] == 1
    assert gain.gain.max() <= 2
    assert gain.gain.min() >= 0
    flat = np.full(CLEAR.shape, -857.0, np.float32)
    assert apply(flat, CLEAR, gain, (0.7, 0.9)) == pytest.approx(flat, abs=1e-3)


def test_softening_reaches_the_target_and_sharpening_stops_at_noise() -> None:
    soft = towards("Br59", "Br40").gain * TARGETS["Br59"].mtf(FREQUENCY_PER_MM)
    assert np.abs(soft - TARGETS["Br40"].mtf(FREQUENCY_PER_MM)).max() < 0.03
    sharp = towards("Br32", "Br59")
    assert sharp.gain[FREQUENCY_PER_MM > 0.9].max() < 0.5  # where the source shows nothing, nothing is amplified


def test_a_wave_is_multiplied_by_the_gain_of_its_physical_frequency() -> None:
    """Rows and columns of different size: the same pixels hold different frequencies along each."""
    gain, pixel_mm = towards("Br59", "Br40"), (0.6, 0.9)
    row, column = np.mgrid[:96, :128].astype(float)
    for wave, per_mm in (
        (np.cos(2 * np.pi * row / 8), 1 / (8 * 0.6)),
        (np.cos(2 * np.pi * column / 8), 1 / (8 * 0.9)),
    ):
        out = apply((100 * wave).astype(np.float32), CLEAR, gain, pixel_mm)
        inside = (slice(24, -24), slice(32, -32))
        share = float(np.sum(out[inside] * wave[inside]) / np.sum(100 * wave[inside] ** 2))
        assert share == pytest.approx(float(np.interp(per_mm, FREQUENCY_PER_MM, gain.gain)), abs=0.01)


def test_an_edge_at_one_border_does_not_ring_at_the_other() -> None:
    image = np.full(CLEAR.shape, -1000, np.float32)
    image[:, -3:] = 1000
    out = apply(image, CLEAR, towards("Br59", "Br40"), (0.7, 0.7))
    assert out[:, :40] == pytest.approx(image[:, :40], abs=0.5)


def test_padding_is_left_and_does_not_bleed() -> None:
    random = np.random.default_rng(0)
    image = random.normal(-850, 5, CLEAR.shape).astype(np.float32)
    padding = CLEAR.copy()
    padding[:, :20] = True
    image[padding] = -3024
    out = apply(image, padding, towards("Br59", "Br40"), (0.7, 0.7))
    assert (out[padding] == -3024).all()
    assert np.abs(out[:, 20:] + 850).max() < 40
    assert (apply(image, np.ones_like(padding), towards("Br59", "Br40"), (0.7, 0.7)) == image).all()


def test_noise_falls_when_softened() -> None:
    noise = np.random.default_rng(1).normal(0, 50, CLEAR.shape).astype(np.float32)
    assert apply(noise, CLEAR, towards("Br59", "Br32"), (0.7, 0.7)).std() < 0.5 * noise.std()


@pytest.mark.parametrize("kernel", TARGETS.values(), ids=lambda kernel: kernel.name)
def test_kernel_curves_pass_through_their_figures(kernel) -> None:
    at = np.array([0.0, kernel.f50_per_mm, kernel.f10_per_mm])
    assert kernel.mtf(at) == pytest.approx([1.0, 0.5, 0.1], abs=1e-6)
    assert kernel.mtf(np.linspace(0, 1.6, 801)).max() == pytest.approx(kernel.peak, abs=0.005)


def test_a_curve_needs_f50_below_f10() -> None:
    with pytest.raises(ValueError, match="between 0 and f10"):
        curve(FREQUENCY_PER_MM, 0.6, 0.4)


@pytest.mark.parametrize(
    ("maker", "named", "found"),
    [
        ("SIEMENS", "B70f", "B70"),
        ("SIEMENS", "B31s", "B30"),
        ("Siemens Healthineers", "Br40d", "Br40"),
        ("GE MEDICAL SYSTEMS", "STANDARD", "STANDARD"),
        ("Philips", "D", "D"),
        ("Philips", "YA", None),
        ("SIEMENS", "B50f", None),
        ("SIEMENS", "H30s", None),
        ("", "B70f", None),
        ("SIEMENS", "", None),
    ],
)
def test_the_table_knows_what_it_knows(maker, named, found) -> None:
    kernel = look_up(maker, named)
    assert (kernel.name if kernel else None) == found
