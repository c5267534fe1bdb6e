"""The chest put together: anatomy on a coarse grid, trees and lesions on finer ones, slice by slice as HU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from torch import Tensor

from plugins.ct_harmonizer.simulate.phantom import anatomy, tissue
from plugins.ct_harmonizer.simulate.phantom.draw import FULL, Canvas
from plugins.ct_harmonizer.simulate.phantom.emphysema import draw_emphysema
from plugins.ct_harmonizer.simulate.phantom.lungs import draw_trees
from plugins.ct_harmonizer.simulate.phantom.nodules import Nodule, draw_nodules, place_nodules
from plugins.ct_harmonizer.simulate.phantom.parenchyma import Parenchyma, enlarge, grow_parenchyma
from plugins.ct_harmonizer.simulate.phantom.patient import Contrast, Patient
from plugins.ct_harmonizer.simulate.phantom.solids import Points

COARSE_STEP_MM = 4.0  # between the heights at which anatomy is worked out, at most
_BESIDE_MM = 1.0
_FAR_VOXELS = 24.0  # signed distances are kept up to here

Block = tuple[slice, slice]  # rows, columns
_ALL = slice(None)
_WHOLE: Block = (_ALL, _ALL)


class Drawn(NamedTuple):
    """Shares of each fine voxel that trees and nodules fill: (slice, row, column), of FULL; or one slice of it, of 1."""

    vessels: Tensor
    walls: Tensor  # of airways, with what is inside them
    lumens: Tensor
    solid: Tensor  # nodules, and the solid part of part-solid ones
    nodules: Tensor  # all of them


@dataclass(frozen=True, slots=True)
class FineSlice:
    """One slice of the phantom on the fine grid: (row, column)."""

    hu: Tensor
    lung: Tensor  # share of the voxel that is lung tissue: within the pleura, without vessels, airways, nodules
    emphysema: Tensor  # share of the voxel that is emphysema
    airway: Tensor  # share that is air in trachea, bronchi and the airways that were drawn
    vessel: Tensor  # share that is blood vessel, in the lungs and the mediastinum; the heart is none
    nodule: Tensor  # share that is nodule


@dataclass(frozen=True, slots=True)
class Chest:
    """A patient, seen at the heights of a canvas. Made by `build`."""

    patient: Patient
    canvas: Canvas
    nodules: tuple[Nodule, ...]
    anatomy: dict[
        str, Tensor
    ]  # (slice, row, column), coarse: signed distance, in widths of the voxel across the surface
    bounds: dict[str, list[Block]]  # where in `anatomy` each organ fills anything, by slice
    drawn: Drawn
    emphysema: Tensor  # (slice, row, column), of FULL, a pixel of each `canvas.half`
    parenchyma: Parenchyma

    def slices(self) -> Iterator[FineSlice]:
        """Each slice, in the order of the canvas."""
        for number in range(len(self.canvas.z_mm)):
            yield self.at(number)

    def _shares(self, number: int, name: str, *insets_mm: float) -> tuple[Block, list[Tensor]]:
        """Where an organ lies in a slice, and how far it fills each voxel there: whole, and shrunk by each inset."""
        distance = self.anatomy[name][number]
        rows, columns = self.bounds[name][number]
        size, factor = self.canvas.size, self.canvas.coarser
        fine = enlarge(distance[rows, columns], factor)
        where = (_scaled(rows, factor, size), _scaled(columns, factor, size))
        fine = fine[: where[0].stop - where[0].start, : where[1].stop - where[1].start]
        return where, [(0.5 - inset / self.canvas.pixel_mm - fine).clamp_(0, 1) for inset in (0.0, *insets_mm)]

    def at(self, number: int) -> FineSlice:
        tissues = self.parenchyma
        hu = torch.full((self.canvas.size, self.canvas.size), tissue.AIR)
        lobules, texture = tissues.fine(tissues.lobules[number]), tissues.fine(tissues.texture[number])

        def fill(where: Block, share: Tensor, value: Tensor | float) -> None:
            """Replace that share of each voxel."""
            hu[where].lerp_(value[where] if isinstance(value, Tensor) else torch.tensor(value), share)

        def organ(name: str, value: Tensor | float, inset_mm: float = 0.0, inner: Tensor | float | None = None) -> None:
            where, shares = self._shares(number, name, *([] if inner is None else [inset_mm]))
            fill(where, shares[0], value)
            if inner is not None:
                fill(where, shares[1], inner)

        def whole(*names: str) -> Tensor:
            """Share of each voxel that organs fill together."""
            filled = torch.zeros_like(hu)
            for name in names:
                where, (share,) = self._shares(number, name)
                filled[where] = torch.maximum(filled[where], share)
            return filled

        medium = self.patient.contrast or Contrast(0.0, 0.0, 0.0)
        organ("mattress", tissue.MATTRESS)
        organ("board", tissue.COUCH_SHELL, 2.0, tissue.COUCH_CORE)
        organ("body", tissue.SKIN, tissue.SKIN_MM, tissue.FAT + 7 * lobules)
        organ("muscle", tissue.MUSCLE + 9 * lobules.clamp(-2.5, 0.5) + 3 * texture)
        organ("cage", tissue.FAT + 5 * lobules)
        organ("liver", tissue.LIVER + 3 * lobules)
        blood = tissue.BLOOD + 2 * lobules
        organ("heart", blood + 0.5 * medium.pulmonary)  # right heart and muscle are one
        for name, added in {
            "left_heart": medium.systemic,
            "systemic": medium.systemic,
            "pulmonary": medium.pulmonary,
            "veins": medium.veins,
        }.items():
            organ(name, blood + added)
        organ("oesophagus", tissue.OESOPHAGUS)
        organ("cartilage", tissue.CARTILAGE + 8 * lobules)
        marrow = tissue.MARROW + 25 * texture + 20 * lobules
        for bone, cortex in tissue.CORTEX.items():
            organ(bone, cortex, tissue.CORTEX_MM[bone], marrow)
        organ("disc", tissue.DISC + 6 * lobules)
        organ("canal", tissue.CORD)
        organ("airway_wall", tissue.AIRWAY_WALL)

        lung, drawn = whole("lung"), self._drawn(number)
        spared = 1 - whole("pericardium")  # no small airway runs along the heart
        fissure = whole("fissure")
        lost = tissues.fine(self.emphysema[number] / FULL) * (1 - fissure)
        healthy = tissues.hu(number).lerp_(torch.tensor(tissue.FISSURE), fissure)
        fill(_WHOLE, lung, healthy.lerp_(tissues.emphysema_hu(number), lost))
        fill(_WHOLE, drawn.vessels, tissue.VESSEL + medium.pulmonary)
        fill(_WHOLE, drawn.walls * spared, tissue.AIRWAY_WALL)
        fill(_WHOLE, drawn.lumens * spared, tissue.AIR)
        organ("airway", tissue.AIR)
        nodule = drawn.nodules * lung
        fill(_WHOLE, (drawn.nodules - drawn.solid) * lung, tissue.GLASS + 25 * texture)
        fill(_WHOLE, drawn.solid * lung, tissue.NODULE + 10 * texture)
        alveolar = lung * (1 - torch.maximum(torch.maximum(drawn.vessels, drawn.walls), drawn.nodules))
        airway = torch.maximum(whole("airway"), drawn.lumens * spared) * (1 - nodule)
        vessel = torch.maximum(whole("systemic", "pulmonary", "veins"), drawn.vessels)
        return FineSlice(hu, alveolar, alveolar * lost, airway, vessel * (1 - airway) * (1 - nodule), nodule)

    def _drawn(self, number: int) -> Drawn:
        return Drawn(*(shares[number] / FULL for shares in self.drawn))


def _bounds(distance: Tensor) -> list[Block]:
    """For each slice the coarse rows and columns where an organ (slice, row, column) fills anything, and one more around."""
    filled = distance < 0.5
    rows, columns = filled.any(dim=2).numpy(), filled.any(dim=1).numpy()

    def reach(line: NDArray[np.bool_]) -> slice:
        found = np.flatnonzero(line)
        if not found.size:
            return slice(0, 2)
        return slice(max(int(found[0]) - 1, 0), min(int(found[-1]) + 2, len(line)))

    return [(reach(row), reach(column)) for row, column in zip(rows, columns, strict=True)]


def _scaled(coarse: slice, factor: int, size: int) -> slice:
    return slice(coarse.start * factor, min((coarse.stop - 1) * factor + 1, size))


def build(canvas: Canvas, patient: Patient, detail: float, progress: Callable[[float], None]) -> Chest:
    """A patient at the heights of a canvas.

    `detail`, 0 to 1, is the share of the finest vessels that grow. `progress` is called with the share of the work done.

    Raises:
        ValueError: the canvas is not an even number of coarse pixels wide, or of fewer than two slices.
    """
    if canvas.size % (2 * canvas.coarser) or len(canvas.z_mm) < 2:
        raise ValueError(
            f"a canvas of {canvas.size} pixels and {len(canvas.z_mm)} slices: expected a multiple of {2 * canvas.coarser}, and 2"
        )
    random = np.random.default_rng(patient.seed)
    generator = torch.Generator().manual_seed(patient.seed)
    organs = _anatomy(canvas, patient)
    progress(0.2)
    trees = draw_trees(canvas, patient, detail, random)
    progress(0.6)
    nodules = place_nodules(canvas, patient, trees.branches, random)
    drawn = Drawn(*(torch.from_numpy(shares) for shares in (*trees[:3], *draw_nodules(canvas, nodules))))
    parenchyma = grow_parenchyma(canvas, patient, generator)
    progress(0.7)
    emphysema = torch.from_numpy(draw_emphysema(parenchyma, _alveolar(organs, drawn, canvas.half), random))
    chest = Chest(
        patient,
        canvas,
        nodules,
        organs,
        {name: _bounds(distance) for name, distance in organs.items()},
        drawn,
        emphysema,
        parenchyma,
    )
    progress(1.0)
    return chest


def _alveolar(organs: dict[str, Tensor], drawn: Drawn, step: int) -> NDArray[np.float32]:
    """How much of one fine voxel in every `step` (slice, row, column) is lung tissue."""
    size = drawn.vessels.shape[1] // step + 1

    def share(name: str) -> Tensor:
        fine = F.interpolate(organs[name][:, None], size=(size, size), mode="bilinear", align_corners=True)[:, 0]
        return (0.5 - fine).clamp_(0, 1)

    lung = share("lung") * (1 - share("fissure"))
    for shares in (drawn.vessels, drawn.walls, drawn.nodules):
        lung[:, :-1, :-1] *= 1 - shares[:, ::step, ::step] / FULL
    return np.asarray(lung)


def _anatomy(canvas: Canvas, patient: Patient) -> dict[str, Tensor]:
    size, step_mm = canvas.size // canvas.coarser + 1, canvas.pixel_mm * canvas.coarser
    across = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * step_mm
    wide, deep, tall = patient.scale
    wanted = torch.from_numpy(canvas.z_mm)
    span = float(wanted[-1] - wanted[0])
    steps = math.ceil(abs(span) / COARSE_STEP_MM)
    dense = steps + 1 < len(wanted)
    # Anatomy between dense slices is interpolated; where they are farther apart, its slope is seen just above and below each.
    z = torch.linspace(float(wanted[0]), float(wanted[-1]), steps + 1) if dense else _beside(wanted).flatten().float()
    at = Points(across[None, None, :] / wide, across[None, :, None] / deep, z[:, None, None] / tall)
    place = ((wanted - wanted[0]) / span * steps).clamp(0, steps)
    before = place.long().clamp(max=max(steps - 1, 0))
    share = (place - before)[:, None, None].float()

    def voxels(distance_mm: Tensor) -> Tensor:
        """Over the width of a voxel across the surface: however the surface lies, the voxel fills by that much."""
        whole = distance_mm.expand(len(z), size, size)
        if dense:
            down = torch.gradient(whole, spacing=span / steps, dim=0)[0]
        else:
            above, whole, below = whole.reshape(3, len(wanted), size, size)
            down = (below - above) / (2 * _BESIDE_MM)
        back, left = torch.gradient(whole, spacing=step_mm, dim=(1, 2))
        width = (back**2 + left**2 + 1e-4).mul_(canvas.pixel_mm**2).add_(down**2, alpha=canvas.thickness_mm**2)
        scaled = (whole / width.sqrt_()).clamp_(-_FAR_VOXELS, _FAR_VOXELS)
        return torch.lerp(scaled[before], scaled[before + 1], share) if dense else scaled

    return {name: voxels(distance_mm) for name, distance_mm in anatomy.organs(at, patient).items()}


def _beside(z_mm: Tensor) -> Tensor:
    """(3, slice): heights just under, at and over these."""
    return torch.stack([z_mm - _BESIDE_MM, z_mm, z_mm + _BESIDE_MM])
