"""What training draws, as the guards read it: `python -m plugins.ct_harmonizer.guards --patients 50 --seed 500000`.

Patients, fields of view, thicknesses and renditions are drawn by what training draws by (`simulate.dataset.random_session`). The constants of `guards.noise` are what this prints. Half an hour on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from plugins.ct_harmonizer.guards.noise import mean_frequency
from plugins.ct_harmonizer.mtf.noise import measure_noise
from plugins.ct_harmonizer.simulate.dataset import FREQUENCY_PER_MM, random_session, scan

_RENDITIONS, _SLICES = 8, 3


def read(seed: int) -> Iterator[dict[str, float]]:
    """Figures of one patient's renditions; what cannot be read is left out."""
    session = random_session(seed, slices=_SLICES, count=_RENDITIONS)
    shots, pixel_mm = scan(session, seed), session.image.pixel_mm
    for hu, mtf, rendition in zip(shots.hu, shots.mtf.astype(np.float64), session.chosen, strict=True):
        noise = measure_noise(hu.astype(np.float32), (1.0, pixel_mm, pixel_mm))
        figures = {"f50 at the skin, /mm": float(FREQUENCY_PER_MM[np.flatnonzero(mtf >= 0.5)[-1]])}
        if noise.level_hu is not None:
            figures["noise, HU"] = noise.level_hu
        if noise.nps is not None:
            for where, curve in (("skin", mtf), ("isocentre", rendition.mtf(FREQUENCY_PER_MM))):
                expected = mean_frequency(curve, FREQUENCY_PER_MM, pixel_mm)
                figures[f"mean frequency over that of the curve at the {where}"] = noise.nps.mean_per_mm / expected
        yield figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m plugins.ct_harmonizer.guards", description="What training draws.")
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--seed", type=int, default=500_000)
    chosen = parser.parse_args()
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(chosen.seed, chosen.seed + chosen.patients):
        for figures in read(seed):
            for name, value in figures.items():
                found[name].append(value)
    for name, values in found.items():
        low, first, middle, last, high = np.percentile(values, (0, 1, 50, 99, 100))
        between = f"1 and 99 %: {first:.3f}, {last:.3f}; median {middle:.3f}; n {len(values)}"
        sys.stdout.write(f"{name}: {low:.3f} to {high:.3f} ({between})\n")


if __name__ == "__main__":
    main()
