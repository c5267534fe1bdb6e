"""Virtual patients to evaluate on: projected once, reconstructed as often as wished. The one file here that knows the simulator.

A chest is a few slices spread over the lungs; a nodule is a stack of contiguous slices with one nodule in the middle; twins are such a stack with nodules
and without; whole lungs are slices from above the apices to below the bases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from plugins.ct_harmonizer.simulate.iterative import regularise
from plugins.ct_harmonizer.simulate.phantom.chest import Chest, build
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Lesion, Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.reconstruct import clip, reconstruct
from plugins.ct_harmonizer.simulate.renditions import FORCE, Rendition, drawn_on
from plugins.ct_harmonizer.simulate.scanner import Exposure, Scanner, count, expose, project
from plugins.ct_harmonizer.simulate.series import Integrate

FIELD_MM = 500.0
# Of a chest's slices, from the tracheal bifurcation of a patient of the standard size.
HIGHEST_MM, LOWEST_MM = 0.0, -50.0
NODULE_SLICES, NODULE_STEP_MM = 10, 2.0
APEX_MM, BASE_MM = 150.0, -150.0  # whole lungs lie between, in a patient of the standard size
_FINEST = drawn_on(FORCE.resolving(2.0))
# For stacks, which finer would be gigabytes: detail ends at 1.1 cycles/mm, where a Br59 has 0.05 left.
_MANY = drawn_on(FORCE)

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
    fine_hu: Tensor  # on `fine`
    fine: Grid


class Taker:
    """Takes a case's images in any rendition. What a scanner's beam and blur make of the patient is worked out once."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._paths_mm: Tensor | None = None
        self._exposures: dict[Scanner, Exposure] = {}

    def take(self, rendition: Rendition) -> Volume:
        """Images in whole HU (slice, row, column). The noise is that of the patient's seed, the rendition's dose and its bins alone."""
        case = self._case
        noise = torch.Generator().manual_seed(case.phantom)
        grid = Grid(case.truth_hu.shape[1], case.spacing_mm[1])
        return np.asarray(rendition.render(self.exposure(rendition), grid, noise).numpy(), np.float32)

    def exposure(self, rendition: Rendition) -> Exposure:
        """What reaches the detector, whatever the dose; the last scanner's is kept."""
        scanner = replace(rendition.scanner, tube_current_time_mas=1.0)
        if scanner not in self._exposures:
            if self._paths_mm is None:
                fine = self._case.fine
                finest = scanner.resolving(1 / (2 * fine.pixel_mm))
                self._paths_mm = project(self._case.fine_hu, fine, finest, fine.pixel_mm)
            self._exposures = {scanner: expose(self._paths_mm, scanner)}
        return self._exposures[scanner]


def chest(patient: Patient, slices: int, matrix: int) -> Case:
    """Slices spread over the lungs, two at least."""
    heights = np.linspace(HIGHEST_MM, LOWEST_MM, slices, dtype=np.float64) * patient.size
    return _case(patient, heights, Grid(matrix, FIELD_MM / matrix), 1.0, _FINEST)


def nodule(patient: Patient, diameter_mm: float, matrix: int) -> Case:
    """A stack of slices as thick as far apart, with one nodule of about that diameter in the middle."""
    heights = -20.0 * patient.size + NODULE_STEP_MM * ((NODULE_SLICES - 1) / 2 - np.arange(NODULE_SLICES))
    image = Grid(matrix, FIELD_MM / matrix)
    return _case(replace(patient, nodules=(Lesion(diameter_mm),)), heights, image, NODULE_STEP_MM, _MANY)


