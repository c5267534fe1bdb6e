"""Real series beside virtual ones: what is read of each."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from plugins.ct_harmonizer.lifelike import Series, picture, read, texture
from plugins.ct_harmonizer.virtual_series import write_series

SPACING_MM = (5.0, 0.8, 0.8)
BLUR_MM = 1.2


@pytest.fixture(scope="module")
def chest():
    """A cylinder of water with two lungs of -850 HU and Gaussian-filtered noise of 20 HU."""
    across = (np.arange(256) - 128) * 0.8
    x, y = np.meshgrid(across, across)
    flat = np.where(np.hypot(x, y) < 95, 40.0, -1000.0)
    for centre in (-45, 45):
        flat[np.hypot(x - centre, y) < 38] = -850.0
    noise = ndimage.gaussian_filter(
        np.random.default_rng(1).normal(size=(9, 256, 256)), (0, BLUR_MM / 0.8, BLUR_MM / 0.8)
    )
    hu = (flat + 20 * noise / noise.std()).astype(np.float32)
    return Series("cylinder", hu, np.zeros(hu.shape, bool), SPACING_MM)


def test_texture_is_that_of_the_lungs(chest):
    found = texture(chest)
    assert np.median(found.lungs_hu) == pytest.approx(-850, abs=2)
    assert 10 < found.noise.level_hu < 20  # in squares of 6 mm, which hold less than all of it
    # White noise through a Gaussian of deviation s has the autocorrelation exp(-r^2 / 4 s^2); with its mean, a square of 10 mm loses 4 pi s^2 / 100.
    lost = 4 * np.pi * BLUR_MM**2 / 100
    expected = (np.exp(-(found.lag_mm**2) / (4 * BLUR_MM**2)) - lost) / (1 - lost)
    near = found.lag_mm < 3
    assert np.abs(found.autocorrelation - expected)[near].max() < 0.05


def test_the_picture_is_one(chest):
    image = Image.open(io.BytesIO(picture([(chest, chest)])))
    assert image.format == "PNG"
    assert image.height > image.width > 400


def test_a_real_series_gets_the_rendition_of_its_header(data):
    series, rendition = read(data / "chest" / "lung-dx-a0002-b40f")
    assert series.name.startswith("SIEMENS B40f, 8 mm")
    assert rendition.name == "Sensation B40"
    assert rendition.scanner.thickness_mm == 8
    assert 90 < rendition.scanner.tube_current_time_mas < 140
    assert series.spacing_mm[2] == pytest.approx(0.6465, abs=1e-3)


def test_a_kernel_that_no_rendition_has_is_refused(tmp_path):
    write_series(tmp_path, lambda _done, _total: None, slices=2, matrix=64)
    with pytest.raises(ValueError, match="no rendition has a kernel"):
        read(tmp_path)
