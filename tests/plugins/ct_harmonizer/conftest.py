"""Real chest series as volumes, read with pydicom alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from node.plugin import Volume


@pytest.fixture(scope="session")
def series(data: Path) -> Callable[[str], Volume]:
    """A folder of uncompressed CT images under the real data, as a plugin sees it; a file cut short is left out."""

    def read(folder: str) -> Volume:
        files = [pydicom.dcmread(path) for path in sorted((data / folder).glob("*.dcm"))]
        files = [file for file in files if len(file.PixelData) >= 2 * file.Rows * file.Columns]
        files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
        hu = np.stack([f.pixel_array * np.float32(f.RescaleSlope) + np.float32(f.RescaleIntercept) for f in files])
        places = [float(file.ImagePositionPatient[2]) for file in files]
        first = files[0]
        header = {"Manufacturer": first.Manufacturer, "ConvolutionKernel": first.ConvolutionKernel}
        return Volume(
            first.SeriesInstanceUID,
            hu.astype(np.float32),
            (float(np.median(np.diff(places))), *map(float, first.PixelSpacing)),
            float(first.SliceThickness),
            np.zeros(hu.shape, bool),
            (header,) * len(files),
        )

    return read