class Twins:
    """The same patient with nodules and without; all else, voxel by voxel, is the same."""

    def __init__(self, planted: Case, plain: Case) -> None:
        self.planted, self.plain = planted, plain
        self._planted, self._plain = Taker(planted), Taker(plain)

    def take(self, rendition: Rendition) -> tuple[Volume, Volume]:
        """Images in whole HU with nodules and without, with the same noise: a nodule stops too few quanta to change it.

        Drawn anew from the same seed it would not be the same, since how many random numbers a Poisson number takes depends on what is expected.
        """
        scanner, grid = rendition.scanner, Grid(self.plain.truth_hu.shape[1], self.plain.spacing_mm[1])

        def image(exposure: Exposure, noise: torch.Generator | None) -> Tensor:
            return reconstruct(count(exposure, scanner, noise), scanner, rendition.kernel, grid)

        planted, plain = self._planted.exposure(rendition), self._plain.exposure(rendition)
        noisy = image(plain, torch.Generator().manual_seed(self.plain.phantom))
        nodules = image(planted, None) - image(plain, None)
        stored = (clip(regularise(one, grid.pixel_mm, rendition.strength)) for one in (noisy + nodules, noisy))
        with_nodules, without = (np.asarray(one.numpy(), np.float32) for one in stored)
        return with_nodules, without


def twins(patient: Patient, nodules: tuple[Lesion, ...], slices: int, matrix: int) -> Twins:
    """A stack of slices as thick as far apart, each nodule in its own share of the heights, from the head down.

    Both are drawn from one chest: where nodules lie decides where emphysema may, so that one built without them would have other holes.
    """
    heights = -20.0 * patient.size + NODULE_STEP_MM * ((slices - 1) / 2 - np.arange(slices))
    image = Grid(matrix, FIELD_MM / matrix)
    made = _built(replace(patient, nodules=nodules), heights, image, NODULE_STEP_MM, _MANY)
    nothing = torch.zeros_like(made.drawn.nodules)
    plain = replace(made, nodules=(), drawn=made.drawn._replace(solid=nothing, nodules=nothing))
    return Twins(_seen(made, image), _seen(plain, image))


def whole_lungs(patient: Patient, step_mm: float, thickness_mm: float, image: Grid) -> Case:
    """All of both lungs, from the head down."""
    heights = np.arange(APEX_MM * patient.size, BASE_MM * patient.size, -step_mm)
    return _case(patient, heights, image, thickness_mm, _MANY)


def _case(patient: Patient, heights_mm: NDArray[np.floating], image: Grid, thickness_mm: float, fine: Grid) -> Case:
    return _seen(_built(patient, heights_mm, image, thickness_mm, fine), image)


def _built(patient: Patient, heights_mm: NDArray[np.floating], image: Grid, thickness_mm: float, fine: Grid) -> Chest:
    canvas = Canvas(heights_mm.astype(np.float64), fine.size, fine.pixel_mm, thickness_mm)
    return build(canvas, patient, min(1.0, (0.75 / image.pixel_mm) ** 2), lambda _share: None)


def _seen(made: Chest, image: Grid) -> Case:
    """A chest on the image's voxels."""
    heights_mm = made.canvas.z_mm
    grid = Grid(made.canvas.size, made.canvas.pixel_mm)
    fine, integrate = list(made.slices()), Integrate(grid, image)
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
        made.patient.seed,
        truth,
        lungs,
        _pleura(made, image),
        placed,
        (step, image.pixel_mm, image.pixel_mm),
        float(np.sqrt(body_mm2 / np.pi)),
        torch.stack([one.hu for one in fine]),
        grid,
    )


def _pleura(made: Chest, image: Grid) -> NDArray[np.bool_]:
    """Where the lungs' surface leaves half of the image's voxel or more inside, (slice, row, column)."""
    distance = made.anatomy["lung"].numpy()
    middle, step_mm = (distance.shape[1] - 1) / 2, made.canvas.pixel_mm * made.canvas.coarser
    row, column = (
        (np.arange(image.size) - image.size // 2) * image.pixel_mm + centre
        for centre in (image.centre_mm[1], image.centre_mm[0])
    )
    at = np.meshgrid(*(place / step_mm + middle for place in (row, column)), indexing="ij")
    return np.stack([ndimage.map_coordinates(flat, at, order=1, mode="nearest") < 0 for flat in distance])
