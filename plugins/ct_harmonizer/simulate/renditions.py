"""Renditions: a scanner's settings and a reconstruction, as a clinic would choose them.

Curves are figures of f50, f10 and overshoot in cycles/mm that were published for such scanners: Siemens Force and Alpha by Grunz et al. and data sheets, B kernels by
Friedman et al. (Med Phys 2013), GE and Philips by data sheets. Which table of which paper each number is from has not been kept, so they are typical values to simulate
by and no reference to cite; what is marked between has been interpolated between neighbours. They say where clinics are, not what a vendor computes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor

from plugins.ct_harmonizer.simulate.beam import Beam
from plugins.ct_harmonizer.simulate.iterative import regularise
from plugins.ct_harmonizer.simulate.kernels import AnyKernel, Windowed, peaked
from plugins.ct_harmonizer.simulate.polar import Grid
from plugins.ct_harmonizer.simulate.reconstruct import clip, reconstruct
from plugins.ct_harmonizer.simulate.scanner import Exposure, Scanner, count

FORCE = Scanner()
ALPHA = Scanner(beam=Beam(120, "counting"), aperture_mm=0.15, electronic_noise_quanta=0.0)
SENSATION = Scanner(aperture_mm=0.6, focal_spot_mm=(0.7, 8.0))
GE = Scanner(aperture_mm=0.5, focal_spot_mm=(0.7, 10.0))
PHILIPS = Scanner(aperture_mm=0.5, focal_spot_mm=(0.6, 9.0))

# No random kernel has its f50, in cycles/mm, in here: Br49, Qr49 and B50 are never trained on.
HELD_OUT_F50 = (0.53, 0.58)

# Of the detail at a random kernel's f10 the scanner itself leaves as much: no vendor lifts what it hardly sees.
_LEFT_AT_F10 = 0.3
WIDEST_MM = 504.0  # the fattest lie within
_FINEST_DRAWN_MM = 0.225

# name: f50, f10, overshoot
_FORCE = {
    "Br32": (0.300, 0.475, 1.0),
    "Br40": (0.385, 0.626, 1.0),
    "Br49": (0.559, 0.759, 1.015),
    "Br59": (0.828, 1.044, 1.27),
    "Br62": (0.931, 1.177, 1.32),  # between
    "Br64": (1.007, 1.275, 1.36),  # between
    "Br69": (1.224, 1.558, 1.45),
    "Qr32": (0.298, 0.495, 1.0),  # between
    "Qr49": (0.548, 0.936, 1.0),
    "Qr59": (0.800, 1.343, 1.0),  # between
    "Qr61": (0.860, 1.430, 1.0),  # between
}
_ITERATIVE = ("Br32", "Br40", "Br49", "Br59", "Br69")
_STRENGTH = 3
_ALPHA = {
    "Br40": (0.385, 0.632, 1.0),
    "Br56": (0.735, 0.939, 1.2),
    "Br68": (1.167, 1.447, 1.4),
    "Br76": (1.570, 2.050, 1.4),
}
_SENSATION = {
    "B10": (0.240, 0.420, 1.0),  # between
    "B30": (0.350, 0.590, 1.0),
    "B40": (0.438, 0.710, 1.0),
    "B50": (0.560, 0.820, 1.1),  # between
    "B70": (0.750, 0.930, 1.415),
}
_GE = {
    "SOFT": (0.370, 0.660, 1.0),
    "STANDARD": (0.510, 0.800, 1.0),
    "LUNG": (0.660, 0.960, 1.2),  # between
    "BONE": (0.810, 1.150, 1.3),
}
_PHILIPS = {
    "B": (0.380, 0.680, 1.0),  # between
    "C": (0.440, 0.800, 1.0),  # between
    "D": (0.500, 0.910, 1.0),
    "YA": (0.690, 1.010, 1.25),  # between
}
UNSEEN = "Windowed"  # what the names of `unseen` begin with
_WINDOWED = (
    Windowed("Hann 0.8", "hann", 0.8),
    Windowed("Hann 1.4", "hann", 1.4),
    Windowed("cosine 1.0", "cosine", 1.0),
    Windowed("sinc 0.9", "sinc", 0.9),
    Windowed("raised Hann 1.4", "hann", 1.4, enhancement=1.0),
)


@dataclass(frozen=True, slots=True)
class Rendition:
    """How a series is taken and reconstructed."""

    name: str
    scanner: Scanner
    kernel: AnyKernel
    strength: int = 0  # of the iterative reconstruction, 0 for filtered back-projection

    @classmethod
    def of(cls, name: str, scanner: Scanner, kernel: AnyKernel, strength: int = 0) -> Rendition:
        """With the scanner's bins as fine as the kernel needs."""
        return cls(name, scanner.resolving(kernel.seen_per_mm), kernel, strength)

    def mtf(self, frequency_per_mm: NDArray[np.float64], radius_mm: float = 0.0) -> NDArray[np.float64]:
        """The MTF of its images at frequencies in cycles/mm for an edge across the radius, at a distance from the isocentre."""
        return self.kernel.mtf(frequency_per_mm) * self.scanner.off_centre(frequency_per_mm, radius_mm)

    def render(self, exposure: Exposure, grid: Grid, generator: Generator | None) -> Tensor:
        """Images (slice, row, column) as stored: whole HU from -1024 on. Without noise where there is no generator."""
        image = reconstruct(count(exposure, self.scanner, generator), self.scanner, self.kernel, grid)
        return clip(regularise(image, grid.pixel_mm, self.strength))

    def at(self, *, mas: float | None = None, thickness_mm: float | None = None) -> Rendition:
        """The same at another dose or slice thickness."""
        scanner = replace(
            self.scanner,
            tube_current_time_mas=mas or self.scanner.tube_current_time_mas,
            thickness_mm=thickness_mm or self.scanner.thickness_mm,
        )
        return replace(self, scanner=scanner)


