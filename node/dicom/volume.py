"""A series as one array in HU, its slices in order along the slice normal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset


@dataclass(frozen=True, slots=True)
class LoadedVolume:
    """A decoded series. `headers`, `sources` and `paths` are in the order of the slices."""

    series_instance_uid: str
    hu: NDArray[np.float32]  # (slice, row, column), HU, slices ordered along the slice normal
    spacing_mm: tuple[float, float, float]  # between slice centres (measured), between rows, between columns
    slice_thickness_mm: float | None  # Slice Thickness (0018,0050)
    padding: NDArray[np.bool_]  # (slice, row, column), True where the pixel is padding and has no HU
    headers: tuple[Mapping[str, Any], ...]  # read-only: DICOM keyword -> value
    sources: tuple[Dataset, ...]  # the headers as they were received, without pixels
    paths: tuple[Path, ...]  # the files
