from contextlib import suppress

import numpy as np
import pytest

from plugins.ct_harmonizer.simulate.kernels import peaked
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import (
    HELD_OUT_F50,
    by_name,
    drawn_on,
    others,
    paper,
    random,
    sharpest,
    unseen,
)


def f50(rendition, radius_mm=0.0):
    frequency = np.linspace(0, 2, 2001)
    return frequency[np.flatnonzero(rendition.mtf(frequency, radius_mm) > 0.5)[-1]]


def test_the_papers_renditions_are_32_of_11_kernels():
    renditions = paper()
    assert len({rendition.name for rendition in renditions}) == 32
    assert len({rendition.kernel.name for rendition in renditions}) == 11
    assert {rendition.scanner.tube_current_time_mas for rendition in renditions} == {20.0, 100.0}
    assert sum(rendition.strength == 3 for rendition in renditions) == 10


@pytest.mark.parametrize(
    ("name", "at_isocentre", "peak"),
    [("Force Br59 100 mAs", 0.828, 1.27), ("Sensation B70", 0.75, 1.415), ("GE-like STANDARD", 0.51, 1.0)],
)
def test_a_rendition_has_its_published_curve(name, at_isocentre, peak):
    rendition = by_name(name)
    assert f50(rendition) == pytest.approx(at_isocentre, abs=0.003)
    assert rendition.kernel.mtf(np.linspace(0, 1, 500)).max() == pytest.approx(peak, abs=0.01)


def test_the_bins_end_where_the_kernel_does_and_the_patient_is_drawn_as_fine():
    for rendition in (*paper(), *others()):
        assert rendition.kernel.mtf(np.array(1 / (2 * rendition.scanner.pitch_mm))) <= 0.0101
    pitches = [by_name(name).scanner.pitch_mm for name in ("Force Br40 20 mAs", "Force Br69 20 mAs", "Alpha Br76")]
    assert pitches == [0.45, 0.225, 0.15]
    finest = sharpest(by_name(name) for name in ("Force Br40 20 mAs", "Force Br69 20 mAs"))
    assert (finest.pitch_mm, finest.bins * finest.pitch_mm) == pytest.approx((0.225, 518.4))
    assert drawn_on(finest) == Grid(2240, 0.225)
    assert drawn_on(by_name("Alpha Br76").scanner) == Grid(2240, 0.225)  # nothing finer is drawn


def test_the_skin_is_softer_than_the_isocentre_the_more_the_sharper_the_kernel():
    soft, sharp = (by_name(f"Force {name} 100 mAs") for name in ("Br32", "Br59"))
    shares = [f50(rendition, 160.0) / f50(rendition) for rendition in (soft, sharp)]
    assert 0.85 < shares[0] < 0.95
    assert 0.65 < shares[1] < 0.8


def test_random_renditions_follow_their_seed_and_enclose_the_named_ones():
    drawn = [random(np.random.default_rng(seed)) for seed in range(300)]
    assert drawn[7] == random(np.random.default_rng(7))
    low, high = HELD_OUT_F50
    assert not any(low <= one.kernel.f50_per_mm <= high for one in drawn)
    assert low < by_name("Force Br49 20 mAs").kernel.f50_per_mm < high
    f50s = [rendition.kernel.f50_per_mm for rendition in drawn]
    named = [rendition.kernel.f50_per_mm for rendition in (*paper(), *others()) if "Br76" not in rendition.name]
    assert min(f50s) < min(named) + 0.02
    assert max(f50s) > max(named) - 0.05
    assert {rendition.strength for rendition in drawn} == {0, 1, 2, 3, 4, 5}
    assert all(
        one.scanner.mtf(np.array(one.kernel.f10_per_mm)) >= 0.3 for one in drawn
    )  # no vendor lifts what it hardly sees


@pytest.mark.parametrize("rendition", unseen()[:5], ids=lambda rendition: rendition.name)
def test_what_is_said_to_be_unseen_has_a_shape_that_training_never_draws(rendition):
    frequency = np.linspace(0, 2, 2001)
    curve = rendition.kernel.mtf(frequency)
    f50, f10 = (float(frequency[np.flatnonzero(curve >= level)[-1]]) for level in (0.5, 0.1))
    assert f50 == pytest.approx(rendition.kernel.f50_per_mm, abs=0.001)
    assert by_name(rendition.name) == rendition
    nearest = 1.0
    for peak in np.linspace(1, 1.45, 10):
        with suppress(ValueError):  # no such curve
            nearest = min(nearest, float(np.abs(peaked("any", f50, f10, peak).mtf(frequency) - curve).max()))
    assert 0.02 < nearest < 1


def test_a_name_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="Force Br40 100 mAs"):
        by_name("Br41")
