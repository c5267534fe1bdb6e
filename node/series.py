"""The vocabulary of a series: frozen records that the stages hand each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Sender:
    """Who brought an instance."""

    calling_ae_title: str  # the peer's AE title, without padding
    called_ae_title: str  # the AE title it called us by
    address: str  # its IP address, or the channel ("stow", "folder")


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance that lies in the spool, durable."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str  # relative to the spool
    size_bytes: int  # of the whole file
    sha256: str  # of the data set as it came over the wire, without file meta information
    received_at: datetime
    sender: Sender
    again: bool = False  # it may be known already: the same bytes came again, or it was found in the spool


@dataclass(frozen=True, slots=True)
class TagValues:
    """The distinct values of one attribute over all instances of a series.

    A multi-valued attribute is a tuple of its values, so `values` of Image Type is
    `(("ORIGINAL", "PRIMARY", "AXIAL"),)` where all instances agree.
    """

    values: tuple[Any, ...]
    missing: int = 0  # instances without the attribute, or with it empty


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What is known of a whole series: its attributes and what follows from its geometry.

    Lengths in mm, angles in degrees. A fact that cannot be known is None.
    """

    study_instance_uid: str
    series_instance_uid: str
    calling_ae_title: str
    called_ae_title: str
    number_of_slices: int
    orientation: str | None  # "axial", "coronal", "sagittal", "oblique"; None where it is missing or mixed
    gantry_tilt_deg: float | None  # angle between the slice normal and the stacking direction
    slice_spacing_mm: float | None  # median distance between neighbours
    spacing_uniform: bool | None  # every distance within 1 % (at least 0.01 mm) of the median
    z_extent_mm: float | None  # first slice centre to last, plus one slice thickness
    tags: Mapping[str, TagValues] = field(default_factory=dict)  # by DICOM keyword
    never: tuple[str, ...] = ()  # why it can never be a candidate, whatever a rule says
    malformed: tuple[str, ...] = ()  # what is wrong with it, each naming a UID

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        tags = {
            keyword: TagValues(tuple(_tuples(value) for value in entry["values"]), entry["missing"])
            for keyword, entry in data["tags"].items()
        }
        return cls(**{**data, "tags": tags, "never": tuple(data["never"]), "malformed": tuple(data["malformed"])})


def _tuples(value: Any) -> Any:
    """JSON turns the tuple of a multi-valued attribute into a list; turn it back."""
    return tuple(value) if isinstance(value, list) else value
