"""What a rendition costs: a slice of 512 x 512 in any kernel takes at most 3 s on 2 cores, from the phantom's voxels to stored HU."""

from __future__ import annotations

import time
from statistics import median

import torch

from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name
from plugins.ct_harmonizer.simulate.scanner import expose, project

FINE, IMAGE = Grid(960, 0.45), Grid(512, 0.75)


def test_a_rendition_of_two_slices() -> None:
    torch.set_num_threads(1)  # seconds of CPU on one core
    across = (torch.arange(FINE.size) - FINE.size // 2) * FINE.pixel_mm
    cylinder = 1000 * (torch.hypot(across, across[:, None]) < 150).float() - 1000
    volume = torch.stack([cylinder, cylinder])
    for name in ("Force Br32 100 mAs", "Force Br69 strength 3 20 mAs"):
        rendition, projecting, rendering = by_name(name), [], []
        for _ in range(3):
            started = time.process_time()
            exposure = expose(project(volume, FINE, rendition.scanner, FINE.pixel_mm), rendition.scanner)
            exposed = time.process_time()
            rendition.render(exposure, IMAGE, torch.Generator().manual_seed(1))
            projecting.append((exposed - started) / len(volume))
            rendering.append((time.process_time() - exposed) / len(volume))
        print(
            f"\n{name}: {median(projecting):.2f} s of CPU a slice to expose it, {median(rendering):.2f} s a rendition"
        )
        assert median(projecting) + median(rendering) < 3
