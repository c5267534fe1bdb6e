"""The MTF at the skin against bodies of known MTF, and on real scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from plugins.ct_harmonizer.mtf import MTFRefused, measure_mtf
from plugins.ct_harmonizer.physics.kernels import TARGETS


def hann(frequency: Any) -> Any:
    """An MTF outside the family of curves that the fit starts from."""
    return np.where(np.abs(frequency) < 0.9, 0.5 * (1 + np.cos(np.pi * np.clip(np.abs(frequency) / 0.9, 0, 1))), 0.0)


@pytest.mark.parametrize(
    ("kernel", "noise_hu", "f50_percent", "f10_percent"),
    [
        ("Br32", 12, 2, 3),
        ("Br40", 20, 2, 3),
        ("Br49", 40, 3, 3),
        ("Qr49", 40, 3, 3),
        ("Br59", 80, 4, 4),
        ("Br64", 100, 5, 5),
        ("Br69", 130, 6, 6),
    ],
)
def test_f50_and_f10_of_a_kernel_are_found(body, kernel, noise_hu, f50_percent, f10_percent) -> None:
    truth = TARGETS[kernel]
    found = measure_mtf(*body(noise_hu=noise_hu).image(truth.mtf))
    wrong = [
        100 * (band.value / true - 1)
        for band, true in ((found.f50_per_mm, truth.f50_per_mm), (found.f10_per_mm, truth.f10_per_mm))
    ]
    print(
        f"\n{kernel}: f50 {wrong[0]:+.1f} %, f10 {wrong[1]:+.1f} %, {found.segments_accepted} of {found.segments_seen} segments"
    )
    assert found.f50_per_mm.value == pytest.approx(truth.f50_per_mm, rel=f50_percent / 100)
    assert found.f10_per_mm.value == pytest.approx(truth.f10_per_mm, rel=f10_percent / 100)
    assert found.f50_per_mm.low <= truth.f50_per_mm <= found.f50_per_mm.high
    assert found.f10_per_mm.low <= truth.f10_per_mm <= found.f10_per_mm.high
    assert found.curve.peak == pytest.approx(truth.peak, abs=0.08)
    assert found.curve.mtf[0] == 1
    assert (found.curve.low <= found.curve.mtf).all()
    assert (found.curve.mtf <= found.curve.high).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"centre_mm": (11.3, 17.8)},
        {"rotation": 0.9},
        {"pixel_mm": 0.98},
        {"pixel_mm": 0.7, "half_axes_mm": (110.0, 85.0)},
        {"seed": 7},
        {"skin_mm": 1.3},
        {"skin_mm": 2.4},
        {"fat_hu": 50.0},
        {"widens": 0.12},
        {"floor_hu": -1024.0},
        {"table": True, "arm": True},
    ],
    ids=str,
)
def test_what_is_not_the_kernel_does_not_change_the_answer(body, changed) -> None:
    truth = TARGETS["Br44"]
    found = measure_mtf(*body(**changed).image(truth.mtf))
    assert 0.99 * found.f50_per_mm.low <= truth.f50_per_mm <= 1.01 * found.f50_per_mm.high  # of eleven, one may miss
    assert found.f50_per_mm.value == pytest.approx(truth.f50_per_mm, rel=0.04)


def test_a_curve_outside_the_family_is_found_all_the_same(body) -> None:
    found = measure_mtf(*body().image(hann))
    assert found.f50_per_mm.value == pytest.approx(0.45, rel=0.03)
    heard = found.curve.frequency_per_mm < 0.9
    assert np.abs(found.curve.mtf - hann(found.curve.frequency_per_mm))[heard].max() < 0.04


def test_skin_over_fat_would_mislead_a_plain_reading(body) -> None:
    """The trap the model is there for: differentiating the whole edge reads a soft kernel far too sharp."""
    truth = TARGETS["Br32"]
    found = measure_mtf(*body(noise_hu=8).image(truth.mtf))
    line = np.gradient(np.interp(found.depth_mm, found.depth_mm, found.esf_hu), found.depth_mm)
    f = found.curve.frequency_per_mm
    plain = np.abs(np.exp(-2j * np.pi * f[:, None] * found.depth_mm) @ line)
    naive = float(f[np.argmax(plain / plain[0] < 0.5)])
    assert naive > 1.1 * truth.f50_per_mm
    assert found.f50_per_mm.value == pytest.approx(truth.f50_per_mm, rel=0.02)


def test_a_cloth_on_the_skin_is_seen_and_modelled(body) -> None:
    truth = TARGETS["Br49"]
    found = measure_mtf(*body(cloth_mm=0.25).image(truth.mtf))
    assert found.cloth_mm == pytest.approx(0.25, abs=0.1)
    assert found.f50_per_mm.low <= truth.f50_per_mm <= found.f50_per_mm.high


def test_table_and_arm_are_turned_away_with_their_reason(body) -> None:
    clear = measure_mtf(*body().image(TARGETS["Br40"].mtf))
    crowded = measure_mtf(*body(table=True, arm=True).image(TARGETS["Br40"].mtf))
    assert crowded.segments_accepted < clear.segments_accepted
    assert crowded.refusals["no clear air: table, arm, clothes or a tube"] > 10
    assert crowded.segments_accepted + sum(crowded.refusals.values()) == crowded.segments_seen


def test_the_same_seed_gives_the_same_answer(body) -> None:
    volume, spacing = body(slices=4).image(TARGETS["Br40"].mtf)
    first, second = (measure_mtf(volume, spacing, seed=3) for _ in range(2))
    assert first.f50_per_mm == second.f50_per_mm
    assert np.array_equal(first.curve.low, second.curve.low)


def test_a_field_of_view_that_cuts_the_skin_off_is_refused_with_figures(body) -> None:
    volume, spacing = body(half_axes_mm=(230.0, 220.0)).image(TARGETS["Br40"].mtf)
    with pytest.raises(MTFRefused, match=r"skin segments|no outline|size of a body"):
        measure_mtf(volume, spacing)


def test_padding_round_the_field_of_view_is_no_air(body) -> None:
    volume, spacing = body().image(TARGETS["Br40"].mtf)
    across = (np.arange(volume.shape[1]) - (volume.shape[1] - 1) / 2) * spacing[1]
    outside = np.broadcast_to(np.hypot(across[:, None], across[None, :]) > 115, volume.shape)
    padded = np.where(outside, np.float32(-2000), volume)
    told = measure_mtf(padded, spacing, outside)
    untold = measure_mtf(padded, spacing)
    assert told.refusals["at the edge of the field of view"] > 20
    assert told.f50_per_mm == untold.f50_per_mm
    assert told.f50_per_mm.value == pytest.approx(0.385, rel=0.03)


@pytest.mark.parametrize("hu", [-1000.0, 0.0, -3000.0])
def test_a_volume_without_a_body_in_air_is_refused(hu) -> None:
    with pytest.raises(MTFRefused):
        measure_mtf(np.full((5, 128, 128), hu, np.float32), (2.0, 1.0, 1.0))
