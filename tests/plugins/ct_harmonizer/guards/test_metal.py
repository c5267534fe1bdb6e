"""Metal whose streaks spoil tissue is found; metal that does no harm, contrast medium and bone are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.guards.metal import STREAK_MOST_ML, spoilt, streaks
from plugins.ct_harmonizer.metrics import lung_mask
from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name
from plugins.ct_harmonizer.simulate.scanner import expose, project

_FINE, _IMAGE = Grid(960, 0.45), Grid(384, 1.0)
_SPACING_MM = (15.0, 1.0, 1.0)  # two slices that stand for three centimetres
_TITANIUM_HU = 9000.0


@pytest.fixture(scope="module")
def scan():
    """Scans a patient whose tissue is metal where `where(x, y)` says, in mm."""
    heights = np.array([-20.0, -30.0])
    fine = build(Canvas(heights, _FINE.size, _FINE.pixel_mm, 2.0), Patient(seed=3), 0.1, lambda _share: None)
    volume = torch.stack([one.hu for one in fine.slices()])
    across = (torch.arange(_FINE.size) - _FINE.size // 2) * _FINE.pixel_mm
    rendition = by_name("Force Br59 20 mAs").at(thickness_mm=2.0)

    def run(where):
        with_metal = volume.clone()
        with_metal[:, where(across[None, :], across[:, None])] = _TITANIUM_HU
        lines = project(with_metal, _FINE, rendition.scanner, _FINE.pixel_mm)
        image = rendition.render(expose(lines, rendition.scanner), _IMAGE, torch.Generator().manual_seed(1))
        hu = image.numpy().astype(np.float32)
        missing = np.zeros(hu.shape, bool)
        return hu, missing, lung_mask(hu, missing, _SPACING_MM), _SPACING_MM

    return run


def test_a_pacemaker_that_spoils_tissue_is_found(scan) -> None:
    why = spoilt(*scan(lambda x, y: ((x - 75).abs() < 20) & ((y + 104).abs() < 3.5)))
    assert why is not None
    assert "metal spoils it" in why


def test_a_wire_in_the_sternum_is_not(scan) -> None:
    found = scan(lambda x, y: torch.hypot(x, y + 96) < 0.9)
    assert spoilt(*found) is None
    assert found[0].max() > 2000


def test_without_metal_nothing_is_dark(scan) -> None:
    assert streaks(*scan(lambda x, y: (x > 1e3) & (y > 1e3))) == 0


@pytest.mark.parametrize("folder", ["chest/lung-dx-a0002-b70f", "chest/lung-dx-a0002-b40f", "chest/lidc-0001"])
def test_real_chests_are_not_spoilt(series, folder) -> None:
    """The last has 7 ml at the top of the scale: contrast medium undiluted in the arm's vein, which streaks indeed."""
    volume = series(folder)
    missing = volume.hu < -1500
    lungs = lung_mask(volume.hu, missing, volume.spacing_mm)
    assert spoilt(volume.hu, missing, lungs, volume.spacing_mm) is None
    if folder.endswith("lidc-0001"):
        assert 1 < streaks(volume.hu, missing, lungs, volume.spacing_mm) < STREAK_MOST_ML
