"""The virtual chest: what was scanned and what came out, on the small series of `virtual_scan`."""

import numpy as np
import pytest

from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.series import Request, scan_chest


def nodule_voxels(request, nodule):
    """True within half the nodule's radius: (slice, row, column)."""
    z = request.z_mm[:, None, None]
    across = (np.arange(request.matrix) - request.matrix // 2) * request.image.pixel_mm
    x, y = across[None, None, :], across[None, :, None]
    centre_x, centre_y, centre_z = nodule.centre_mm
    return (x - centre_x) ** 2 + (y - centre_y) ** 2 + (z - centre_z) ** 2 < (nodule.diameter_mm / 4) ** 2


def test_lungs_are_those_of_a_patient_with_emphysema(virtual_scan):
    truth = virtual_scan.truth
    assert -890 < truth.hu[truth.lung].mean() < -830
    assert 7 < truth.laa_950_percent < 20
    assert truth.hu[truth.lung & (truth.emphysema > 0.95)].mean() == pytest.approx(-966, abs=8)
    assert 7 < 100 * float((virtual_scan.hu[truth.lung] < -950).mean()) < 30


def test_the_back_of_a_lung_is_denser_than_its_front(virtual_scan):
    truth = virtual_scan.truth
    healthy = truth.lung & (truth.emphysema < 0.01)
    rows = np.broadcast_to(np.arange(truth.hu.shape[1])[None, :, None], truth.hu.shape)
    front, back = np.percentile(rows[healthy], [20, 80])
    assert truth.hu[healthy & (rows > back)].mean() > truth.hu[healthy & (rows < front)].mean() + 25


def test_image_agrees_with_the_truth_in_the_mean(virtual_scan):
    hu, truth = virtual_scan.hu, virtual_scan.truth
    assert hu[truth.lung].mean() == pytest.approx(truth.hu[truth.lung].mean(), abs=12)  # clipping lifts, edges spread
    soft = (truth.hu > 30) & (truth.hu < 70)
    assert hu[soft].mean() == pytest.approx(truth.hu[soft].mean(), abs=8)
    assert hu.min() >= -1024


def test_three_nodules_are_where_the_truth_says(virtual_scan):
    request, truth = virtual_scan.request, virtual_scan.truth
    assert sorted(nodule.diameter_mm for nodule in truth.nodules) == [7, 10, 14]
    for nodule in truth.nodules:
        core = nodule_voxels(request, nodule)
        assert core.any()
        assert truth.hu[core].mean() > -100
        assert not truth.lung[core].any()


def test_air_lies_round_the_skin_on_all_sides(virtual_scan):
    hu = virtual_scan.truth.hu
    tissue = hu > -200
    body_columns = np.flatnonzero(tissue[:, : int(hu.shape[1] * 0.8)].any(axis=(0, 1)))
    body_rows = np.flatnonzero(tissue.any(axis=(0, 2)))
    margin = 8 / virtual_scan.request.image.pixel_mm
    assert body_rows[0] > margin
    assert body_columns[0] > margin
    assert body_columns[-1] < hu.shape[2] - margin


def test_the_seed_decides_the_series_and_progress_rises_to_its_end():
    seen = []
    first, again, other = (
        scan_chest(
            Request(slices=2, matrix=64, patient=Patient(seed), noise_seed=seed),
            lambda done, total: seen.append((done, total)),
        )
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.truth.hu, again.truth.hu)
    assert not np.array_equal(first.truth.hu, other.truth.hu)
    once = seen[: len(seen) // 3]
    assert once[0] == (0, 6)
    assert once[-1] == (6, 6)
    assert once == sorted(once)
