"""A head, an abdomen and half a chest are told from a chest, on virtual and on real scans."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.guards.lungs import cut_off, find_cut, too_little
from plugins.ct_harmonizer.metrics import lung_mask
from plugins.ct_harmonizer.simulate.dataset import make
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema, Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name


@pytest.fixture(scope="module")
def chest(virtual_scan):
    return virtual_scan.hu.astype(np.float32), (2.0, 1.5, 1.5)


def judge(hu, spacing_mm, unknown=None):
    missing = np.zeros(hu.shape, bool) if unknown is None else unknown
    lungs = lung_mask(hu, missing, spacing_mm)
    return cut_off(hu, missing, lungs, spacing_mm), too_little(lungs, spacing_mm)


def test_a_whole_chest_passes(chest) -> None:
    assert judge(*chest) == (None, None)


@pytest.mark.parametrize("columns", [slice(128, None), slice(None, 128), slice(90, None), slice(70, 180)], ids=str)
def test_a_chest_cut_by_the_edge_of_the_slice_is_not_whole(chest, columns) -> None:
    hu, spacing_mm = chest
    why = judge(np.ascontiguousarray(hu[:, :, columns]), spacing_mm)[0]
    assert why is not None
    assert "cut by the edge of the field of view in" in why


def test_nor_is_one_cut_by_the_circle_of_what_was_reconstructed(chest) -> None:
    hu, spacing_mm = chest
    row, column = np.mgrid[:256, :256]
    outside = np.broadcast_to(np.hypot(row - 128, column - 100) > 70, hu.shape)
    assert "over up to" in str(judge(np.where(outside, np.float32(-2048), hu), spacing_mm, outside)[0])


def test_foam_at_the_edge_is_no_lung() -> None:
    image = np.full((256, 256), -1000, np.float32)
    row, column = np.mgrid[:256, :256]
    image[np.hypot((row - 110) / 0.7, column - 128) < 100] = 40.0
    image[200:230] = -900.0  # a mattress from side to side
    found = find_cut(image, np.zeros(image.shape, bool), (1.5, 1.5))
    assert found.lung_mm == 0
    assert not found.half


def test_an_abdomen_has_too_little_lung() -> None:
    """Slices from below the diaphragm, where the phantom is liver and soft tissue; and the same with a few of lung at the top."""
    below, above = (
        make(
            Patient(seed=7, emphysema=Emphysema(0.0), nodules=()),
            [by_name("Force Br40 100 mAs")],
            Grid(256, 1.6),
            np.array([middle, middle - 6]),
            thickness_mm=2.0,
            seed=1,
            detail=0.1,
        )
        .hu[0]
        .astype(np.float32)
        for middle in (-220.0, -40.0)
    )
    spacing_mm = (6.0, 1.6, 1.6)
    assert "no chest CT" in str(judge(below, spacing_mm)[1])
    trunk = np.concatenate([np.tile(below, (20, 1, 1)), np.tile(above, (6, 1, 1))])
    why = judge(trunk, spacing_mm)[1]
    assert why is not None
    assert "in 12 of its 52 slices" in why


@pytest.mark.parametrize("folder", ["chest/lung-dx-a0002-b70f", "chest/lung-dx-a0002-b40f", "chest/lidc-0001"])
def test_real_chests_whose_shoulders_are_cut_pass(series, folder) -> None:
    volume = series(folder)
    missing = volume.hu < -1500
    lungs = lung_mask(volume.hu, missing, volume.spacing_mm)
    assert cut_off(volume.hu, missing, lungs, volume.spacing_mm) is None
    assert too_little(lungs, volume.spacing_mm) is None


def test_a_real_neck_and_a_real_half_do_not(series) -> None:
    neck, chest = series("chest/lidc-0002-incomplete"), series("chest/lidc-0001")
    assert "0.00 l of lung" in str(judge(neck.hu, neck.spacing_mm, neck.hu < -1500)[1])
    half = np.ascontiguousarray(chest.hu[:, :, 256:])
    assert judge(half, chest.spacing_mm, half < -1500)[0] is not None
