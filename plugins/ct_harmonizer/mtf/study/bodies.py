"""Virtual bodies in closed form: quick to draw, and blurred by exactly the MTF that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from plugins.ct_harmonizer.mtf.study.kernels import MTF, Truth

_REACH_MM, _STEP_MM = 25.0, 0.01
_SKIN_HU, _MUSCLE_HU = 75.0, 50.0
# Noise of a soft kernel (f50 0.385 /mm) near the skin at 100 mAs and 1 mm, in HU; others follow from theory.
_NOISE_HU = 20.0
_NOISE_INTEGRAL = 0.0142  # of f^2 MTF^2 for that kernel, in mm^-3


@dataclass(frozen=True, slots=True)
class Body:
    """A thin-skinned body in air: an ellipse that widens, bends and twists a little along the patient."""

    slices: int = 20
    pixel_mm: float = 0.7
    slice_mm: float = 2.0  # thickness and spacing
    half_axes_mm: tuple[float, float] = (120.0, 90.0)
    centre_mm: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    dose_mas: float = 100.0
    skin_mm: float = 1.8
    skin_varies_mm: float = 0.2  # round the body
    fat_hu: float = -100.0
    widens: float = 0.03  # mm of depth per mm along the patient
    bends_per_mm: float = 0.0003  # change of that, per mm
    wave_mm: float = 1.0  # the outline's second harmonic, which turns along the patient
    table_mm: float | None = None  # gap between the body's lowest point and the table
    arm: bool = False
    cloth_mm: float = 0.0  # as if as dense as skin, over part of the body
    cloth_gap_mm: float = 1.5
    cloth_share: float = 0.5
    floor_hu: float | None = None
    seed: int = 0

    @property
    def size(self) -> int:
        """Pixels along a side."""
        reach = max(self.half_axes_mm) + max(map(abs, self.centre_mm)) + 25
        return int(fft.next_fast_len(int(reach / self.pixel_mm), real=True)) * 2

    def noise_hu(self, mtf: MTF) -> float:
        """Standard deviation of the noise of filtered back-projection with this MTF."""
        f = np.linspace(0.0, 2.0, 2001, dtype=np.float64)
        integral = float(np.trapezoid(f**2 * mtf(f) ** 2, f))
        return _NOISE_HU * float(np.sqrt(integral / _NOISE_INTEGRAL * 100 / self.dose_mas / self.slice_mm))

    def image(self, truth: Truth) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
        """Volume (slice, row, column) in HU, as stored: whole numbers, and its spacing.

        A step blurred by a point spread of MTF M is `1/2 + integral M(f) sin(2 pi f d) / (pi f) df` at depth d; the curvature
        of a body adds under 0.01 mm to d. Slices are means over their thickness.
        """
        random = np.random.default_rng(self.seed)
        across = (np.arange(self.size) - (self.size - 1) / 2) * self.pixel_mm
        row, column = np.meshgrid(across - self.centre_mm[0], across - self.centre_mm[1], indexing="ij")
        y = np.cos(self.rotation) * row - np.sin(self.rotation) * column
        x = np.sin(self.rotation) * row + np.cos(self.rotation) * column
        table = _edge_table(truth.mtf)
        depth = _ellipse_depth(y, x, *self.half_axes_mm)
        angle = np.arctan2(y, x)
        still = self._still(row, column, y, x, table)
        band = np.flatnonzero(np.abs(depth.ravel()) < 22 + abs(self.wave_mm))
        near, turn = depth.ravel()[band], angle.ravel()[band]
        skin_mm = self.skin_mm + self.skin_varies_mm * np.sin(3 * turn + 1)
        clothed = (
            (np.cos((turn - 0.8) / 2) ** 2 > 1 - self.cloth_share) if self.cloth_mm else np.zeros(turn.shape, bool)
        )
        volume = np.empty((self.slices, self.size, self.size), np.float32)
        texture = self._texture(truth.mtf)
        inside = np.where(depth > 0, np.float32(1000 + _MUSCLE_HU), np.float32(0))
        for index in range(self.slices):
            drawn = np.zeros(near.size)
            parts = 1 + 2 * round(min(1 + self.slice_mm / 2, 4))
            for part in range(parts):
                z = (index - self.slices / 2 + (part + 0.5) / parts) * self.slice_mm
                grown = self.widens * z + self.bends_per_mm * z * z / 2
                at = near + grown + self.wave_mm * np.cos(2 * turn + 0.02 * z)
                one = (1000 + _SKIN_HU) * _step(table, at) - (_SKIN_HU - self.fat_hu) * _step(table, at - skin_mm)
                one += (_MUSCLE_HU - self.fat_hu) * _step(table, at - 14)
                if self.cloth_mm:
                    before = at[clothed] + self.cloth_gap_mm
                    one[clothed] += (1000 + _SKIN_HU) * (
                        _step(table, before + self.cloth_mm / 2) - _step(table, before - self.cloth_mm / 2)
                    )
                drawn += one
            image = inside.copy()
            image.ravel()[band] = drawn / parts
            image += still - 1000
            white = random.standard_normal(image.shape, np.float32)
            noise = fft.irfft2(fft.rfft2(white) * texture, s=image.shape)
            image += noise / noise.std() * self.noise_hu(truth.mtf)
            volume[index] = np.round(image if self.floor_hu is None else np.maximum(image, self.floor_hu))
        return volume, (self.slice_mm, self.pixel_mm, self.pixel_mm)

    def _texture(self, mtf: MTF) -> NDArray[np.float32]:
        """Root of the noise power: |f| M^2 of filtered back-projection, folded at the image's Nyquist frequency."""
        f, half = fft.fftfreq(self.size, self.pixel_mm), fft.rfftfreq(self.size, self.pixel_mm)
        power = np.zeros((f.size, half.size))
        for fold_y in (-1, 0, 1):
            for fold_x in (-1, 0, 1):
                radius = np.hypot(f[:, None] + fold_y / self.pixel_mm, half[None, :] + fold_x / self.pixel_mm)
                power += radius * mtf(radius) ** 2
        return np.sqrt(power).astype(np.float32)

    def _still(
        self,
        row: NDArray[np.float64],
        column: NDArray[np.float64],
        y: NDArray[np.float64],
        x: NDArray[np.float64],
        table: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """What is the same on every slice: lungs, table, arm."""
        a, b = self.half_axes_mm
        drawn = np.zeros(row.shape)
        for side in (-1, 1):
            drawn -= 850 * (((x - side * 0.45 * a) / (0.33 * a)) ** 2 + (y / (0.6 * b)) ** 2 < 1)
        if self.table_mm is not None:
            lowest = float(np.hypot(a * np.sin(self.rotation), b * np.cos(self.rotation)))
            drawn += 300 * _step(table, 4 - np.abs(row - (lowest + self.table_mm + 4)))
        if self.arm:
            widest = float(np.hypot(a * np.cos(self.rotation), b * np.sin(self.rotation)))
            drawn += 1040 * _step(table, 18 - np.hypot(row - 10, column - (widest + 18 + 6)))
        return drawn.astype(np.float32)


def _edge_table(mtf: MTF) -> NDArray[np.float64]:
    """The blurred step from -_REACH_MM to _REACH_MM."""
    f = (np.arange(640, dtype=np.float64) + 0.5) * 0.003125
    at = np.arange(0, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    half = (np.sin(2 * np.pi * at[:, None] * f) / (np.pi * f) * 0.003125) @ mtf(f)
    return np.concatenate([0.5 - half[:0:-1], 0.5 + half])


def _step(table: NDArray[np.float64], depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table at any depths, linear between its nodes; flat past its ends."""
    place = np.clip((depth_mm + _REACH_MM) / _STEP_MM, 0, table.size - 1.001)
    whole = place.astype(np.int64)
    return table[whole] + (place - whole) * (table[whole + 1] - table[whole])


def _ellipse_depth(y: NDArray[np.float64], x: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """Distance to an ellipse of half axes a along x and b along y, positive inside; the nearest point by Newton's method."""
    y, x = np.abs(y), np.abs(x)
    angle = np.arctan2(a * y, b * x)
    for _ in range(3):
        cosine, sine = np.cos(angle), np.sin(angle)
        away_x, away_y = x - a * cosine, y - b * sine
        first = -away_x * a * sine + away_y * b * cosine
        second = -((a * sine) ** 2 + (b * cosine) ** 2) - away_x * a * cosine - away_y * b * sine
        angle = np.clip(angle - np.where(second < 0, first / np.minimum(second, -1e-9), 0), 0, np.pi / 2)
    distance = np.hypot(x - a * np.cos(angle), y - b * np.sin(angle))
    return np.where((x / a) ** 2 + (y / b) ** 2 < 1, distance, -distance)
