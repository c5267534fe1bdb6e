"""How near virtual images that nothing has harmonized are to those of Zarei et al. (2024): `python -m plugins.ct_harmonizer.simulate.realism --phantoms 20 --seed 90001`.

Random patients, two slices of each, in the paper's 16 reconstructions at 100 and at 20 mAs; each figure is of a patient and a rendition. `evaluate/image.py` has the
formulas of SSIM, PSNR and NRMSE, means over the slices; LAA-950 and Perc15 are of the lung voxels of both slices, image against truth. The paper does not say its
scale; on the one used a chest has the ratio of NRMSE to RMSE / range that its tables show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from plugins.ct_harmonizer.evaluate.image import image_error
from plugins.ct_harmonizer.simulate.iterative import regularise
from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Patient, random_patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.reconstruct import clip, reconstruct
from plugins.ct_harmonizer.simulate.renditions import Rendition, drawn_on, paper, sharpest
from plugins.ct_harmonizer.simulate.scanner import Scanner, count, expose, project
from plugins.ct_harmonizer.simulate.series import Integrate

_HEIGHTS_MM = (0.0, -50.0)  # below the bifurcation of the standard man's trachea
_FIELD_MM = 500.0

Images = NDArray[np.float32]  # (slice, row, column), HU


@dataclass(frozen=True, slots=True)
class Distance:
    """How far the images of one patient in one rendition are from the truth."""

    ssim_percent: float
    psnr_db: float
    nrmse_percent: float
    laa950_points: float  # absolute, percentage points
    perc15_hu: float  # absolute


PAPER = Distance(79.3, 27.7, 16.7, 5.6, 43.4)  # mean over its patients with emphysema
PAPER_DEVIATION = Distance(16.4, 3.7, 9.7, 8.7, 45.4)


def distance(image: Images, truth: Images, lung: NDArray[np.bool_]) -> Distance:
    """Of slices in HU from the truth, by the formulas above; `lung` must hold a voxel."""
    error = image_error(image, truth)
    inside, truly = image[lung], truth[lung]
    laa = 100 * abs(float((inside < -950).mean()) - float((truly < -950).mean()))
    perc15 = abs(float(np.percentile(inside, 15)) - float(np.percentile(truly, 15)))
    return Distance(error.ssim_percent, error.psnr_db, error.nrmse_percent, float(laa), float(perc15))


def measure(patient: Patient, chosen: Sequence[Rendition], matrix: int = 512) -> Iterator[tuple[str, Distance]]:
    """The distance of each rendition by its name. What is measured at one dose is measured once and serves all kernels of these bins, as in a clinic.

    All renditions must be of one scanner and thickness, but for its bins.
    """
    image, scanner = Grid(matrix, _FIELD_MM / matrix), sharpest(chosen)
    drawn, heights = drawn_on(scanner), np.array(_HEIGHTS_MM) * patient.size
    canvas = Canvas(heights, drawn.size, drawn.pixel_mm, scanner.thickness_mm)
    integrate = Integrate(drawn, image)
    fine = list(build(canvas, patient, min(1.0, (0.75 / image.pixel_mm) ** 2), lambda _share: None).slices())
    truth = np.stack([integrate(one.hu + 1000).numpy() - 1000 for one in fine])
    lung = np.stack([integrate(one.lung).numpy() >= 0.5 for one in fine])
    volume = torch.stack([one.hu for one in fine])
    paths = project(volume, drawn, scanner, drawn.pixel_mm)
    generator = torch.Generator().manual_seed(patient.seed)
    measured: dict[Scanner, torch.Tensor] = {}
    for rendition in chosen:
        if rendition.scanner not in measured:
            measured[rendition.scanner] = count(expose(paths, rendition.scanner), rendition.scanner, generator)
        made = reconstruct(measured[rendition.scanner], rendition.scanner, rendition.kernel, image)
        stored = clip(regularise(made, image.pixel_mm, rendition.strength))
        yield rendition.name, distance(stored.numpy(), truth, lung)


def table(rows: Sequence[tuple[str, Distance]]) -> str:
    """Mean ± standard deviation over patients and renditions in Markdown: all, by dose, by kernel, and the paper's."""
    groups: dict[str, list[tuple[str, Distance]]] = {"paper": [], "all": list(rows)}
    for name, found in rows:
        _, kernel, *rest = name.split()
        for group in (" ".join(rest[-2:]), f"{kernel}{' strength 3' if 'strength' in rest else ''}"):
            groups.setdefault(group, []).append((name, found))
    lines = ["| | SSIM % | PSNR dB | NRMSE % | ΔLAA-950 points | ΔPerc15 HU |", "|---|---|---|---|---|---|"]
    for group, members in groups.items():
        values = np.array([astuple(found) for _, found in members])
        means, spread = (
            (values.mean(axis=0), values.std(axis=0)) if members else (astuple(PAPER), astuple(PAPER_DEVIATION))
        )
        cells = " | ".join(f"{mean:.1f}±{by:.1f}" for mean, by in zip(means, spread, strict=True))
        lines.append(f"| {group} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m plugins.ct_harmonizer.simulate.realism",
        description="How near virtual images that nothing has harmonized are to the paper's.",
    )
    parser.add_argument("--phantoms", type=int, default=20)
    parser.add_argument("--seed", type=int, default=90001, help="of the first patient")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(f"patient,rendition,{','.join(field.name for field in fields(Distance))}\n")
    rows = []
    for seed in range(chosen.seed, chosen.seed + chosen.phantoms):
        for name, found in measure(random_patient(seed), paper()):
            rows.append((name, found))
            sys.stdout.write(f"{seed},{name},{','.join(f'{value:.3f}' for value in astuple(found))}\n")
        sys.stdout.flush()
    sys.stdout.write(f"\n{table(rows)}\n")


if __name__ == "__main__":
    main()
