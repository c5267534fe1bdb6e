"""The MTF at the skin of a virtual patient, scanned with noise and reconstructed by code that shares none with the measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from plugins.ct_harmonizer.mtf import measure_mtf
from plugins.ct_harmonizer.mtf.curve import crossing
from plugins.ct_harmonizer.simulate.kernels import kernel
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import Rendition
from plugins.ct_harmonizer.simulate.scanner import Exposure, Scanner, expose, project

SCANNER = Scanner(thickness_mm=2.0)
OBJECT, IMAGE = Grid(800, 0.45), Grid(384, 0.8)
SLICES, SLICE_MM = 8, 2.0


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def exposure() -> Exposure:
    """What reaches the detector of a cylinder of 90 mm, its skin 1.8 mm over fat, 45 mm off the centre and moving a little: radii of 45 to 135 mm."""
    bodies = torch.stack([body(36.0 + 0.31 * number, -27.0 + 0.17 * number) for number in range(SLICES)])
    return expose(project(bodies, OBJECT, SCANNER, OBJECT.pixel_mm), SCANNER)


def body(x_mm: float, y_mm: float) -> Tensor:
    across = (torch.arange(OBJECT.size) - OBJECT.size // 2) * OBJECT.pixel_mm
    distance = torch.hypot(across[None, :] - x_mm, across[:, None] - y_mm)
    filled = [(0.5 - (distance - radius) / OBJECT.pixel_mm).clamp(0, 1) for radius in (90.0, 88.2, 74.0)]
    return -1000 + 1075 * filled[0] - 175 * filled[1] + 150 * filled[2]


@pytest.mark.parametrize(("f50", "f10", "lift", "mas"), [(0.385, 0.626, 0.0, 20.0), (0.56, 0.76, 0.35, 100.0)])
def test_a_scan_shows_its_mtf_at_every_radius(exposure, f50, f10, lift, mas) -> None:
    made = Rendition("made", replace(SCANNER, tube_current_time_mas=mas), kernel("made", f50, f10, lift))
    volume = made.render(exposure, IMAGE, torch.Generator().manual_seed(3)).numpy()
    found = measure_mtf(volume, (SLICE_MM, IMAGE.pixel_mm, IMAGE.pixel_mm))
    assert len(found.radius_bands) >= 2
    frequency = np.linspace(0, 1.6, 1601)
    for band in found.radius_bands:
        # An edge is blurred by what its own tangent passes; the arcs of a band lie between these.
        curves = [made.mtf(frequency, radius) for radius in (max(band.low_mm - 45.0, 0.0), band.high_mm)]
        softest, sharpest = sorted(crossing(frequency, curve, 0.5) for curve in curves)
        assert 0.97 * softest < band.f50_per_mm.value < 1.03 * sharpest
    outer = found.radius_bands[-1]
    assert outer.f50_per_mm.value < found.radius_bands[0].f50_per_mm.value
