"""Virtual patients to evaluate on: projected once, reconstructed as often as wished. The one file here that knows the simulator.

A chest is a few slices spread over the lungs; a nodule is a stack of contiguous slices with one nodule in the middle; whole lungs are slices from above
the apices to below the bases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from plugins.ct_harmonizer.simulate.phantom.chest import COARSER, Chest, build
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Lesion, Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import FORCE, Rendition
from plugins.ct_harmonizer.simulate.scanner import Exposure, Scanner, expose, project
from plugins.ct_harmonizer.simulate.series import Integrate

FIELD_MM = 500.0
HIGHEST_MM, LOWEST_MM = (
    0.0,
    -50.0,
)  # of a chest's slices from the tracheal bifurcation of a patient of the standard size
NODULE_SLICES, NODULE_STEP_MM = 10, 2.0
APEX_MM, BASE_MM = 150.0, -150.0  # whole lungs lie between, in a patient of the standard size
_FINE = Grid(1112, 0.45)  # 500 mm: the fattest lie within

Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    """A patient's truth on the image's voxels, arrays (slice, row, column)."""

    phantom: int  # its seed
    truth_hu: Volume
    lungs: NDArray[np.bool_]  # alveolar tissue: within the pleura, without vessels, airways and nodules
    pleura: NDArray[np.bool_]  # all within the pleura: vessels and small airways too, not trachea and main bronchi
    nodules: tuple[tuple[tuple[float, float, float], float], ...]  # centre (slice, row, column), diameter in mm
    spacing_mm: tuple[float, float, float]
    skin_mm: float  # mean radius of the body
    fine_hu: Tensor


class Taker:
    """Takes a case's images in any rendition. What a scanner's beam and blur make of the patient is worked out once."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._exposures: dict[Scanner, Exposure] = {}

    def take(self, rendition: Rendition) -> Volume:
        """Images in whole HU (slice, row, column). The noise is that of the patient's seed and the rendition's dose alone."""
        case = self._case
        scanner = replace(rendition.scanner, tube_current_time_mas=1.0)
        if scanner not in self._exposures:
            self._exposures = {scanner: expose(project(case.fine_hu, _FINE, scanner, _FINE.pixel_mm), scanner)}
        noise = torch.Generator().manual_seed(case.phantom)
        grid = Grid(case.truth_hu.shape[1], case.spacing_mm[1])
        return np.asarray(rendition.render(self._exposures[scanner], grid, noise).numpy(), np.float32)


def chest(patient: Patient, slices: int, matrix: int) -> Case:
    """Slices spread over the lungs, two at least."""
    heights = np.linspace(HIGHEST_MM, LOWEST_MM, slices, dtype=np.float64) * patient.size
    return _case(patient, heights, Grid(matrix, FIELD_MM / matrix), 1.0)


def nodule(patient: Patient, diameter_mm: float, matrix: int) -> Case:
    """A stack of slices as thick as far apart, with one nodule of about that diameter in the middle."""
    heights = -20.0 * patient.size + NODULE_STEP_MM * ((NODULE_SLICES - 1) / 2 - np.arange(NODULE_SLICES))
    return _case(
        replace(patient, nodules=(Lesion(diameter_mm),)), heights, Grid(matrix, FIELD_MM / matrix), NODULE_STEP_MM
    )


def whole_lungs(patient: Patient, step_mm: float, thickness_mm: float, image: Grid) -> Case:
    """All of both lungs, from the head down."""
    heights = np.arange(APEX_MM * patient.size, BASE_MM * patient.size, -step_mm)
    return _case(patient, heights, image, thickness_mm)


def _case(patient: Patient, heights_mm: NDArray[np.floating], image: Grid, thickness_mm: float) -> Case:
    canvas = Canvas(
        heights_mm.astype(np.float64),
        _FINE.size,
        _FINE.pixel_mm,
        replace(FORCE, thickness_mm=thickness_mm).thickness_mm,
    )
    made = build(canvas, patient, min(1.0, (0.75 / image.pixel_mm) ** 2), lambda _share: None)
    fine, integrate = list(made.slices()), Integrate(_FINE, image)
    truth = np.stack([integrate(one.hu + 1000).numpy() - 1000 for one in fine]).astype(np.float32)
    lungs = np.stack([integrate(one.lung).numpy() >= 0.5 for one in fine])
    step = float(abs(heights_mm[1] - heights_mm[0]))
    placed = tuple(
        (
            (
                float((heights_mm[0] - one.centre_mm[2]) / step),
                one.centre_mm[1] / image.pixel_mm + image.size // 2,
                one.centre_mm[0] / image.pixel_mm + image.size // 2,
            ),
            one.diameter_mm,
        )
        for one in made.nodules
    )
    body_mm2 = float((truth > -500).sum(axis=(1, 2)).mean() + lungs.sum(axis=(1, 2)).mean()) * image.pixel_mm**2
    return Case(
        patient.seed,
        truth,
        lungs,
        _pleura(made, image),
        placed,
        (step, image.pixel_mm, image.pixel_mm),
        float(np.sqrt(body_mm2 / np.pi)),
        torch.stack([one.hu for one in fine]),
    )


def _pleura(made: Chest, image: Grid) -> NDArray[np.bool_]:
    """Where the lungs' surface leaves half of the image's voxel or more inside, (slice, row, column)."""
    distance = made.anatomy["lung"].numpy()
    middle = (distance.shape[1] - 1) / 2
    row, column = (
        (np.arange(image.size) - image.size // 2) * image.pixel_mm + centre
        for centre in (image.centre_mm[1], image.centre_mm[0])
    )
    at = np.meshgrid(*(place / (_FINE.pixel_mm * COARSER) + middle for place in (row, column)), indexing="ij")
    return np.stack([ndimage.map_coordinates(flat, at, order=1, mode="nearest") < 0 for flat in distance])
