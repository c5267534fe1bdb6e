"""The MTF at the skin of a virtual patient, scanned with noise and reconstructed by code that shares none with the measurement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from plugins.ct_harmonizer.mtf import measure_mtf
from plugins.ct_harmonizer.simulate.kernels import kernel
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.reconstruct import clip, reconstruct
from plugins.ct_harmonizer.simulate.scanner import Scanner, expose, project

OBJECT, IMAGE = Grid(800, 0.45), Grid(384, 0.8)
SLICES, SLICE_MM = 8, 2.0


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def lines() -> Tensor:
    """Line integrals of a cylinder of 90 mm, its skin 1.8 mm over fat, 45 mm off the centre and moving a little: radii of 45 to 135 mm."""
    return project(
        torch.stack([body(36.0 + 0.31 * number, -27.0 + 0.17 * number) for number in range(SLICES)]), OBJECT, Scanner()
    )


def body(x_mm: float, y_mm: float) -> Tensor:
    across = (torch.arange(OBJECT.size) - OBJECT.size // 2) * OBJECT.pixel_mm
    distance = torch.hypot(across[None, :] - x_mm, across[:, None] - y_mm)
    filled = [(0.5 - (distance - radius) / OBJECT.pixel_mm).clamp(0, 1) for radius in (90.0, 88.2, 74.0)]
    return -1000 + 1075 * filled[0] - 175 * filled[1] + 150 * filled[2]


@pytest.mark.parametrize(("f50", "f10", "lift", "mas"), [(0.385, 0.626, 0.0, 20.0), (0.56, 0.76, 0.35, 100.0)])
def test_a_scan_shows_its_kernels_mtf_at_every_radius(lines, f50, f10, lift, mas) -> None:
    scanner, made = Scanner(tube_current_time_mas=mas, thickness_mm=SLICE_MM), kernel("made", f50, f10, lift)
    noisy = expose(lines, scanner, torch.Generator().manual_seed(3))
    volume = clip(reconstruct(noisy, scanner, made, IMAGE, OBJECT.pixel_mm)).numpy()
    found = measure_mtf(volume, (SLICE_MM, IMAGE.pixel_mm, IMAGE.pixel_mm))
    assert found.f50_per_mm.value == pytest.approx(made.f50_per_mm, rel=0.02)
    assert found.f10_per_mm.value == pytest.approx(made.f10_per_mm, rel=0.03)
    assert len(found.radius_bands) >= 2
    for band in found.radius_bands:
        assert band.f50_per_mm.value == pytest.approx(made.f50_per_mm, rel=0.03)
