"""What the virtual patient is made of, as a beam sees it: water and cortical bone in every voxel.

`attenuation.csv` holds linear attenuation in 1/mm, means over bins of 5 keV, from the Elam tables of xraydb 4.5: water; ICRU-44 cortical bone of
1.92 g/cm3; PTFE of 2.2 g/cm3; Gd2O2S of 7.34 g/cm3; CdTe of 5.85 g/cm3.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

REFERENCE_KEV = 68.0  # where a voxel's HU is what the phantom says: near the effective energy of 120 kVp behind a chest

_DENSE_HU = 100.0  # up to it tissue is water of another density, above it bone comes in
_DENSE_WATER = 1.0 + _DENSE_HU / 1000


@cache
def table(name: str) -> dict[str, NDArray[np.float64]]:
    """A table of this folder by column."""
    path = Path(__file__).with_name(f"{name}.csv")
    with path.open() as lines:
        columns = lines.readline().strip().split(",")
        values = np.loadtxt(lines, delimiter=",", dtype=np.float64)
    return dict(zip(columns, values.T, strict=True))


def attenuation_per_mm(material: str) -> NDArray[np.float64]:
    """Linear attenuation of water, bone, ptfe, gd2o2s or cdte in each energy bin."""
    return table("attenuation")[f"{material}_per_mm"]


def decompose(volume_hu: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of water and of cortical bone, by volume, that attenuate as these HU do at REFERENCE_KEV.

    Up to 100 HU it is water of another density, lung and fat too; above it, mixtures of dense soft tissue and bone.
    """
    bone = ((volume_hu - _DENSE_HU) / (_bone_hu() - _DENSE_HU)).clamp(min=0)
    water = (1 + volume_hu / 1000).clamp(min=0, max=_DENSE_WATER) * (1 - bone)
    return water, bone


@cache
def _bone_hu() -> float:
    energy = table("attenuation")["energy_kev"]
    water, bone = (
        np.exp(np.interp(np.log(REFERENCE_KEV), np.log(energy), np.log(attenuation_per_mm(name))))
        for name in ("water", "bone")
    )
    return float(1000 * (bone / water - 1))
