"""Lung tissue before any illness but haze: denser towards the back, uneven over centimetres, over lobules, and finely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from plugins.ct_harmonizer.simulate.phantom import tissue
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.phantom.solids import ramp

_REGION_MM, _HAZE_MM, _LOBULE_MM, _TEXTURE_MM = 18.0, 9.0, 3.0, 1.0  # over which density varies
_BACK_MM = (
    25.0,
    100.0,
)  # behind the isocentre: where lung that lies under its own weight begins and ends, of the standard man


@dataclass(frozen=True, slots=True)
class Parenchyma:
    """Random fields (slice, row, column) of mean 0 and SD 1, on grids coarser than the canvas. Made by `grow_parenchyma`."""

    patient: Patient
    canvas: Canvas
    texture: Tensor  # on a pixel of each `canvas.half`, the others on one of each `canvas.coarser`
    lobules: Tensor
    regions: Tensor
    haze: Tensor  # ground glass, 0 to 1

    def fine(self, field: Tensor) -> Tensor:
        """One slice (row, column) of a field on the canvas."""
        return enlarge(field, self.canvas.size // (len(field) - 1))[: self.canvas.size, : self.canvas.size]

    def hu(self, number: int) -> Tensor:
        """(row, column) of a slice: what lung there would be."""
        size, patient = self.canvas.size, self.patient
        rows_mm = (((torch.arange(size) - size // 2) * self.canvas.pixel_mm) / patient.scale[1])[:, None]
        level = tissue.LUNG_MIDDLE + patient.lung_hu + tissue.LUNG_GRADIENT_PER_MM * rows_mm
        level = level + patient.dependent_hu * ramp(rows_mm, *_BACK_MM) ** 2
        level = level + 11 * self.fine(self.texture[number]) + 9 * self.fine(self.lobules[number])
        return level + patient.uneven_hu * self.fine(self.regions[number]) + tissue.HAZE * self.fine(self.haze[number])

    def emphysema_hu(self, number: int) -> Tensor:
        """(row, column) of a slice: what a hole in the lung would be."""
        return tissue.EMPHYSEMA + 8 * self.fine(self.texture[number])


def grow_parenchyma(canvas: Canvas, patient: Patient, generator: torch.Generator) -> Parenchyma:
    """Draw the fields."""
    coarse, step_mm = canvas.size // canvas.coarser + 1, canvas.across_mm(canvas.coarser)
    half, half_mm = canvas.size // canvas.half + 1, canvas.across_mm(canvas.half)
    gaps_mm = np.abs(np.diff(canvas.z_mm)).tolist()

    def field(across_mm: float, size: int = coarse, pixel_mm: float = step_mm) -> Tensor:
        """Uneven over so many mm; as far along the table as to its Gaussian's 1/e of correlation across, twice its deviation."""
        return tissue.noise(generator, gaps_mm, size, across_mm / pixel_mm, 2 * across_mm)

    return Parenchyma(
        patient,
        canvas,
        field(_TEXTURE_MM, half, half_mm),
        field(_LOBULE_MM),
        field(_REGION_MM),
        _patches(field(_HAZE_MM), patient.ground_glass_percent),
    )


def enlarge(field: Tensor, factor: int) -> Tensor:
    """(row, column) by linear interpolation, so many times finer; first and last pixels stay."""
    shape = ((field.shape[0] - 1) * factor + 1, (field.shape[1] - 1) * factor + 1)
    return F.interpolate(field[None, None], size=shape, mode="bilinear", align_corners=True)[0, 0]


def _patches(field: Tensor, percent: float) -> Tensor:
    """Soft-edged patches over so many percent of a random field of SD 1."""
    if percent == 0:
        return torch.zeros_like(field)
    edge = float(torch.special.ndtri(torch.tensor(1 - percent / 100)))
    return ramp(field, edge - 0.25, edge + 0.25)
