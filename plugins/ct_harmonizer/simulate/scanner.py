"""The virtual scanner: parallel-beam line integrals through a sampled object, detector aperture, dose and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.ct_harmonizer.simulate.polar import Grid, analyse

WATER_PER_MM = 0.0193  # attenuation of water near 70 keV, the mean energy of a 120 kVp beam (NIST XCOM)


@dataclass(frozen=True, slots=True)
class Scanner:
    """A single-energy parallel-beam scanner; half a turn of views."""

    views: int = 900
    bins: int = 1152
    pitch_mm: float = 0.45  # between detector bins, which are as wide, at the isocentre
    tube_current_time_mas: float = 100.0
    thickness_mm: float = 1.0
    # Set so that FBP of a 20 cm water cylinder at 20 mAs and 1 mm has the noise of a 120 kVp beam (`tests`).
    photons_per_mas_mm2: float = 1.8e6
    electronic_noise_photons: float = 5.0  # standard deviation of the read-out, in photons

    @property
    def photons(self) -> float:
        """Photons that reach one bin in one view through air."""
        area_mm2 = self.pitch_mm * self.thickness_mm
        return self.photons_per_mas_mm2 * self.tube_current_time_mas * area_mm2 / self.views

    def angles_rad(self, device: torch.device | None = None) -> Tensor:
        """(view,): direction of the detector axis, from x towards y."""
        return torch.arange(self.views, dtype=torch.float64, device=device) * (math.pi / self.views)

    def mtf(self, frequency_per_mm: NDArray[np.float64], voxel_mm: float) -> NDArray[np.float64]:
        """Blur before any kernel: the detector's aperture, and the object's edges, drawn as ramps one voxel wide."""
        return np.asarray(np.sinc(frequency_per_mm * self.pitch_mm) * np.sinc(frequency_per_mm * voxel_mm))


def project(volume_hu: Tensor, grid: Grid, scanner: Scanner) -> Tensor:
    """Line integrals of attenuation, without noise.

    Args:
        volume_hu: (slice, row, column), HU; -1000 outside the object, which must lie inside the detector's reach.
        grid: the geometry of one slice.
        scanner: the scanner.

    Returns:
        (slice, view, bin), dimensionless; bin j lies at (j - bins/2) x pitch from the centre of rotation.
    """
    slices = len(volume_hu)
    attenuation = (volume_hu + 1000) * (WATER_PER_MM / 1000)
    frequency = torch.fft.fftfreq(scanner.bins, scanner.pitch_mm, dtype=torch.float64, device=volume_hu.device)
    lines = analyse(pack(attenuation), grid, scanner.angles_rad(volume_hu.device), frequency)
    aperture = torch.sinc(frequency * scanner.pitch_mm).float()
    profile = torch.fft.ifft(lines * aperture[:, None], dim=1) / scanner.pitch_mm
    return unpack(torch.fft.fftshift(profile, dim=1).permute(2, 0, 1), slices)


def expose(line_integrals: Tensor, scanner: Scanner, generator: torch.Generator) -> Tensor:
    """The same line integrals as measured: Poisson counts plus electronic noise, logarithm, starved bins at one photon."""
    expected = scanner.photons * torch.exp(-line_integrals)
    counts = torch.poisson(expected, generator=generator)
    read_out = torch.empty_like(counts).normal_(0, scanner.electronic_noise_photons, generator=generator)
    return math.log(scanner.photons) - torch.log((counts + read_out).clamp(min=1.0))


def pack(slices: Tensor) -> Tensor:
    """Pairs of real slices as complex ones, the last alone where their number is odd: (ceil(n/2), ...)."""
    if len(slices) % 2:
        slices = torch.cat([slices, torch.zeros_like(slices[:1])])
    return torch.complex(slices[0::2].contiguous(), slices[1::2].contiguous())


def unpack(pairs: Tensor, slices: int) -> Tensor:
    """The real slices (n, ...) of `pack`."""
    return torch.stack([pairs.real, pairs.imag], dim=1).flatten(0, 1)[:slices]
