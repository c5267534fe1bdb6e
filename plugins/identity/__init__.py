"""The smallest processing plugin: every slice comes back as it went in.

It is the example to start a plugin from, and shows that receiving, deriving and sending change no pixel by themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from node.plugin import Measurement, Method, Quantity, Report, Verdict, Volume


class IdentityParameters(BaseModel):
    """A rule may leave a note; nothing else can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: str = ""  # told in the headers and the report


class IdentityPlugin:
    """Follows `node.plugin.Plugin`."""

    name: ClassVar[str] = "identity"
    version: ClassVar[str] = "1"
    Parameters: ClassVar[type[BaseModel]] = IdentityParameters

    def measure(self, volume: Volume, parameters: IdentityParameters) -> Measurement:  # noqa: ARG002
        """Nothing has to be known."""
        return Measurement()

    def method(self, measurement: Measurement, parameters: IdentityParameters) -> Method:  # noqa: ARG002
        """The note is part of the fingerprint: it decides no pixel, but a header, and one UID stands for one object."""
        description = "Pixel values unchanged." + (f" Note: {parameters.note}" if parameters.note else "")
        fingerprint = hashlib.sha256(f"{self.name}\n{parameters.note}".encode()).hexdigest()
        return Method(self.name, self.version, description[:900], fingerprint)

    def harmonize(
        self,
        volume: Volume,
        measurement: Measurement,  # noqa: ARG002
        parameters: IdentityParameters,  # noqa: ARG002
    ) -> Iterator[NDArray[np.float32]]:
        """Yield each slice (row, column), HU, unchanged."""
        yield from volume.hu

    def check(
        self,
        volume: Volume,
        harmonized: NDArray[np.float32],
        measurement: Measurement,  # noqa: ARG002
        parameters: IdentityParameters,  # noqa: ARG002
    ) -> Verdict:
        """Passed where every pixel that has an HU has still the same."""
        differing = sum(map(_differing, harmonized, volume.hu, volume.padding))
        quantities = {"differing_pixels": Quantity(differing, "1")}
        if differing:
            return Verdict(passed=False, reasons=(f"{differing} pixels differ from the source",), quantities=quantities)
        return Verdict(passed=True, quantities=quantities)

    def report(
        self,
        volume: Volume,
        harmonized: NDArray[np.float32],
        measurement: Measurement,  # noqa: ARG002
        parameters: IdentityParameters,
        verdict: Verdict,  # noqa: ARG002
    ) -> Report:
        """The mean HU before and after."""
        return Report(
            before=_mean(volume.hu, volume.padding),
            after=_mean(harmonized, volume.padding),
            notes=(parameters.note,) if parameters.note else (),
        )


def _differing(made: NDArray[np.float32], source: NDArray[np.float32], padding: NDArray[np.bool_]) -> int:
    """Of one slice (row, column), how many pixels that have an HU have another."""
    return 0 if np.array_equal(made, source) else int(np.count_nonzero((made != source) & ~padding))


def _mean(hu: NDArray[np.float32], padding: NDArray[np.bool_]) -> dict[str, Quantity]:
    """Mean over the pixels that have an HU; nothing where all is padding. Slice by slice, for a volume fills no cache."""
    count = padding.size - int(np.count_nonzero(padding))
    total = sum(
        float((one[~padded] if padded.any() else one).sum(dtype=np.float64))
        for one, padded in zip(hu, padding, strict=True)
    )
    return {"mean_hu": Quantity(total / count, "[hnsf'U]")} if count else {}
