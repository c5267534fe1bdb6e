"""Crops of virtual scans, with the paper's augmentations.

Shared by image and truth: flips, quarter turns and translation. The paper's small rotations and scalings resample the image, which blurs it against its MTF:
here patients of other sizes, fields of view and centres come from the simulator instead. On the input alone: noise and jitter; on the MTF: what a measurement would err by.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.ct_harmonizer.network.normalisation import from_hu, mtf_2d
from plugins.ct_harmonizer.simulate.dataset import FREQUENCY_PER_MM, Shots
from plugins.ct_harmonizer.train.recipe import Recipe

_KEPT = 120  # patients in memory
_TRIES = 4  # to find a crop with lung in it
_LUNG_LEAST = 0.1


@dataclass(frozen=True, slots=True)
class Batch:
    """(B, 1, H, W) each but for the MTF, (B, 1, 64, 64)."""

    image: Tensor  # normalised
    truth: Tensor  # normalised
    lung: Tensor  # 0 or 1
    mtf: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(of.to(device, non_blocking=True) for of in (self.image, self.truth, self.lung, self.mtf)))


class Examples:
    """Batches by step: the same step gives the same batch from the same files."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self._recipe, self._seed = recipe, seed
        self._kept: OrderedDict[Path, Shots] = OrderedDict()

    def batch(self, step: int, files: list[Path]) -> Batch:
        rng = np.random.default_rng([self._seed, step])
        drawn = [self._one(rng, self._shots(files[int(rng.integers(len(files)))])) for _ in range(self._recipe.batch)]
        return Batch(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))

    def _shots(self, path: Path) -> Shots:
        shots = self._kept.pop(path, None) or Shots.load(path)
        self._kept[path] = shots
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return shots

    def _one(self, rng: np.random.Generator, shots: Shots) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        recipe = self._recipe
        which = int(rng.integers(len(shots.hu)))
        for _ in range(_TRIES):
            number, rows, columns = _place(rng, shots, recipe.crop)
            lung = shots.lung[number, rows, columns]
            if lung.mean() > _LUNG_LEAST:
                break
        hu = shots.hu[which, number, rows, columns].astype(np.float32)
        hu += rng.standard_normal(hu.shape, np.float32) * np.float32(
            rng.uniform(0, recipe.noise_hu) * (rng.random() < 0.3)
        )
        gain = 1 + rng.uniform(-1, 1) * recipe.jitter_gain
        hu = np.maximum((hu + 1000) * gain - 1000 + rng.uniform(-1, 1) * recipe.jitter_hu, -1024)
        quarter, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        turned = [
            _turned(of.astype(np.float32), quarter, mirrored=mirrored)
            for of in (hu, shots.true_hu[number, rows, columns], lung)
        ]
        image, truth, mask = (torch.from_numpy(of)[None] for of in turned)
        mtf = torch.from_numpy(_measured(rng, shots.mtf[which], recipe))[None]
        laid = mtf_2d(torch.from_numpy(FREQUENCY_PER_MM), mtf, (shots.pixel_mm, shots.pixel_mm))[0]
        return from_hu(image), from_hu(truth), mask, laid


def _place(rng: np.random.Generator, shots: Shots, crop: int) -> tuple[int, slice, slice]:
    size = shots.hu.shape[-1]
    row, column = (int(of) for of in rng.integers(0, size - min(crop, size) + 1, 2))
    return int(rng.integers(shots.hu.shape[1])), slice(row, row + crop), slice(column, column + crop)


def _turned(image: NDArray[np.float32], quarter: int, *, mirrored: bool) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, quarter))


def _measured(rng: np.random.Generator, mtf: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """The curve as a measurement might give it: stretched a little, and wavy."""
    stretched = np.interp(FREQUENCY_PER_MM / (1 + rng.normal(0, recipe.mtf_stretch)), FREQUENCY_PER_MM, mtf)
    waves = sum(rng.normal(0, recipe.mtf_noise) * np.sin(np.pi * k * FREQUENCY_PER_MM / 0.8) for k in range(1, 4))
    return np.maximum(stretched + waves * np.minimum(stretched, 1), 0).astype(np.float32)
