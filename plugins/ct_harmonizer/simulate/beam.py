"""The beam: tube spectrum, bowtie filter and detector, and the correction of water's beam hardening.

`spectra.csv` holds photons per mm2 and mAs at 1 m in bins of 5 keV, by SpekPy 2.5 (Poludniowski et al., Med Phys 48:3630, 2021): tungsten, 8 degrees,
3 mm Al and 0.9 mm Ti.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.ct_harmonizer.simulate.materials import attenuation_per_mm, table

KILOVOLTS = (80, 100, 120, 140)

_BOWTIE_RADIUS_MM = 150.0  # the filter makes up for what a cylinder of water of this radius lacks
_BOWTIE_SHARE = 0.6
_SCINTILLATOR_MM, _CRYSTAL_MM = 1.4, 1.6
_LOWEST_COUNTED_KEV = 20.0
# What is lost to septa, lead foils and the read-out; set by noise in a 20 cm water cylinder (`tests`).
_EFFICIENCY = 0.42
_LONGEST_MM, _DEGREE = 520.0, 6
_RINGING = 0.1  # beside metal that ends between two bins lines ring below nothing, and soft photons would multiply


@dataclass(frozen=True, slots=True)
class Beam:
    """A tube voltage and a detector: a scintillator that adds energies up, or a crystal that counts photons."""

    kilovolts: int = 120
    detector: Literal["integrating", "counting"] = "integrating"

    def __post_init__(self) -> None:
        if self.kilovolts not in KILOVOLTS:
            raise ValueError(f"no spectrum of {self.kilovolts} kVp; there are {', '.join(map(str, KILOVOLTS))}")

    def photons(self, position_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(bin, energy): photons per mm2 at the isocentre and mAs that are caught without a patient, at a distance from the centre."""
        energy = table("spectra")["energy_kev"]
        at_isocentre = table("spectra")[f"kv{self.kilovolts}_per_mm2_mas"] / 0.595**2
        chord = 2 * np.sqrt(np.maximum(_BOWTIE_RADIUS_MM**2 - position_mm**2, 0))
        water, ptfe = attenuation_per_mm("water"), attenuation_per_mm("ptfe")
        # PTFE as thick as stops, at 60 keV, what the missing water would.
        as_ptfe = np.interp(60.0, energy, water) / np.interp(60.0, energy, ptfe)
        filtered = np.exp(-np.outer(_BOWTIE_SHARE * as_ptfe * (2 * _BOWTIE_RADIUS_MM - chord), ptfe))
        if self.detector == "integrating":
            caught = 1 - np.exp(-attenuation_per_mm("gd2o2s") * _SCINTILLATOR_MM)
        else:
            caught = (1 - np.exp(-attenuation_per_mm("cdte") * _CRYSTAL_MM)) * (energy > _LOWEST_COUNTED_KEV)
        return np.asarray(_EFFICIENCY * at_isocentre * caught * filtered)

    @property
    def worth(self) -> NDArray[np.float64]:
        """(energy,): what one photon adds to the signal; its square counts in the variance."""
        energy = table("spectra")["energy_kev"]
        return energy if self.detector == "integrating" else np.ones_like(energy)


@dataclass(frozen=True, slots=True)
class Response:
    """What a row of bins makes of a patient: made by `response`."""

    photons: Tensor  # (bin, energy), without a patient, per mm2 and mAs
    worth: Tensor  # (energy,)
    water_per_mm: Tensor  # (energy,)
    bone_per_mm: Tensor  # (energy,)
    hardening: Tensor  # (bin, power): water in mm for each unit of attenuation, as a polynomial of attenuation

    def signal(self, water_mm: Tensor, bone_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Transmission (..., bin), 1 without a patient, and quanta per mm2 and mAs whose Poisson noise it has."""
        signal, variance = torch.zeros_like(water_mm), torch.zeros_like(water_mm)
        by_energy = (self.photons * self.worth).T  # (energy, bin)
        # One energy after the other: all at once would be many times the memory, and three times as slow.
        for weight, worth, water, bone in zip(by_energy, self.worth, self.water_per_mm, self.bone_per_mm, strict=True):
            left = torch.addcmul(water_mm * -water, bone_mm, bone, value=-1)
            left.clamp_(max=_RINGING).exp_().mul_(weight)
            signal += left
            variance.addcmul_(left, worth)
        return signal / by_energy.sum(dim=0), signal**2 / variance.clamp(min=1e-30)

    def linearise(self, attenuation: Tensor) -> Tensor:
        """Water in mm that attenuates as much, by the spectrum of each bin: (..., bin) from -log transmission."""
        length = self.hardening[:, -1].expand_as(attenuation).clone()
        for power in range(self.hardening.shape[1] - 2, -1, -1):
            length.mul_(attenuation).add_(self.hardening[:, power])
        return length.mul_(attenuation)


@cache
def response(beam: Beam, bins: int, pitch_mm: float, device: torch.device) -> Response:
    """The response of `bins` bins, bin j at (j - bins/2) x pitch from the centre."""
    position = (np.arange(bins, dtype=np.float64) - bins // 2) * pitch_mm
    photons = beam.photons(position)
    there = photons.any(axis=0)  # energies that the tube makes and the detector sees
    photons, worth = photons[:, there], beam.worth[there]
    water, bone = (attenuation_per_mm(material)[there] for material in ("water", "bone"))
    lengths = np.linspace(5.0, _LONGEST_MM, 60)
    signal = (photons * worth) @ np.exp(-np.outer(water, lengths))  # (bin, length)
    attenuation = -np.log(signal / (photons * worth).sum(axis=1, keepdims=True))
    powers = attenuation[:, :, None] ** np.arange(_DEGREE + 1)
    # Errors count as they show in the image: relative ones, in mm of water.
    inverse = np.linalg.pinv(powers * attenuation[:, :, None] / lengths[:, None])
    hardening = inverse @ np.ones(lengths.size)

    def on_device(of: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.asarray(of)).to(device, torch.float32)

    return Response(*map(on_device, (photons, worth, water, bone, hardening)))
