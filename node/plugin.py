"""The processing-plugin protocol: what a plugin gets, returns and may raise.

A plugin is found by the entry point `harmonode.plugins`. It works on numbers alone: it never sees sockets, files or
the database. `measure`, `harmonize` and `check` may raise `errors.SeriesRefused` with the reason; any other exception
is taken for a fault of the plugin and stops the series as a permanent error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from node.dicom.volume import LoadedVolume
from node.errors import ConfigError, PermanentError

GROUP = "harmonode.plugins"

_WRITTEN = {"[hnsf'U]": "HU", "1": ""}  # UCUM codes that no person writes so


@dataclass(frozen=True, slots=True)
class Volume:
    """A series as a plugin sees it."""

    series_instance_uid: str
    hu: NDArray[np.float32]  # (slice, row, column), HU, slices ordered along the slice normal
    spacing_mm: tuple[float, float, float]  # between slice centres, between rows, between columns
    slice_thickness_mm: float | None  # Slice Thickness (0018,0050)
    padding: NDArray[np.bool_]  # (slice, row, column), True where the pixel is padding and has no HU
    headers: tuple[Mapping[str, Any], ...]  # per slice, read-only: DICOM keyword -> value

    @classmethod
    def of(cls, loaded: LoadedVolume) -> Self:
        """What a plugin may see of a loaded series: no files, no data sets."""
        return cls(
            loaded.series_instance_uid,
            loaded.hu,
            loaded.spacing_mm,
            loaded.slice_thickness_mm,
            loaded.padding,
            loaded.headers,
        )


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit in UCUM, and its 95 % interval where one is known."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """For people: four figures, the unit as it is written in the field."""
        unit = _WRITTEN.get(self.unit, self.unit)
        interval = f" ({self.low:.4g} to {self.high:.4g})" if self.low is not None and self.high is not None else ""
        return f"{self.value:.4g} {unit}".strip() + interval


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve to draw: y over x, with a band where one is known. All of one length."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str
    y_label: str
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a plugin measured before it harmonizes. Made once for a series and kept: late slices reuse it."""

    data: dict[str, Any] = field(default_factory=dict)  # the plugin's own, JSON
    quantities: dict[str, Quantity] = field(default_factory=dict)  # for people, audit and headers

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(stored["data"], {name: Quantity(**quantity) for name, quantity in stored["quantities"].items()})


@dataclass(frozen=True, slots=True)
class Method:
    """How the plugin makes its slices, for the derived headers.

    `fingerprint` identifies all that decides the pixels besides the source: weights, parameters, target. Together with
    name, version and the source's UID it makes the derived UIDs, so a retry makes the same objects.
    """

    name: str
    version: str
    description: str  # for Derivation Description (0008,2111); at most 900 characters
    fingerprint: str  # hexadecimal
    sharpens: bool = False  # CID 7203: 113086 DCM "Edge enhancement"
    smooths: bool = False  # CID 7203: 113087 DCM "Smoothing"
    target: str = ""  # what the slices are brought to, in a word, for templates

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the harmonized slices may be sent, and the figures behind it."""

    passed: bool
    reasons: tuple[str, ...] = ()  # what failed, in words with figures
    quantities: dict[str, Quantity] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        quantities = {name: Quantity(**quantity) for name, quantity in stored["quantities"].items()}
        return cls(stored["passed"], tuple(stored["reasons"]), quantities)


@dataclass(frozen=True, slots=True)
class Report:
    """What a person reads about one harmonized series."""

    before: dict[str, Quantity] = field(default_factory=dict)  # the same names in both
    after: dict[str, Quantity] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)  # PNG
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All but the pictures, which are files."""
        return {
            "before": {name: asdict(quantity) for name, quantity in self.before.items()},
            "after": {name: asdict(quantity) for name, quantity in self.after.items()},
            "curves": {name: asdict(curve) for name, curve in self.curves.items()},
            "notes": list(self.notes),
        }


