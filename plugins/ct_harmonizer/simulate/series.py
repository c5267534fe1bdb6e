"""A virtual chest CT series, and the truth beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.ct_harmonizer.simulate.kernels import SHARP
from plugins.ct_harmonizer.simulate.phantom.chest import build
from plugins.ct_harmonizer.simulate.phantom.nodules import Nodule
from plugins.ct_harmonizer.simulate.phantom.patient import STANDARD_MAN, Patient
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.renditions import FORCE, WIDEST_MM, Rendition, drawn_on
from plugins.ct_harmonizer.simulate.scanner import expose, project
from plugins.ct_harmonizer.simulate.slices import Profile, cut

MIDDLE_MM = -29.0  # height of the middle of the series below the tracheal bifurcation
_WIDE_MM = 432.0  # the standard man with his arms up
_READINGS_AT_ONCE = 24 * 1152  # of a view: bounds the memory

DEFAULT_RENDITION = Rendition.of("Sharp", replace(FORCE, tube_current_time_mas=40.0, thickness_mm=2.0), SHARP)

Progress = Callable[[int, int], None]  # steps done, of how many


@dataclass(frozen=True, slots=True)
class Request:
    """What to scan, and how."""

    slices: int = 48
    matrix: int = 512
    field_of_view_mm: float = 384.0
    spacing_mm: float = 2.0
    profile: Profile = "axial"  # what a slice averages along the table
    centre_mm: tuple[float, float] = (0.0, 0.0)  # of the field of view, x and y from the isocentre
    rendition: Rendition = DEFAULT_RENDITION
    patient: Patient = STANDARD_MAN
    noise_seed: int = 1

    @property
    def detail(self) -> float:
        """Share of the finest vessels to grow: those that pixels of this size can show."""
        return min(1.0, (0.75 / self.image.pixel_mm) ** 2)

    @property
    def image(self) -> Grid:
        return Grid(self.matrix, self.field_of_view_mm / self.matrix, self.centre_mm)

    @property
    def drawn(self) -> Grid:
        """What the patient is drawn on: wide enough for the body, and for the arms where they are down."""
        wide = self.patient.arms == "down" or self.patient.size > 1 or self.patient.fat_mm > 0
        return drawn_on(self.rendition.scanner, WIDEST_MM if wide else _WIDE_MM)

    @property
    def z_mm(self) -> NDArray[np.float64]:
        """Heights of the slices, the highest first."""
        return np.asarray(MIDDLE_MM - (np.arange(self.slices) - (self.slices - 1) / 2) * self.spacing_mm, np.float64)


@dataclass(frozen=True, slots=True)
class Truth:
    """What was scanned, on the image's own voxels: no blur but the pixel's and the slice profile's, no noise."""

    hu: NDArray[np.float32]  # (slice, row, column)
    lung: NDArray[np.bool_]  # lung tissue: within the pleura, without vessels, airways, nodules
    emphysema: NDArray[np.float32]  # share of the voxel
    airway: NDArray[np.bool_]  # air in trachea, bronchi and the airways that were drawn
    vessel: NDArray[np.bool_]  # blood vessels, in the lungs and the mediastinum; the heart is none
    nodules: tuple[Nodule, ...]

    @property
    def laa_950_percent(self) -> float:
        """Share of the lung below -950 HU."""
        return 100 * float((self.hu[self.lung] < -950).mean())


@dataclass(frozen=True, slots=True)
class Scan:
    """A scanned series. The image's MTF is `request.rendition.mtf`, which falls with the distance from the isocentre."""

    hu: NDArray[np.int16]  # (slice, row, column), HU as stored: whole, -1024 to 3071
    truth: Truth
    request: Request


def scan_chest(request: Request, progress: Progress) -> Scan:
    """Scan a virtual patient. The same request gives the same series, however many cores there are.

    `progress` is called with three steps for each slice: the patient, the truth, the image.
    """
    with _one_thread():
        return _scan_chest(request, progress)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Most steps here are short: threads that wait for each other at each one took four times as long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _scan_chest(request: Request, progress: Progress) -> Scan:
    total, grid, scanner = 3 * request.slices, request.drawn, request.rendition.scanner
    progress(0, total)
    slices = cut(request.z_mm, scanner.thickness_mm, grid, request.profile)

    def built(share: float) -> None:
        progress(round(share * request.slices), total)

    chest = build(slices.canvas, request.patient, request.detail, built)
    generator = torch.Generator().manual_seed(request.noise_seed)
    shape = (request.slices, request.matrix, request.matrix)
    hu, true_hu, emphysema = (np.empty(shape, kind) for kind in (np.int16, np.float32, np.float32))
    masks = {name: np.empty(shape, np.bool_) for name in ("lung", "airway", "vessel")}
    integrate = Integrate(grid, request.image)
    done, together = request.slices, 2 * max(1, _READINGS_AT_ONCE // scanner.bins // 2)
    batch: list[Tensor] = []
    for number, fine in enumerate(slices.of(chest)):
        batch.append(fine.hu)
        true_hu[number] = integrate(fine.hu + 1000).numpy() - 1000  # air, where nothing is drawn
        for name, mask in masks.items():
            mask[number] = integrate(getattr(fine, name)).numpy() >= 0.5
        emphysema[number] = integrate(fine.emphysema).numpy()
        done += 1
        progress(done, total)
        if len(batch) == together or number == request.slices - 1:
            exposure = expose(project(torch.stack(batch), grid, scanner, grid.pixel_mm), scanner)
            image = request.rendition.render(exposure, request.image, generator)
            hu[number + 1 - len(batch) : number + 1] = image.to(torch.int16).numpy()
            done += len(batch)
            batch.clear()
            progress(done, total)
    truth = Truth(true_hu, masks["lung"], emphysema, masks["airway"], masks["vessel"], chest.nodules)
    return Scan(hu, truth, request)


class Integrate:
    """Means over the image's pixels of a fine slice (row, column), exact for square pixels."""

    def __init__(self, fine: Grid, image: Grid) -> None:
        def edges(grid: Grid) -> Tensor:
            return (torch.arange(grid.size + 1, dtype=torch.float64) - grid.size // 2 - 0.5) * grid.pixel_mm

        inner = edges(fine)
        self._columns, self._rows = (
            self._along(inner, edges(image) + centre, fine, image) for centre in image.centre_mm
        )

    @staticmethod
    def _along(inner: Tensor, outer: Tensor, fine: Grid, image: Grid) -> tuple[Tensor, Tensor]:
        """(touched, image pixel): the fine pixels that each pixel touches, and their weights; what is outside weighs nothing."""
        widest = math.ceil(image.pixel_mm / fine.pixel_mm) + 1  # fine pixels that one pixel can touch
        first = torch.searchsorted(inner, outer[:-1], right=True) - 1
        touched = first + torch.arange(widest)[:, None]  # (fine pixel, image pixel)
        inside = touched.clamp(0, fine.size - 1)
        low = torch.maximum(outer[:-1], inner[:-1][inside])
        high = torch.minimum(outer[1:], inner[1:][inside])
        return inside, ((high - low).clamp(min=0) * (touched == inside) / image.pixel_mm).float()

    def __call__(self, fine: Tensor) -> Tensor:
        size = self._rows[0].shape[1]
        rows = torch.zeros(size, fine.shape[1])
        for touched, weight in zip(*self._rows, strict=True):
            rows += weight[:, None] * fine[touched]
        means = torch.zeros(size, size)
        for touched, weight in zip(*self._columns, strict=True):
            means += weight * rows[:, touched]
        return means
