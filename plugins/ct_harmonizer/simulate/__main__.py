"""Scan a virtual chest into an npz file, the truth beside it: `python -m plugins.ct_harmonizer.simulate --out chest.npz`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.series import Request, scan_chest


def main() -> None:
    usual = Request()
    parser = argparse.ArgumentParser(prog="python -m plugins.ct_harmonizer.simulate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the npz file to write")
    parser.add_argument("--slices", type=int, default=usual.slices)
    parser.add_argument("--matrix", type=int, default=usual.matrix)
    parser.add_argument("--seed", type=int, default=usual.patient.seed)
    chosen = parser.parse_args()
    request = Request(slices=chosen.slices, matrix=chosen.matrix, patient=Patient(chosen.seed), noise_seed=chosen.seed)
    scan = scan_chest(request, lambda done, total: print(f"\r{100 * done // total:3d} %", end="", file=sys.stderr))  # noqa: T201
    frequency_per_mm = np.linspace(0, 1.6, 161)
    np.savez_compressed(
        chosen.out,
        hu=scan.hu,
        true_hu=scan.truth.hu,
        lung=scan.truth.lung,
        emphysema=scan.truth.emphysema,
        nodule_centres_mm=np.array([nodule.centre_mm for nodule in scan.truth.nodules]),
        nodule_diameters_mm=np.array([nodule.diameter_mm for nodule in scan.truth.nodules]),
        spacing_mm=np.array([request.spacing_mm, request.image.pixel_mm, request.image.pixel_mm]),
        frequency_per_mm=frequency_per_mm,
        mtf=request.rendition.mtf(frequency_per_mm),
    )
    print(f"\n{chosen.out}: {scan.hu.shape}, LAA-950 in truth {scan.truth.laa_950_percent:.1f} %")  # noqa: T201


if __name__ == "__main__":
    main()
