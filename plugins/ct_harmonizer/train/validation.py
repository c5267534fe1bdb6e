"""Patients that are never trained on, in named kernels that training meets only among random ones, and how far off the generator is on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from plugins.ct_harmonizer.evaluate.density import density, density_error
from plugins.ct_harmonizer.network.normalisation import from_hu, mtf_2d, to_hu
from plugins.ct_harmonizer.simulate.dataset import FREQUENCY_PER_MM, Pool, Shots, make
from plugins.ct_harmonizer.simulate.phantom.patient import random_patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import by_name

_SEEDS = (900_001, 900_002, 900_003)
_RENDITIONS = (
    "Force Br32 20 mAs",
    "Force Br40 100 mAs",
    "Force Br49 strength 3 20 mAs",
    "Force Qr59 100 mAs",
    "Force Br59 20 mAs",
    "GE-like LUNG",
    "Sensation B70",
)


def patients(folder: Path, matrix: int) -> list[Shots]:
    """The patients of the validation, made where they are not on the disk."""
    pool = Pool(folder)
    for seed in _SEEDS:
        path = folder / f"{seed}.npz"
        if not path.exists():
            patient = random_patient(seed)
            chosen = [by_name(name) for name in _RENDITIONS]
            image = Grid(matrix, 360 * max(patient.size, 0.95) / matrix)
            heights = np.array([-70.0, 10.0]) * patient.size
            make(patient, chosen, image, heights, thickness_mm=1.5, seed=seed).save(path)
    return [Shots.load(path) for path in pool.files()]


@torch.no_grad()
def validate(generator: nn.Module, shots: list[Shots], device: torch.device) -> dict[str, float]:
    """Means over patients and renditions.

    Returns:
        `rmse_hu` of the whole slice and `lung_rmse_hu`; `laa` in points and `perc15_hu`, mean absolute errors of the lungs' figures; `lung_shift_hu`, the
        mean absolute error of the lungs' mean HU; and the same with `before_` for the slices as they came.
    """
    generator.eval()
    rows: list[dict[str, float]] = []
    for patient in shots:
        for hu, mtf in zip(patient.hu, patient.mtf, strict=True):
            image = from_hu(torch.from_numpy(hu.astype(np.float32)))[:, None].to(device)
            curve = torch.from_numpy(mtf)[None].to(device)
            laid = mtf_2d(torch.from_numpy(FREQUENCY_PER_MM), curve, (patient.pixel_mm, patient.pixel_mm))
            result = torch.cat([generator(one[None], laid) for one in image])
            after = to_hu(result)[:, 0].float().cpu().numpy()
            row = {f"before_{name}": value for name, value in _errors(hu.astype(np.float32), patient).items()}
            rows.append(row | _errors(after, patient))
    generator.train()
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _errors(hu: NDArray[np.float32], patient: Shots) -> dict[str, float]:
    truth, lung = patient.true_hu, patient.lung
    spacing_mm = (patient.thickness_mm, patient.pixel_mm, patient.pixel_mm)
    error = density_error(density(hu, lung, spacing_mm), density(truth, lung, spacing_mm))
    return {
        "rmse_hu": float(np.sqrt(np.mean((hu - truth) ** 2))),
        "lung_rmse_hu": float(np.sqrt(np.mean((hu[lung] - truth[lung]) ** 2))),
        "laa": abs(error.laa950_points),
        "perc15_hu": abs(error.perc15_hu),
        "lung_shift_hu": abs(error.mean_hu),
    }
