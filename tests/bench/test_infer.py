"""What harmonizing slices of 512 x 512 costs on a processor: the full generator, the shipped one, and a plain U-Net beside them in one run; and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from plugins.ct_harmonizer.infer import Harmonizer
from plugins.ct_harmonizer.network.generator import Generator
from plugins.ct_harmonizer.network.plain import PlainUNet
from plugins.ct_harmonizer.weights import shipped

FREQUENCY = np.linspace(0, 1.6, 81)
CPU = torch.device("cpu")
MOST_MIB = 2048  # more than torch imported alone
LEAST_PER_SECOND = 300  # on an H100
SLICES = 300  # that are in memory
TAKEN = 8, 16  # of them, after which memory is read

# A process of its own, since memory once taken is seldom given back. The peak is that of /proc: getrusage's is inherited from what starts a process.
_WATCHED = """
import json, re, sys
from itertools import islice
from pathlib import Path
import torch

def peak_mib():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

read = {"torch": peak_mib()}
import numpy as np
from plugins.ct_harmonizer.infer import Harmonizer
from plugins.ct_harmonizer.network.generator import Generator
from plugins.ct_harmonizer.weights import shipped

cpu, kind, (slices, *taken) = torch.device("cpu"), sys.argv[1], map(int, sys.argv[2:])
harmonizer = Harmonizer(Generator(), cpu) if kind == "full" else Harmonizer.load(shipped().paths, cpu)
hu = np.random.default_rng(0).standard_normal((slices, 512, 512), np.float32)
hu *= 300
hu -= 500
padding = np.full(hu.shape, False)
padding[:, :8] = True  # each page is written, so that it is there
read["volume"] = peak_mib()
frequency = np.linspace(0, 1.6, 81)
made = harmonizer.slices(hu, padding, frequency_per_mm=frequency, mtf=np.exp(-frequency), pixel_mm=(0.7, 0.7))
for last, upto in zip((0, *taken), taken):
    for image in islice(made, upto - last):
        assert np.isfinite(image).all()
    read[f"{upto} slices"] = peak_mib()
print(json.dumps(read))
"""


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: its rate is not measured here")
def test_slices_a_second_on_a_gpu() -> None:
    """With copies to it and back; the bar is of an H100."""
    harmonizer = Harmonizer(Generator())
    hu, padding = np.full((SLICES, 512, 512), -500, np.float32), np.zeros((SLICES, 512, 512), bool)
    rates = []
    for _ in range(6):
        start = time.perf_counter()
        for _image in harmonizer.slices(
            hu, padding, frequency_per_mm=FREQUENCY, mtf=np.exp(-FREQUENCY), pixel_mm=(0.7, 0.7)
        ):
            pass
        rates.append(SLICES / (time.perf_counter() - start))
    rate = float(np.median(rates[1:]))  # the first one warms up
    print(f"\n{torch.cuda.get_device_name()}: {rate:.0f} slices a second, median of {len(rates) - 1}")
    if "H100" in torch.cuda.get_device_name():
        assert rate >= LEAST_PER_SECOND


@pytest.mark.parametrize("kind", ["shipped", "full"])
def test_memory_of_three_hundred_slices(kind: str) -> None:
    """The volume is whole in memory, slices are worked at one by one: were the peak to rise to the 300th as from the 8th to the 16th, it would do."""
    told = subprocess.run(
        [sys.executable, "-c", _WATCHED, kind, *map(str, (SLICES, *TAKEN))], check=True, capture_output=True, text=True
    )
    read = json.loads(told.stdout)
    before, after = (read[f"{taken} slices"] for taken in TAKEN)
    over = after - read["torch"]
    at_most = over + (after - before) / (TAKEN[1] - TAKEN[0]) * (SLICES - TAKEN[1])
    print(
        f"\n{kind}: {over:.0f} MiB over torch alone, {at_most:.0f} at most after {SLICES}; peaks {told.stdout.strip()}"
    )
    assert at_most < MOST_MIB
