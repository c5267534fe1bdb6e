"""The virtual scanner: line integrals of water and bone, what the detector makes of them, dose and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from torch import Tensor

from plugins.ct_harmonizer.simulate.beam import Beam, Response, response
from plugins.ct_harmonizer.simulate.materials import decompose
from plugins.ct_harmonizer.simulate.polar import Grid, analyse

_SOURCE_MM = 595.0  # from the isocentre
_MAGNIFIED = 0.45  # of the focal spot, seen at the isocentre
_SCATTER_MM, _SCATTER, _SCATTER_LEFT = 60.0, 0.006, 0.03
# Between readings: a flying focal spot, a comb or smaller crystals make them finer.
_PITCHES_MM = (0.45, 0.3, 0.225, 0.15)
_READINGS_AT_ONCE = 1 << 18  # they fit a processor's cache
_ON_AN_ACCELERATOR = 1 << 26  # they keep one busy
_CELLS_AT_ONCE = 36_000_000  # of the patient's transform: 0.3 GB
_WIDTHS = 6  # of the off-centre blur, between which it is interpolated
_DEFAULT_BEAM = Beam()


@dataclass(frozen=True, slots=True)
class Scanner:
    """A parallel-beam scanner, half a turn of views; lengths are those at the isocentre."""

    beam: Beam = _DEFAULT_BEAM
    views: int = 640
    bins: int = 1152
    pitch_mm: float = _PITCHES_MM[0]  # between bins
    aperture_mm: float = 0.3  # of a bin
    focal_spot_mm: tuple[float, float] = (0.5, 8.0)  # across, and along the anode, which the sides of the fan see
    tube_current_time_mas: float = 100.0
    thickness_mm: float = 1.0
    modulation: float = 0.3  # tube current follows the patient's transmission to minus this power, round the patient
    electronic_noise_quanta: float = 4.0  # standard deviation of the read-out

    def resolving(self, frequency_per_mm: float) -> Scanner:
        """The same with as many bins over the same width as see this frequency; the coarsest that do, or the finest that there are."""
        enough = [pitch for pitch in _PITCHES_MM if 1 / (2 * pitch) >= frequency_per_mm]
        pitch_mm = max(enough, default=min(_PITCHES_MM))
        return replace(self, pitch_mm=pitch_mm, bins=round(self.bins * self.pitch_mm / pitch_mm))

    @property
    def area_mm2(self) -> float:
        """What one bin sees of the beam at the isocentre."""
        return self.pitch_mm * self.thickness_mm

    def angles_rad(self, device: torch.device | None = None) -> Tensor:
        """(view,): direction of the detector axis, from x towards y."""
        return torch.arange(self.views, dtype=torch.float64, device=device) * (math.pi / self.views)

    def mtf(self, frequency_per_mm: NDArray[np.float64], radius_mm: float = 0.0) -> NDArray[np.float64]:
        """Blur before any kernel at a distance from the isocentre, across the radius: aperture, focal spot, and the anode seen from the side."""
        spot = np.sinc(frequency_per_mm * self.focal_spot_mm[0] * _MAGNIFIED)
        return np.asarray(
            np.sinc(frequency_per_mm * self.aperture_mm) * spot * self.off_centre(frequency_per_mm, radius_mm)
        )

    def off_centre(self, frequency_per_mm: NDArray[np.float64], radius_mm: float) -> NDArray[np.float64]:
        """The part of `mtf` that grows with the radius."""
        return np.asarray(np.sinc(frequency_per_mm * self.off_centre_mm(radius_mm)))

    def off_centre_mm(self, radius_mm: float) -> float:
        """Width of the box as which the length of the focal spot shows at this distance from the central ray."""
        return abs(radius_mm) / _SOURCE_MM * self.focal_spot_mm[1] * _MAGNIFIED

    def response(self, device: torch.device) -> Response:
        return response(self.beam, self.bins, self.pitch_mm, device)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What reaches the detector, without noise: (slice, view, bin) each."""

    transmission: Tensor  # 1 without a patient
    scatter: Tensor  # in the same unit
    quanta: Tensor  # per mm2 and mAs


