"""Sources to derive from: small synthetic CT images, changed by each test as it needs, and real ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.config import Derive
from node.derive import Derived, derive
from node.dicom.headers import read_header
from node.dicom.volume import LoadedVolume, load_volume
from node.plugin import Measurement, Method, Quantity

METHOD = Method("sharpener", "2", "Made sharper.", "ab" * 32)
MEASUREMENT = Measurement(quantities={"f50": Quantity(0.31, "/mm", 0.3, 0.32)})
MADE_AT = datetime(2026, 5, 4, 22, 30, 15, 123456, tzinfo=UTC)


def _source() -> Dataset:
    """A CT image of 4 rows and 6 columns with every attribute that the IOD requires."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SpecificCharacterSet = "ISO_IR 100"
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, "1.2.826.0.1.1"
    one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.826.0.1", "1.2.826.0.2"
    one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20260504", "101112", "S1", "A1"
    one.SeriesDate, one.SeriesTime, one.SeriesNumber = "20260504", "101500", 3
    one.AcquisitionDate, one.AcquisitionTime, one.AcquisitionNumber = "20260504", "101530.5", 1
    one.ContentDate, one.ContentTime = "20260504", "101600"
    one.Modality, one.Manufacturer, one.ManufacturerModelName = "CT", "ACME", "Scan 1"
    one.SoftwareVersions, one.StationName, one.DeviceSerialNumber = "v1", "CT1", "42"
    one.ReferringPhysicianName, one.PatientName, one.PatientID = "", "Doe^Jane", "P1"
    one.PatientBirthDate, one.PatientSex, one.PatientPosition = "", "F", "HFS"
    one.SeriesDescription = "Thorax 1.0 B70f"
    one.FrameOfReferenceUID, one.PositionReferenceIndicator = "1.2.826.0.3", ""
    one.ImagePositionPatient, one.ImageOrientationPatient = [-1, -2, 3], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness, one.KVP = [0.7, 0.7], 1, 120
    one.InstanceNumber, one.ConvolutionKernel = 1, "B70f"
    one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 4, 6, 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.RescaleSlope, one.RescaleIntercept = 1, -1024
    one.WindowCenter, one.WindowWidth = [-600, 40], [1200, 400]
    one.PixelData = np.arange(24, dtype="<u2").tobytes()
    return one


class Workshop:
    """Writes sources and derives from them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def source(self, change: Callable[[Dataset], None] = lambda _: None, *, slices: int = 1) -> list[Path]:
        """Files of one series, after `change` of each."""
        folder = self.folder("source")
        folder.mkdir()
        paths = []
        for index in range(slices):
            one = _source()
            one.SOPInstanceUID, one.InstanceNumber = f"1.2.826.0.1.{index + 1}", index + 1
            one.ImagePositionPatient = [-1, -2, 3 + index]
            change(one)
            paths.append(folder / f"{index}.dcm")
            syntax = one.file_meta.TransferSyntaxUID
            one.save_as(
                paths[-1],
                implicit_vr=syntax.is_implicit_VR,
                little_endian=syntax.is_little_endian,
                enforce_file_format=True,
            )
        return paths

    def derive(
        self,
        paths: Sequence[Path],
        hu: NDArray[np.float32] | None = None,
        *,
        method: Method = METHOD,
        measurement: Measurement = MEASUREMENT,
        only: set[str] | None = None,
        made_at: datetime = MADE_AT,
        loaded: LoadedVolume | None = None,
        **settings: Any,
    ) -> list[Derived]:
        """Derive from a series; the identity where no HU are given."""
        loaded = loaded or load_volume(paths)
        hu = loaded.hu if hu is None else hu
        return derive(loaded, hu, method, measurement, Derive(**settings), self.folder("derived"), only, made_at)

    def one(self, change: Callable[[Dataset], None] = lambda _: None, **arguments: Any) -> Dataset:
        """The instance derived from one changed source, read back."""
        [derived] = self.derive(self.source(change), **arguments)
        return dcmread(derived.path)

    def unloaded(self, change: Callable[[Dataset], None]) -> LoadedVolume:
        """A source that `load_volume` itself might refuse."""
        paths = self.source(change)
        return LoadedVolume(
            series_instance_uid="1.2.826.0.2",
            hu=np.zeros((1, 4, 6), np.float32),
            spacing_mm=(1.0, 0.7, 0.7),
            slice_thickness_mm=1.0,
            padding=np.zeros((1, 4, 6), np.bool_),
            headers=({},),
            sources=(read_header(paths[0]),),
            paths=tuple(paths),
        )

    def folder(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{name}-{self._count}"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def made_at() -> datetime:
    return MADE_AT


@pytest.fixture(scope="session")
def chest(data: Path) -> dict[str, list[Path]]:
    """The files of real series by a short name."""
    folders = {
        "lidc-0001": data / "chest/lidc-0001",
        "b70f": data / "chest/lung-dx-a0002-b70f",
        "b40f": data / "chest/lung-dx-a0002-b40f",
        "head-ub": data / "phantom/head-ub",
        "head-ya": data / "phantom/head-ya",
    }
    whole = {name: sorted(folder.glob("*.dcm")) for name, folder in folders.items()}
    # A CT of 512 x 512 has half a megabyte; one file of lidc-0001 is cut off, and refused elsewhere.
    return {name: [path for path in paths if path.stat().st_size > 1 << 19] for name, paths in whole.items()}


@pytest.fixture(scope="session")
def judge() -> Callable[[str, Sequence[Path]], list[str]]:
    """Runs a validator of dicom3tools over files: its lines that say Error, with those of a crash."""

    def errors(program: str, paths: Sequence[Path]) -> list[str]:
        path = f"/usr/bin/{program}"
        if not shutil.which(path):
            pytest.skip(f"{path} is missing: install dicom3tools")
        runs = [paths] if program == "dcentvfy" else [[one] for one in paths]
        return [line for run in runs for line in _errors([path, *map(str, run)])]

    return errors


def _errors(command: list[str]) -> Iterator[str]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = (done.stdout + done.stderr).splitlines()
    yield from (line for line in said if line.startswith(("Error", "Abort")))
    if done.returncode and not any(line.startswith(("Error", "Abort")) for line in said):
        yield f"{command[0]} ended with {done.returncode}: {said}"
