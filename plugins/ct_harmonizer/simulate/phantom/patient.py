"""Who is scanned: what makes one virtual patient another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["centrilobular", "panlobular", "paraseptal"]
Density = Literal["solid", "part-solid", "ground-glass"]
Margin = Literal["smooth", "lobulated", "spiculated"]
Place = Literal["free", "juxtapleural", "juxtavascular"]

_ARMS_REACH_MM = 247.0  # from the isocentre: farther out the scanner sees nothing
_HALF_WIDTH_MM, _ARM_MM = 175.0, 74.0  # of the standard man's trunk, and how much an arm adds


@dataclass(frozen=True, slots=True)
class Emphysema:
    """Lost lung tissue: holes whose sizes follow a power law (Mishima et al., PNAS 96:8829, 1999), in clusters."""

    laa_percent: float  # share of the lung, at the heights that are drawn, that ends below -950 HU
    kind: Kind = "centrilobular"

    @property
    def radii_mm(self) -> tuple[float, float]:
        """The smallest and the largest hole: of lobules' centres, of whole lobules, of bullae along the pleura."""
        return {"centrilobular": (1.4, 8.0), "panlobular": (2.5, 14.0), "paraseptal": (2.0, 12.0)}[self.kind]

    @property
    def apical(self) -> float:
        """How much more the top of the lungs is hit than their base: centrilobular at the top, panlobular at the base."""
        return {"centrilobular": 1.2, "panlobular": -1.0, "paraseptal": 1.6}[self.kind]


@dataclass(frozen=True, slots=True)
class Lesion:
    """A nodule to be drawn."""

    diameter_mm: float  # of the ball of the same mean radius, without spicules
    density: Density = "solid"
    margin: Margin = "lobulated"
    place: Place = "free"


@dataclass(frozen=True, slots=True)
class Contrast:
    """How much contrast medium adds to blood, in HU."""

    veins: float  # superior vena cava
    pulmonary: float  # pulmonary arteries, and all vessels within the lungs
    systemic: float  # left heart and aorta


@dataclass(frozen=True, slots=True)
class Patient:
    """A virtual patient, by default a man of middle size with emphysema. All the rest follows from the seed."""

    seed: int = 1
    sex: Literal["F", "M"] = "M"
    size: float = 1.0  # over the standard man's, in all directions
    depth: float = 1.0  # of the chest over its width, over the standard man's
    fat_mm: float = 0.0  # of more fat under the skin than the standard man's
    breast_mm: float = 0.0  # how far the breasts stand out, lying on the back
    arms: Literal["up", "down"] = "up"
    heart: float = 1.0  # size over the standard man's
    diaphragm_mm: float = 0.0  # higher than the standard man's, at full breath
    lung_hu: float = 0.0  # denser than the standard man's lungs
    uneven_hu: float = 14.0  # standard deviation of lung density from place to place, over some centimetres
    dependent_hu: float = 40.0  # how much denser than gravity alone makes it the lung on the back is
    ground_glass_percent: float = 0.0  # of the lungs
    contrast: Contrast | None = None
    emphysema: Emphysema = Emphysema(15.0)
    nodules: tuple[Lesion, ...] = (Lesion(10.0), Lesion(14.0), Lesion(7.0))

    @property
    def scale(self) -> tuple[float, float, float]:
        """Lengths along x, y and z over the standard man's."""
        return self.size / math.sqrt(self.depth), self.size * math.sqrt(self.depth), self.size


STANDARD_MAN = Patient()


def random_patient(seed: int) -> Patient:
    """Any patient: both sexes, small to tall, thin to obese, healthy or with emphysema, with nodules of 2 to 25 mm.

    The standard man is 175 cm tall; sizes follow body heights of 162 and 175 cm with a deviation of 7 cm (NHANES), applied to all directions.
    Arms are down in some of those whom the scanner then still sees whole; a third is given contrast medium.
    """
    random = np.random.default_rng([seed, 77])
    sex: Literal["F", "M"] = "F" if random.random() < 0.5 else "M"
    size = float(np.clip(random.normal(162 if sex == "F" else 175, 7) / 175, 0.84, 1.12))
    depth = float(np.clip(random.normal(1.0, 0.07), 0.86, 1.16))
    fat_mm = float(random.choice([-6.0, 0.0, 6.0, 14.0]) + random.uniform(-3, 3))
    half_width_mm = _HALF_WIDTH_MM * size / math.sqrt(depth) + fat_mm
    fits = half_width_mm + _ARM_MM * size < _ARMS_REACH_MM
    return Patient(
        seed=seed,
        sex=sex,
        size=size,
        depth=depth,
        fat_mm=fat_mm,
        breast_mm=float(random.uniform(8, 32)) if sex == "F" else 0.0,
        arms="down" if fits and random.random() < 0.3 else "up",
        heart=float(random.uniform(0.9, 1.12)),
        diaphragm_mm=float(random.uniform(-10, 20)),
        lung_hu=float(np.clip(random.normal(12, 30), -28, 125)),
        uneven_hu=float(random.uniform(6, 24)),
        dependent_hu=float(random.uniform(0, 110)),
        ground_glass_percent=float(random.uniform(1, 15)) if random.random() < 0.15 else 0.0,
        contrast=_contrast(random),
        emphysema=_emphysema(random),
        nodules=tuple(_lesion(random) for _ in range(int(random.integers(0, 6)))),
    )


def _emphysema(random: np.random.Generator) -> Emphysema:
    percent = 0.0 if random.random() < 0.35 else 60 * float(random.random()) ** 1.5  # few are ill to the utmost
    kinds: tuple[Kind, ...] = ("centrilobular", "panlobular", "paraseptal")
    return Emphysema(percent, kinds[int(random.choice(3, p=[0.6, 0.25, 0.15]))])


def _contrast(random: np.random.Generator) -> Contrast | None:
    """None for two in three; else a bolus in the veins, in the lungs, or after it has gone round."""
    phase = int(random.choice(4, p=[0.67, 0.11, 0.11, 0.11]))
    if phase == 0:
        return None
    ranges = {
        1: ((300, 1200), (200, 450), (60, 250)),
        2: ((60, 300), (120, 260), (200, 420)),
        3: ((90, 150), (90, 150), (90, 150)),
    }[phase]
    return Contrast(*(float(random.uniform(low, high)) for low, high in ranges))


def _lesion(random: np.random.Generator) -> Lesion:
    densities: tuple[Density, ...] = ("solid", "part-solid", "ground-glass")
    margins: tuple[Margin, ...] = ("smooth", "lobulated", "spiculated")
    places: tuple[Place, ...] = ("free", "juxtapleural", "juxtavascular")
    diameter_mm = float(np.exp(random.uniform(np.log(2), np.log(25))))
    density = densities[int(random.choice(3, p=[0.65, 0.15, 0.2]))]
    margin = margins[int(random.choice(3, p=[0.3, 0.4, 0.3]))]
    place = places[int(random.choice(3, p=[0.5, 0.25, 0.25]))]
    if diameter_mm < 6:  # neither a core nor spicules can be told apart in so small a one
        return Lesion(diameter_mm, "solid" if density == "part-solid" else density, "smooth", place)
    return Lesion(diameter_mm, density, margin, place)