@cache
def paper() -> tuple[Rendition, ...]:
    """The 16 reconstructions of Zarei et al. 2024 at 100 and at 20 mAs: 32 renditions."""
    made = []
    for mas in (100.0, 20.0):
        scanner = replace(FORCE, tube_current_time_mas=mas)
        for name, curve in _FORCE.items():
            made.append(Rendition.of(f"Force {name} {mas:.0f} mAs", scanner, peaked(name, *curve)))
        for name in _ITERATIVE:
            kernel = peaked(name, *_FORCE[name])
            made.append(Rendition.of(f"Force {name} strength {_STRENGTH} {mas:.0f} mAs", scanner, kernel, _STRENGTH))
    return tuple(made)


@cache
def others() -> tuple[Rendition, ...]:
    """Other scanners at a usual dose."""
    families = {
        "Alpha": (replace(ALPHA, tube_current_time_mas=60.0), _ALPHA),
        "Sensation": (SENSATION, _SENSATION),
        "GE-like": (replace(GE, tube_current_time_mas=80.0), _GE),
        "Philips-like": (replace(PHILIPS, tube_current_time_mas=80.0), _PHILIPS),
    }
    return tuple(
        Rendition.of(f"{family} {name}", scanner, peaked(name, *curve))
        for family, (scanner, curves) in families.items()
        for name, curve in curves.items()
    )


@cache
def unseen() -> tuple[Rendition, ...]:
    """Kernels of shapes that `random` never draws, at 100 and at 20 mAs: to see how a network does on what nobody trained it on."""
    return tuple(
        Rendition.of(f"{UNSEEN} {kernel.name} {mas:.0f} mAs", replace(FORCE, tube_current_time_mas=mas), kernel)
        for mas in (100.0, 20.0)
        for kernel in _WINDOWED
    )


def all_named() -> tuple[Rendition, ...]:
    """All of `paper`, `others` and `unseen`."""
    return (*paper(), *others(), *unseen())


def by_name(name: str) -> Rendition:
    """One of `all_named`.

    Raises:
        ValueError: none is called that.
    """
    known = {rendition.name: rendition for rendition in all_named()}
    if name not in known:
        raise ValueError(f"no rendition {name!r}; there are {', '.join(known)}")
    return known[name]


def random(rng: np.random.Generator) -> Rendition:
    """Any scanner, dose, kernel and strength: the named ones lie inside what is drawn, but for those in `HELD_OUT_F50`."""
    f50 = HELD_OUT_F50[0]
    while HELD_OUT_F50[0] <= f50 <= HELD_OUT_F50[1]:
        f50 = float(np.exp(rng.uniform(np.log(0.24), np.log(1.25))))
    lift = float(np.clip((f50 - 0.5) * rng.uniform(0.0, 1.2), 0, 0.45))
    f10 = f50 * float(rng.uniform(1.33, 1.75) if lift < 0.05 else rng.uniform(1.22, 1.4))
    peak = 1.0 if lift < 0.05 else 1 + lift
    scanner = FORCE
    while scanner is FORCE or scanner.mtf(np.array(f10)) < _LEFT_AT_F10:
        scanner = replace(
            FORCE,
            beam=Beam(int(rng.choice([100, 120, 120, 120, 140])), "counting" if rng.random() < 0.15 else "integrating"),
            aperture_mm=float(rng.uniform(0.15, 0.6)),
            focal_spot_mm=(float(rng.uniform(0.4, 0.9)), float(rng.uniform(6.0, 11.0))),
            tube_current_time_mas=float(np.exp(rng.uniform(np.log(12), np.log(200)))),
        )
    strength = int(rng.choice([0, 0, 1, 2, 3, 4, 5]))
    return Rendition.of("random", scanner, peaked("random", f50, f10, peak), strength)


def sharpest(chosen: Iterable[Rendition]) -> Scanner:
    """The scanner of those with the finest bins: what it projects serves them all."""
    return min((rendition.scanner for rendition in chosen), key=lambda scanner: scanner.pitch_mm)


def drawn_on(scanner: Scanner, wide_mm: float = WIDEST_MM) -> Grid:
    """What a patient is drawn on for a scanner: pixels like its bins, but for the finest: there is nothing so small in the patient."""
    pixel_mm = max(scanner.pitch_mm, _FINEST_DRAWN_MM)
    return Grid(round(wide_mm / pixel_mm), pixel_mm)
