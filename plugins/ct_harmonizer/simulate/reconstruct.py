"""Filtered back-projection with a kernel of known MTF."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from plugins.ct_harmonizer.simulate.kernels import AnyKernel
from plugins.ct_harmonizer.simulate.polar import Grid, synthesise
from plugins.ct_harmonizer.simulate.scanner import Scanner

LOWEST_HU = -1024.0  # a scanner stores no less


def reconstruct(water_mm: Tensor, scanner: Scanner, kernel: AnyKernel, grid: Grid) -> Tensor:
    """Slices (slice, row, column) in HU, not clipped, whose MTF at the isocentre is the kernel's.

    Args:
        water_mm: (slice, view, bin), mm of water, as `scanner.count` gives them.
        scanner: the scanner that measured them.
        kernel: the MTF asked for; what the scanner has blurred at the isocentre is divided out.
        grid: the geometry of the image.
    """
    slices, device = len(water_mm), water_mm.device
    # A profile is needed as far as the image's corners, and its filtered tails are long: pad, filter, cut, transform again.
    kept = next_fast_len(math.ceil(1.04 * grid.reach_mm / scanner.pitch_mm)) * 2
    padded = next_fast_len(scanner.bins + kept, real=False)
    response = _ramp(padded, scanner.pitch_mm) * _apodisation(padded, scanner, kernel)
    response_on_device = torch.from_numpy(response).float().to(device)

    frequency = torch.fft.fftfreq(kept, scanner.pitch_mm, dtype=torch.float64, device=device)
    used = frequency.abs() <= kernel.limit_per_mm
    lines = torch.empty(scanner.views, int(used.sum()), (slices + 1) // 2, dtype=torch.complex64, device=device)
    for first in range(0, scanner.views, 50):
        profile = pack(water_mm[:, first : first + 50])
        filtered = torch.fft.ifft(torch.fft.fft(profile, padded) * response_on_device)
        start = scanner.bins // 2 - kept // 2
        cut = torch.roll(filtered, -start, dims=-1)[..., :kept]
        spectrum = torch.fft.fft(torch.fft.ifftshift(cut, dim=-1))[..., used] / kept
        lines[first : first + 50] = spectrum.permute(1, 2, 0)
    density = synthesise(lines, grid, scanner.angles_rad(device), frequency[used]) * (math.pi / scanner.views)
    return (unpack(density, slices) - 1) * 1000


def clip(volume_hu: Tensor) -> Tensor:
    """As a scanner stores it: whole HU in 12 bits, nothing below -1024. It lifts the mean of a noisy lung by some HU."""
    return volume_hu.round().clamp(LOWEST_HU, LOWEST_HU + 4095)


def _ramp(length: int, pitch_mm: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Transform of the band-limited ramp's samples (Kak & Slaney 1988, eq. 3.61), times the pitch.

    |f| sampled in frequency has the wrong value at zero: it puts a lung 20 HU too low.
    """
    position = np.fft.ifftshift(np.arange(length) - length // 2)  # whole, as length x fftfreq is not for every length
    odd = position % 2 == 1
    ramp = np.zeros(length)
    ramp[0] = 1 / (4 * pitch_mm**2)
    ramp[odd] = -1 / (np.pi * position[odd] * pitch_mm) ** 2
    return np.asarray(np.fft.fft(ramp).real * pitch_mm)


def _apodisation(length: int, scanner: Scanner, kernel: AnyKernel) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    frequency = np.fft.fftfreq(length, scanner.pitch_mm).astype(np.float64)
    return np.asarray(kernel.mtf(frequency) / np.maximum(scanner.mtf(frequency), 0.05))


def pack(slices: Tensor) -> Tensor:
    """Pairs of real slices as complex ones, the last alone where their number is odd: (ceil(n/2), ...)."""
    if len(slices) % 2:
        slices = torch.cat([slices, torch.zeros_like(slices[:1])])
    return torch.complex(slices[0::2].contiguous(), slices[1::2].contiguous())


def unpack(pairs: Tensor, slices: int) -> Tensor:
    """The real slices (n, ...) of `pack`."""
    return torch.stack([pairs.real, pairs.imag], dim=1).flatten(0, 1)[:slices]
