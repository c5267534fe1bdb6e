"""Series as large as a chest CT, for the benchmarks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid


@pytest.fixture
def write_series(data: Path) -> Callable[[Path, int], tuple[list[Path], str]]:
    """Writes a real slice many times, 1 mm apart, under new UIDs: what a peer holds already it answers faster.

    Returns the files and the Series Instance UID; what was in the folder is gone.
    """
    made = pydicom.dcmread(min((data / "chest" / "lung-dx-a0002-b70f").glob("*.dcm")))

    def write(folder: Path, count: int) -> tuple[list[Path], str]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
        paths = [folder / f"{number:04d}.dcm" for number in range(count)]
        x, y, _ = made.ImagePositionPatient
        for number, path in enumerate(paths):
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            made.ImagePositionPatient, made.InstanceNumber = [x, y, float(number)], number + 1
            made.save_as(path)
        return paths, made.SeriesInstanceUID

    return write
