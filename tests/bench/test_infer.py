"""What harmonizing a slice of 512 x 512 costs on a processor: the full generator, the shipped one, and a plain U-Net beside them in one run."""

from __future__ import annotations

import time

import numpy as np
import torch

from plugins.ct_harmonizer.infer import Harmonizer
from plugins.ct_harmonizer.network.generator import Generator
from plugins.ct_harmonizer.network.plain import PlainUNet
from plugins.ct_harmonizer.weights import shipped

FREQUENCY = np.linspace(0, 1.6, 81)
CPU = torch.device("cpu")


def _cost(harmonizer: Harmonizer) -> tuple[float, float]:
    """Seconds and CPU seconds of a slice: the best of two after one to warm up."""
    hu, padding = (
        np.random.default_rng(0).normal(-500, 300, (1, 512, 512)).astype(np.float32),
        np.zeros((1, 512, 512), bool),
    )
    taken = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        list(harmonizer.slices(hu, padding, frequency_per_mm=FREQUENCY, mtf=np.exp(-FREQUENCY), pixel_mm=(0.7, 0.7)))
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(taken[1:])


def test_a_slice() -> None:
    torch.manual_seed(0)
    plain = PlainUNet().eval().to(memory_format=torch.channels_last)
    image = torch.randn(1, 1, 512, 512).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        plain(image)
        wall, cpu = time.perf_counter(), time.process_time()
        plain(image)
        peer = time.perf_counter() - wall, time.process_time() - cpu
    full = _cost(Harmonizer(Generator(), CPU))
    small = _cost(Harmonizer.load(shipped().paths, CPU))
    for name, (seconds, of_cpu) in (("plain U-Net", peer), ("full generator", full), ("shipped generator", small)):
        print(f"\n{name}: {seconds:.2f} s, {of_cpu:.2f} s of CPU a slice, {of_cpu / peer[1]:.2f} x the plain U-Net")
    assert full[0] < 1.3
    assert small[0] < full[0]
