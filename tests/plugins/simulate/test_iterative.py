import pytest
import torch

from plugins.ct_harmonizer.simulate.iterative import NOISE_LEFT, noise_hu, regularise
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name
from plugins.ct_harmonizer.simulate.scanner import Scanner, count, expose, project

IMAGE = Grid(256, 0.9)


@pytest.fixture(scope="module")
def noisy(grid, disc):
    scanner = Scanner(tube_current_time_mas=60)
    paths = project(-1000 + 1000 * disc(0, 0, 100)[None], grid, scanner, grid.pixel_mm)
    water = count(expose(paths, scanner), scanner, torch.Generator().manual_seed(3))
    from plugins.ct_harmonizer.simulate.reconstruct import reconstruct

    return reconstruct(water, scanner, by_name("Force Br40 100 mAs").kernel, IMAGE)


def inside(image):
    across = (torch.arange(IMAGE.size) - IMAGE.size // 2) * IMAGE.pixel_mm
    return image[0][torch.hypot(across[None], across[:, None]) < 60]


@pytest.mark.parametrize("strength", [3, 4, 5])
def test_noise_falls_as_the_strength_says_and_the_mean_stays(noisy, strength):
    smoothed = regularise(noisy, IMAGE.pixel_mm, strength)
    assert float(inside(smoothed).std() / inside(noisy).std()) == pytest.approx(NOISE_LEFT[strength], abs=0.04)
    assert float(inside(smoothed).mean()) == pytest.approx(float(inside(noisy).mean()), abs=0.5)


def test_the_skin_stays_as_sharp_as_it_was(noisy):
    """The edge of the cylinder, some hundred times the noise, is no noise."""
    before, after = noisy[0, 128], regularise(noisy, IMAGE.pixel_mm, 5)[0, 128]
    steepest = before.diff().abs().argmax()
    assert after.diff().abs()[steepest] > 0.97 * before.diff().abs()[steepest]


def test_strength_0_changes_nothing_and_others_are_refused(noisy):
    assert regularise(noisy, IMAGE.pixel_mm, 0) is noisy
    with pytest.raises(ValueError, match="strength 6"):
        regularise(noisy, IMAGE.pixel_mm, 6)


def test_noise_is_told_by_the_body_alone(noisy):
    assert float(noise_hu(noisy)) == pytest.approx(float(inside(noisy).std()), rel=0.35)
