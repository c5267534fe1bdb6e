import numpy as np
import pytest

from plugins.ct_harmonizer.simulate.kernels import SHARP, SHARPEST, SOFT, kernel, peaked


@pytest.mark.parametrize("made", [SOFT, SHARP, SHARPEST], ids=lambda made: made.name)
def test_mtf_has_the_f50_and_f10_asked_for(made):
    at_zero, at_f50, at_f10 = made.mtf(np.array([0.0, made.f50_per_mm, made.f10_per_mm]))
    assert (at_zero, at_f50, at_f10) == pytest.approx((1.0, 0.5, 0.1), abs=1e-4)
    assert made.mtf(np.array([made.seen_per_mm, made.limit_per_mm])) == pytest.approx([1e-2, 1e-3], rel=1e-3)


def test_enhancement_lifts_the_middle_and_a_soft_kernel_never_rises():
    frequency = np.linspace(0, 1.0, 201)
    assert SHARPEST.mtf(frequency).max() == pytest.approx(1.27, abs=0.03)  # the figure published for Br59
    assert (np.diff(SOFT.mtf(frequency)) <= 0).all()


def test_a_curve_outside_the_family_is_refused_by_name():
    with pytest.raises(ValueError, match="kernel Odd"):
        kernel("Odd", 0.5, 0.4)


def test_a_peaked_kernel_rises_to_its_peak_and_keeps_its_f50_and_f10():
    made = peaked("Peaked", 0.75, 0.93, 1.415)
    assert made.mtf(np.linspace(0, 1, 1001)).max() == pytest.approx(1.415, abs=0.01)
    assert made.mtf(np.array([0.75, 0.93])) == pytest.approx([0.5, 0.1], abs=1e-3)
    with pytest.raises(ValueError, match=r"rises to 1\.5"):
        peaked("Odd", 0.4, 0.64, 1.5)
