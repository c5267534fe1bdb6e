"""Who is scanned: what makes one virtual patient another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["centrilobular", "panlobular", "paraseptal"]


@dataclass(frozen=True, slots=True)
class Emphysema:
    """Lost lung tissue: holes whose sizes follow a power law (Mishima et al., PNAS 96:8829, 1999), in clusters."""

    share: float  # of the lungs
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
class Patient:
    """A virtual patient, by default a man of middle size with emphysema. All the rest follows from the seed."""

    seed: int = 1
    sex: Literal["F", "M"] = "M"
    size: float = 1.0  # over the standard man's, in all directions
    fat_mm: float = 0.0  # of more fat under the skin than the standard man's
    breast_mm: float = 0.0  # how far the breasts stand out, lying on the back
    lung_hu: float = 0.0  # denser than the standard man's lungs: how deeply was breathed in
    emphysema: Emphysema = Emphysema(0.19)
    nodules_mm: tuple[float, ...] = (10.0, 14.0, 7.0)  # diameters


STANDARD_MAN = Patient()


def random_patient(seed: int) -> Patient:
    """Any patient: both sexes, small to tall, thin to obese, healthy or with emphysema, with nodules of 4 to 25 mm.

    The standard man is 175 cm tall; sizes follow body heights of 162 and 175 cm with a deviation of 7 cm (NHANES), applied to all directions.
    """
    random = np.random.default_rng([seed, 77])
    sex: Literal["F", "M"] = "F" if random.random() < 0.5 else "M"
    size = float(np.clip(random.normal(162 if sex == "F" else 175, 7) / 175, 0.84, 1.12))
    share = 0.0 if random.random() < 0.35 else float(random.uniform(0.02, 0.6))
    kinds: tuple[Kind, ...] = ("centrilobular", "panlobular", "paraseptal")
    return Patient(
        seed=seed,
        sex=sex,
        size=size,
        fat_mm=float(random.choice([-6.0, 0.0, 6.0, 14.0]) + random.uniform(-3, 3)),
        breast_mm=float(random.uniform(8, 32)) if sex == "F" else 0.0,
        lung_hu=float(random.normal(8, 18)),
        emphysema=Emphysema(share, kinds[int(random.choice(3, p=[0.6, 0.25, 0.15]))]),
        nodules_mm=tuple(
            float(np.exp(random.uniform(np.log(4), np.log(25)))) for _ in range(int(random.integers(0, 5)))
        ),
    )
