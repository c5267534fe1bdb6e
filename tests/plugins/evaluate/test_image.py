"""Errors of images, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import metrics

from plugins.ct_harmonizer.evaluate.image import image_error


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two slices of soft shapes between -1000 and 1000 HU, and the same with blur and noise."""
    random = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(random.normal(0, 9000, (2, 80, 96)), (0, 5, 5)).clip(-1000, 1000)
    image = ndimage.gaussian_filter(truth, (0, 1, 1)) + random.normal(0, 40, truth.shape)
    return image.astype(np.float32), truth.astype(np.float32)


def test_figures_are_those_of_scikit_image(pair) -> None:
    image, truth = ((each.astype(np.float64) + 1024) / 2048 for each in pair)
    found = image_error(*pair)
    each = list(zip(truth, image, strict=True))
    assert found.psnr_db == pytest.approx(
        np.mean([metrics.peak_signal_noise_ratio(t, i, data_range=1) for t, i in each]), rel=1e-6
    )
    assert found.nrmse_percent == pytest.approx(
        100 * np.mean([metrics.normalized_root_mse(t, i, normalization="euclidean") for t, i in each]), rel=1e-6
    )
    ssim = [
        metrics.structural_similarity(t, i, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for t, i in each
    ]
    assert found.ssim_percent == pytest.approx(100 * np.mean(ssim), rel=1e-6)
    assert found.rmse_hu == pytest.approx(
        2048 * np.mean([np.sqrt(metrics.mean_squared_error(t, i)) for t, i in each]), rel=1e-6
    )
    assert 50 < found.ssim_percent < 99


def test_the_truth_itself_is_faultless(pair) -> None:
    found = image_error(pair[1], pair[1])
    assert (found.rmse_hu, found.nrmse_percent, found.psnr_db) == (0, 0, float("inf"))
    assert found.ssim_percent == pytest.approx(100)


def test_a_shift_of_20_48_hu_is_one_percent_of_the_range(pair) -> None:
    found = image_error(pair[1] + np.float32(20.48), pair[1])
    assert found.rmse_hu == pytest.approx(20.48, rel=1e-4)
    assert found.psnr_db == pytest.approx(40, abs=1e-3)
