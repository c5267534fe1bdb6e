"""Small crafted CT series, for what no real scan shows on demand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

Change = Callable[[Dataset, int], None]


def slice_of(index: int, *, spacing_mm: float = 2.0, side: int = 8) -> FileDataset:
    """Slice `index` of a sound axial series in HU; its pixels are all -1000 + index."""
    uid = f"1.2.3.4.{index}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta)
    made.SpecificCharacterSet = "ISO_IR 100"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, uid
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    made.StudyDate, made.AccessionNumber = "20240102", "A77"
    made.Modality, made.Manufacturer, made.SeriesDescription = "CT", "ACME", "CHEST"
    made.PatientName, made.PatientID, made.PatientBirthDate = "Doe^Jane", "SECRET-1", "19500101"
    made.SliceThickness, made.KVP, made.InstanceNumber = spacing_mm, 120, index + 1
    made.ImagePositionPatient = [-100.0, -90.0, 10.0 + spacing_mm * index]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows = made.Columns = side
    made.PixelSpacing = [0.7, 0.6]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = 1, -1024, "HU"
    made.PixelData = np.full((side, side), 24 + index, np.uint16).tobytes()
    return made


class Crafted:
    """Writes series into a folder; `change` spoils each slice, given its index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def series(self, count: int = 5, change: Change = lambda _data, _index: None, **options: Any) -> list[Path]:
        return [self.one(index, change, **options) for index in range(count)]

    def one(self, index: int = 0, change: Change = lambda _data, _index: None, **options: Any) -> Path:
        made = slice_of(index, **options)
        change(made, index)
        return self.write(made, f"{index:03}.dcm")

    def write(self, made: FileDataset, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save_as(path, enforce_file_format=True)
        return path


@pytest.fixture
def crafted(tmp_path: Path) -> Crafted:
    """A writer of small sound or spoilt CT series."""
    return Crafted(tmp_path / "crafted")