def project(volume_hu: Tensor, grid: Grid, scanner: Scanner, voxel_mm: float) -> Tensor:
    """Line integrals of water and of cortical bone.

    Args:
        volume_hu: (slice, row, column), HU; -1000 outside the object, which must lie inside the detector's reach.
        grid: the geometry of one slice; it holds nothing of frequencies over its own Nyquist's.
        scanner: the scanner; `expose` makes of its lines those of the same scanner with coarser or finer bins.
        voxel_mm: width of the ramp as which the object's edges were drawn, which is divided out; 0 where they were exact.

    Returns:
        (slice, view, bin), complex: mm of water, and mm of bone as the imaginary part; bin j lies at (j - bins/2) x pitch from the centre.
    """
    device = volume_hu.device
    frequency = torch.fft.fftfreq(scanner.bins, scanner.pitch_mm, dtype=torch.float64, device=device)
    there = frequency.abs() < 1 / (2 * grid.pixel_mm)
    drawn = torch.sinc(frequency[there] * voxel_mm).clamp(min=0.3).float()
    paths = torch.empty(len(volume_hu), scanner.views, scanner.bins, dtype=torch.complex64, device=device)
    together = max(1, _CELLS_AT_ONCE // grid.padded**2)
    for first in range(0, len(volume_hu), together):
        water, bone = decompose(volume_hu[first : first + together])
        lines = torch.zeros(scanner.views, scanner.bins, len(water), dtype=torch.complex64, device=device)
        seen = analyse(torch.complex(water, bone), grid, scanner.angles_rad(device), frequency[there])
        lines[:, there] = seen / drawn[:, None]
        profile = torch.fft.fftshift(torch.fft.ifft(lines, dim=1), dim=1) / scanner.pitch_mm
        paths[first : first + together] = profile.permute(2, 0, 1)
    return paths


def expose(paths_mm: Tensor, scanner: Scanner) -> Exposure:
    """What reaches the detector through (slice, view, bin) mm of water and bone: polychromatic, blurred by detector, focal spot and the turning gantry, with scatter.

    The lines are of this scanner, or of the same with other bins over the same width.
    """
    device, slices = paths_mm.device, len(paths_mm)
    row = scanner.response(device)
    transmission, quanta = (torch.empty(slices, scanner.views, scanner.bins, device=device) for _ in range(2))
    most = _READINGS_AT_ONCE if device.type == "cpu" else _ON_AN_ACCELERATOR
    together = max(1, most // (slices * scanner.bins))
    for first in range(0, scanner.views, together):
        some = _rebin(paths_mm[:, first : first + together], scanner.bins)
        seen = row.signal(some.real, some.imag)
        for kept, values in zip((transmission, quanta), seen, strict=True):
            kept[:, first : first + together] = _blur(values, scanner)
    transmission, quanta = _turn(transmission).clamp_(min=1e-7), _turn(quanta)
    wide = _smooth(-transmission * torch.log(transmission.clamp(max=1.0)), scanner)
    return Exposure(transmission, _SCATTER * wide.clamp(min=0), quanta.clamp_(min=1e-3))


def count(exposure: Exposure, scanner: Scanner, generator: torch.Generator | None) -> Tensor:
    """Water-equivalent line integrals in mm, (slice, view, bin), as measured and corrected; without noise where there is no generator.

    Quanta are drawn by Poisson's law, the read-out adds its noise; scatter is corrected but for a small rest, beam hardening for water.
    """
    measured = exposure.transmission + exposure.scatter
    if generator is not None:
        current = exposure.transmission.mean(dim=-1, keepdim=True) ** -scanner.modulation
        current /= current.mean(dim=1, keepdim=True)
        dose = scanner.tube_current_time_mas / scanner.views * scanner.area_mm2
        expected = exposure.quanta * (measured / exposure.transmission) * (dose * current)
        quanta = torch.poisson(expected, generator=generator)
        quanta += torch.empty_like(quanta).normal_(0, scanner.electronic_noise_quanta, generator=generator)
        measured = measured * quanta.clamp_(min=1.0) / expected
    measured = measured - (1 - _SCATTER_LEFT) * exposure.scatter
    return scanner.response(measured.device).linearise(-torch.log(measured.clamp(min=1e-7)))


def _rebin(paths_mm: Tensor, bins: int) -> Tensor:
    """The same lines (..., bin), centred, at so many bins over the same width: frequencies that these cannot hold are left out, those that they add are empty."""
    there = paths_mm.shape[-1]
    if there == bins:
        return paths_mm
    spectrum = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(paths_mm, dim=-1)), dim=-1)
    margin = bins // 2 - there // 2
    at_zero = torch.fft.ifftshift(F.pad(spectrum, (margin, margin)), dim=-1)
    rebinned: Tensor = torch.fft.fftshift(torch.fft.ifft(at_zero), dim=-1) * (bins / there)
    return rebinned


def _turn(values: Tensor) -> Tensor:
    """The gantry turns while a view (slice, view, bin) is taken: a box over the angle from one view to the next."""
    views = values.shape[1]
    around = torch.cat(
        [values, values.flip(-1).roll(1, -1)], dim=1
    )  # the other half of the turn sees the same lines from behind
    spectrum = torch.fft.rfft(around, dim=1)
    spectrum *= torch.sinc(torch.arange(views + 1, device=values.device) / (2 * views))[:, None]
    turned: Tensor = torch.fft.irfft(spectrum, n=2 * views, dim=1)[:, :views]
    return turned


def _blur(values: Tensor, scanner: Scanner) -> Tensor:
    """Aperture and focal spot, along the bins; the latter's length shows the more the farther from the centre."""
    bins, pitch = values.shape[-1], scanner.pitch_mm
    frequency = np.fft.rfftfreq(bins, pitch).astype(np.float64)
    still = scanner.mtf(frequency)
    position = torch.arange(bins, device=values.device) - bins // 2
    widest = scanner.off_centre_mm(float(bins // 2 * pitch))
    # A box's transform is nearly linear in the square of its width.
    place = (position / (bins // 2)) ** 2 * (_WIDTHS - 1)
    spectrum = torch.fft.rfft(values)
    blurred = torch.zeros_like(values)
    for number in range(_WIDTHS):
        weight = (1 - (place - number).abs()).clamp(min=0)
        box = np.sinc(frequency * widest * math.sqrt(number / (_WIDTHS - 1)))
        filtered = spectrum * torch.as_tensor(still * box, dtype=torch.float32, device=values.device)
        blurred += weight * torch.fft.irfft(filtered, n=bins)
    return blurred


def _smooth(values: Tensor, scanner: Scanner) -> Tensor:
    """A Gaussian as wide as scatter spreads, along the bins."""
    frequency = np.fft.rfftfreq(values.shape[-1], scanner.pitch_mm)
    gauss = np.exp(-2 * (np.pi * frequency * _SCATTER_MM) ** 2)
    spread = torch.fft.rfft(values) * torch.as_tensor(gauss, dtype=torch.float32, device=values.device)
    smooth: Tensor = torch.fft.irfft(spread, n=values.shape[-1])
    return smooth
