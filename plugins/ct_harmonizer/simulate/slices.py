"""What of the patient a slice averages along the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from plugins.ct_harmonizer.simulate.phantom.chest import Chest, FineSlice
from plugins.ct_harmonizer.simulate.phantom.draw import Canvas
from plugins.ct_harmonizer.simulate.polar import Grid

Profile = Literal["axial", "helical"]
_SAME_MM = 1e-4  # heights nearer than this are one
# A box as wide as the slice; a triangle of that half width, as interpolation between two turns of a helix leaves it, in four steps
# weighed to have its variance.
_STEPS: dict[Profile, tuple[tuple[float, ...], tuple[float, ...], float]] = {
    "axial": ((0.0,), (1.0,), 1.0),
    "helical": ((-0.75, -0.25, 0.25, 0.75), (1 / 12, 5 / 12, 5 / 12, 1 / 12), 0.5),
}  # offsets and width over the thickness, weights


@dataclass(frozen=True, slots=True)
class Slices:
    """Which heights are drawn, and how they make up each slice."""

    canvas: Canvas  # of the heights drawn
    index: NDArray[np.intp]  # (slice, step)
    weights: tuple[float, ...]  # (step,)

    def of(self, chest: Chest) -> Iterator[FineSlice]:
        """Each slice of a chest that was built on the canvas: HU and shares averaged over the profile."""
        for steps in self.index:
            drawn = [chest.at(int(step)) for step in steps]
            if len(drawn) == 1:
                yield drawn[0]
                continue
            yield FineSlice(
                *(
                    torch.stack(
                        [weight * getattr(one, field.name) for weight, one in zip(self.weights, drawn, strict=True)]
                    ).sum(dim=0)
                    for field in fields(FineSlice)
                )
            )


def cut(z_mm: NDArray[np.float64], thickness_mm: float, grid: Grid, profile: Profile) -> Slices:
    """Slices of a thickness (full width at half maximum) at these heights, the highest first."""
    offsets, weights, width = _STEPS[profile]
    wanted = z_mm[:, None] + thickness_mm * np.array(offsets)
    steps = np.round(wanted / _SAME_MM).astype(np.int64)
    heights, index = np.unique(-steps, return_inverse=True)
    canvas = Canvas(np.asarray(-heights * _SAME_MM, np.float64), grid.size, grid.pixel_mm, thickness_mm * width)
    return Slices(canvas, index.reshape(wanted.shape), weights)
