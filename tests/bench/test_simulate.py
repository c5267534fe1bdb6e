"""What a rendition costs: at most 3 s of two cores for a slice of 512 x 512 in any kernel, at least 100 a second on an accelerator, from the phantom's voxels to stored HU."""

from __future__ import annotations

import time
from statistics import median

import pytest
import torch
from torch import Tensor

from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name, drawn_on, paper, sharpest
from plugins.ct_harmonizer.simulate.scanner import expose, project

IMAGE = Grid(512, 0.75)
SLICES_ON_A_DEVICE = 24


def cylinders(fine: Grid, slices: int) -> Tensor:
    """Water 30 cm wide: (slice, row, column)."""
    across = (torch.arange(fine.size) - fine.size // 2) * fine.pixel_mm
    cylinder = 1000 * (torch.hypot(across, across[:, None]) < 150).float() - 1000
    return cylinder.expand(slices, -1, -1)


@pytest.mark.parametrize("name", ["Force Br32 100 mAs", "Force Br69 strength 3 20 mAs"])
def test_a_rendition_of_two_slices(name: str) -> None:
    torch.set_num_threads(1)  # seconds of CPU on one core
    rendition, projecting, exposing, rendering = by_name(name), [], [], []
    fine = drawn_on(rendition.scanner, 432.0)
    volume = cylinders(fine, 2)
    for _ in range(3):
        started = time.process_time()
        paths = project(volume, fine, rendition.scanner, fine.pixel_mm)
        projected = time.process_time()
        exposure = expose(paths, rendition.scanner)
        exposed = time.process_time()
        rendition.render(exposure, IMAGE, torch.Generator().manual_seed(1))
        projecting.append((projected - started) / len(volume))
        exposing.append((exposed - projected) / len(volume))
        rendering.append((time.process_time() - exposed) / len(volume))
    print(
        f"\n{name}: {median(projecting):.2f} s of CPU a slice to project it, {median(exposing):.2f} s to expose it, {median(rendering):.2f} s a rendition"
    )
    assert median(projecting) + median(exposing) + median(rendering) < 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the rate of an accelerator needs one that torch.cuda sees")
def test_renditions_a_second_on_an_accelerator() -> None:
    """All 32 of the paper, each with its own exposure; the patient is drawn and projected before."""
    device, chosen = torch.device("cuda"), paper()
    finest = sharpest(chosen)
    fine = drawn_on(finest)
    paths = project(cylinders(fine, SLICES_ON_A_DEVICE).to(device), fine, finest, fine.pixel_mm)
    generator = torch.Generator(device).manual_seed(1)
    for rendition in chosen[:11]:  # tables and FFT plans are made once
        rendition.render(expose(paths, rendition.scanner), IMAGE, generator)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for rendition in chosen:
        image = rendition.render(expose(paths, rendition.scanner), IMAGE, generator)
    torch.cuda.synchronize()
    rate = len(chosen) * SLICES_ON_A_DEVICE / (time.perf_counter() - started)
    print(
        f"\n{torch.cuda.get_device_name()}: {rate:.0f} renditions a second, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    )
    assert image.shape == (SLICES_ON_A_DEVICE, 512, 512)
    assert rate >= 100