@runtime_checkable
class Plugin(Protocol):
    """A processing plugin. Instances hold no state of a series; they may keep weights loaded."""

    name: ClassVar[str]
    version: ClassVar[str]
    Parameters: ClassVar[type[BaseModel]]

    def measure(self, volume: Volume, parameters: Any) -> Measurement:
        """Measure what harmonizing needs. Raises SeriesRefused where the series is unfit."""
        ...

    def method(self, measurement: Measurement, parameters: Any) -> Method:
        """How `harmonize` will make its slices, given this measurement."""
        ...

    def harmonize(self, volume: Volume, measurement: Measurement, parameters: Any) -> Iterator[NDArray[np.float32]]:
        """Yield every slice (row, column) in HU, in the volume's order; padding pixels are overwritten by the node."""
        ...

    def check(
        self, volume: Volume, harmonized: NDArray[np.float32], measurement: Measurement, parameters: Any
    ) -> Verdict:
        """Judge the harmonized volume (slice, row, column) in HU before anything is sent."""
        ...

    def report(
        self,
        volume: Volume,
        harmonized: NDArray[np.float32],
        measurement: Measurement,
        parameters: Any,
        verdict: Verdict,
    ) -> Report:
        """Figures, curves and pictures for people; `verdict` is what `check` said."""
        ...


@runtime_checkable
class Draws(Protocol):
    """A plugin that can also draw what it measured, before anything is harmonized."""

    def picture(self, volume: Volume, measurement: Measurement) -> bytes:
        """PNG."""
        ...

    def comparison(self, series: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
        """PNG of several series, each a label with its measurement's data or with `refused`, the reason."""
        ...


@runtime_checkable
class Weighs(Protocol):
    """A plugin with trained weights."""

    def weights(self) -> str:
        """Which they are, once they have been verified. Raises where they are missing or damaged."""
        ...


def available() -> list[str]:
    """Names of the installed plugins."""
    return sorted(point.name for point in entry_points(group=GROUP))


def load(name: str) -> Plugin:
    """The installed plugin of that name.

    Raises:
        ConfigError: no plugin of that name is installed, it cannot be loaded, or it does not follow the protocol.
    """
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise ConfigError(f"no plugin {name!r} is installed; there are: {', '.join(available()) or 'none'}")
    try:
        plugin = next(iter(found)).load()()
    except Exception as error:
        raise ConfigError(f"plugin {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(plugin, Plugin):
        raise ConfigError(f"plugin {name!r} does not follow the protocol of node.plugin.Plugin")
    return plugin


def parameters(plugin: Plugin, given: Mapping[str, Any]) -> BaseModel:
    """The plugin's own parameters, validated.

    Raises:
        ConfigError: names each parameter that is unknown or wrong.
    """
    try:
        return plugin.Parameters.model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise ConfigError(f"parameters of plugin {plugin.name!r}: {wrong}") from error


def harmonized_slices(
    plugin: Plugin, volume: Volume, measurement: Measurement, given: Any
) -> Iterator[NDArray[np.float32]]:
    """The plugin's slices as little-endian float32, each checked, with padding pixels as they were received.

    Raises:
        PermanentError: too few or too many slices, or one of another shape or type, or with pixels that are no numbers.
    """
    name, uid = f"plugin {plugin.name!r}", volume.series_instance_uid
    count = 0
    for hu in plugin.harmonize(volume, measurement, given):
        if count == len(volume.hu):
            raise PermanentError(f"{name} returned more than the {count} slices of series {uid}")
        where = f"slice {count + 1} of {len(volume.hu)} of series {uid}"
        if not isinstance(hu, np.ndarray) or not np.issubdtype(hu.dtype, np.floating):
            kind = hu.dtype if isinstance(hu, np.ndarray) else type(hu).__name__
            raise PermanentError(f"{name} returned {kind} for {where}; expected an array of floating-point HU")
        if hu.shape != volume.hu.shape[1:]:
            raise PermanentError(f"{name} returned shape {hu.shape} for {where}; expected {volume.hu.shape[1:]}")
        padding = volume.padding[count]
        kept = (np.where(padding, volume.hu[count], hu) if padding.any() else hu).astype("<f4", copy=False)
        finite = np.isfinite(kept)
        if not finite.all():
            wrong = finite.size - np.count_nonzero(finite)
            raise PermanentError(f"{name} returned {wrong} pixels that are no numbers in {where}")
        yield kept
        count += 1
    if count < len(volume.hu):
        raise PermanentError(f"{name} returned {count} slices for the {len(volume.hu)} of series {uid}")
