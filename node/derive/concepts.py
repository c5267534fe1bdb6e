"""How the quantities of a plugin are called in a Structured Report.

The standard's concepts where it has them (PS3.16 CID 7469, 7464); where it has none, codes of our own, said to be so by
the Coding Scheme Identification. A plugin's quantity that is not in the table gets a code of our own from its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

SCHEME = "99HARMONODE"
SCHEME_NAME = "harmonode: sharpness, noise and lung density"


class Concept(NamedTuple):
    """A code: value, scheme, meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Quality:
    """What a number is of: a concept, how it was derived from many values, and where in the body."""

    concept: Concept
    derivation: Concept | None = None
    site: Concept | None = None


LUNG = Concept("39607008", "SCT", "Lung")
SOFT_TISSUE = Concept("87784001", "SCT", "Soft tissue")
MEAN = Concept("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Concept("386136009", "SCT", "Standard Deviation")
ATTENUATION = Concept("112031", "DCM", "Attenuation Coefficient")

_TABLE = {
    "mean_hu": Quality(ATTENUATION, MEAN),
    "mean lung": Quality(ATTENUATION, MEAN, LUNG),
    "noise": Quality(ATTENUATION, STANDARD_DEVIATION, SOFT_TISSUE),
    "lung mass": Quality(Concept("118538004", "SCT", "Mass"), None, LUNG),
    "lung volume": Quality(Concept("118565006", "SCT", "Volume"), None, LUNG),
    "LAA-950": Quality(Concept("LAA950", SCHEME, "Share of lung voxels below -950 HU"), None, LUNG),
    "Perc15": Quality(Concept("PERC15", SCHEME, "15th percentile of lung attenuation"), None, LUNG),
    "f50": Quality(Concept("MTF50", SCHEME, "Spatial frequency where the MTF is 50 %")),
    "f10": Quality(Concept("MTF10", SCHEME, "Spatial frequency where the MTF is 10 %")),
    "NPS peak": Quality(Concept("NPSPEAK", SCHEME, "Spatial frequency of the noise power peak"), None, SOFT_TISSUE),
}
_UNITS = {
    "[hnsf'U]": "Hounsfield unit",
    "%": "percent",
    "/mm": "per millimeter",
    "g": "gram",
    "mL": "milliliter",
    "1": "no units",
    "mm": "millimeter",
}


def quality(name: str) -> Quality:
    """What a plugin's quantity is of, by its name; "f50 by kernel table, not measured" is no f50."""
    if name in _TABLE:
        return _TABLE[name]
    value = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:16].strip("_") or "UNNAMED"
    return Quality(Concept(value, SCHEME, _ascii(name)[:64]))


def unit(ucum: str) -> Concept:
    """A unit of UCUM with its meaning."""
    return Concept(ucum, "UCUM", _UNITS.get(ucum, ucum))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().strip() or "unnamed"
