"""What all derived instances of one series have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from node.config import Derive
from node.derive.dropped import keeps
from node.dicom.uids import derived_instance_uid, derived_series_uid, device_uid
from node.plugin import Measurement, Method


@dataclass(frozen=True, slots=True)
class Making:
    """How the instances of a series are made, when and by what."""

    method: Method
    measurement: Measurement
    settings: Derive
    made_at: datetime  # with its zone
    keeps: Callable[[int], bool]  # of a tag, whether it is copied from the source
    keeps_inside: Callable[[int], bool]  # the same inside sequences

    @property
    def title(self) -> str:
        return f"{self.method.name} {self.method.version}"

    @property
    def device_uid(self) -> str:
        """Device UID (0018,1002)."""
        return device_uid(self.method.name, self.method.version)

    def series_uid(self, source_series_uid: str) -> str:
        """Series Instance UID (0020,000E) of what is derived from that series."""
        return derived_series_uid(source_series_uid, self.method.name, self.method.version, self.method.fingerprint)

    def instance_uid(self, source_sop_uid: str) -> str:
        """SOP Instance UID (0008,0018) of what is derived from that instance."""
        return derived_instance_uid(source_sop_uid, self.method.name, self.method.version, self.method.fingerprint)


def making(method: Method, measurement: Measurement, settings: Derive, made_at: datetime) -> Making:
    """Raises ValueError where `made_at` has no zone: it could not be laid into the zone of the source."""
    if made_at.tzinfo is None:
        raise ValueError(f"made_at has no time zone: {made_at!r}")
    on_top, inside = keeps(settings)
    return Making(method, measurement, settings, made_at, on_top, inside)
