"""Bodies whose MTF is known: the truth the measurement is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

MTF = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Body:
    """A thin-skinned elliptic cylinder or cone in air, with lungs, and, where asked for, table, arm, cloth and a scanner's floor."""

    slices: int = 5
    size: int = 352
    pixel_mm: float = 0.9
    slice_mm: float = 2.5
    half_axes_mm: tuple[float, float] = (135.0, 100.0)
    centre_mm: tuple[float, float] = (3.0, -4.0)
    rotation: float = 0.2
    noise_hu: float = 20.0
    skin_mm: float = 1.8
    fat_hu: float = -100.0
    widens: float = 0.05  # mm of half axis per mm along the patient
    table: bool = False
    arm: bool = False
    cloth_mm: float = 0.0
    floor_hu: float | None = None
    seed: int = 0

    def image(self, mtf: MTF) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
        """Volume (slice, row, column) in HU and its spacing.

        Closed form: a step blurred by a point spread of MTF M is `1/2 + integral M(f) sin(2 pi f d) / (pi f) df` at distance d; the
        curvature of a body adds under 0.01 mm to d. Noise has the power spectrum |f| M^2 of filtered backprojection.
        """
        random = np.random.default_rng(self.seed)
        across = (np.arange(self.size) - (self.size - 1) / 2) * self.pixel_mm
        row, column = np.meshgrid(across, across, indexing="ij")
        down, right = row - self.centre_mm[0], column - self.centre_mm[1]
        y = np.cos(self.rotation) * down - np.sin(self.rotation) * right
        x = np.sin(self.rotation) * down + np.cos(self.rotation) * right
        edge = _edge(mtf)
        skin = _edge(lambda f: mtf(f) * np.sinc(f * self.widens * self.slice_mm))  # a slice is as thick as its spacing
        f = np.fft.fftfreq(self.size, self.pixel_mm)
        radius = np.hypot(f[:, None], f[None, :])
        volume = np.empty((self.slices, self.size, self.size), np.float32)
        still = np.zeros_like(row)  # what is the same on every slice
        for side in (-1, 1):
            still -= 850 * edge(_depth(y, x - side * 60, 40, 60))
        if self.table:
            still += 400 * edge(6 - np.abs(row - (self.centre_mm[0] + self.half_axes_mm[1] + 15)))
        if self.arm:
            still += 1050 * edge(_depth(row, column - (self.half_axes_mm[0] + 40), 25, 25))
        for index in range(self.slices):
            grown = self.widens * (index - self.slices / 2) * self.slice_mm
            depth = _depth(y, x, self.half_axes_mm[0] + grown, self.half_axes_mm[1] + grown)
            image = -1000 + 1075 * skin(depth) - (75 - self.fat_hu) * skin(depth - self.skin_mm)
            image += (50 - self.fat_hu) * edge(depth - 15)
            if self.cloth_mm:
                image += 1075 * (edge(depth + 1.4 + self.cloth_mm / 2) - edge(depth + 1.4 - self.cloth_mm / 2))
            image += still
            noise = np.fft.ifft2(np.fft.fft2(random.standard_normal(image.shape)) * np.sqrt(radius) * mtf(radius)).real
            image += noise / noise.std() * self.noise_hu
            volume[index] = np.round(image if self.floor_hu is None else np.maximum(image, self.floor_hu))
        return volume, (self.slice_mm, self.pixel_mm, self.pixel_mm)


def _edge(mtf: MTF) -> MTF:
    f = (np.arange(800) + 0.5) * 0.0025
    at = np.arange(-2500, 2501) * 0.01
    curve = 0.5 + (np.sin(2 * np.pi * at[:, None] * f) / (np.pi * f) * 0.0025) @ mtf(f)
    return lambda depth: np.interp(depth, at, curve)


def _depth(y: NDArray[np.float64], x: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """Distance to an ellipse of half axes a along x and b along y, positive inside; the nearest point by Newton's method."""
    y, x = np.abs(y), np.abs(x)
    angle = np.arctan2(a * y, b * x)
    for _ in range(3):
        away_x, away_y = x - a * np.cos(angle), y - b * np.sin(angle)
        slope_x, slope_y = -a * np.sin(angle), b * np.cos(angle)
        first = away_x * slope_x + away_y * slope_y
        second = -(slope_x**2 + slope_y**2) - away_x * a * np.cos(angle) - away_y * b * np.sin(angle)
        angle = np.clip(angle - np.where(second < 0, first / np.minimum(second, -1e-9), 0), 0, np.pi / 2)
    distance = np.hypot(x - a * np.cos(angle), y - b * np.sin(angle))
    return np.where((x / a) ** 2 + (y / b) ** 2 < 1, distance, -distance)


@pytest.fixture
def body() -> type[Body]:
    return Body
