"""A virtual chest CT series as DICOM files: the headers of a plausible scan, and no pretence about who made it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from plugins.ct_harmonizer.simulate.phantom.patient import Patient
from plugins.ct_harmonizer.simulate.reconstruct import LOWEST_HU
from plugins.ct_harmonizer.simulate.series import Request, Scan, scan_chest

MANUFACTURER = "harmonode virtual scanner"
_SECONDS_PER_SLICE = 0.1


def write_series(
    folder: Path,
    progress: Callable[[int, int], None],
    *,
    slices: int = 48,
    matrix: int = 512,
    seed: int = 1,
) -> None:
    """Scan a virtual chest and write it into a folder, one file a slice, 0001.dcm at the top of the chest.

    Pixels follow from the seed; the UIDs are new with every call.

    Args:
        folder: where to; made where it does not exist.
        progress: called with the steps done and their number.
        slices: number of slices, 2 mm apart; at least 2.
        matrix: pixels along a side of the 384 mm field of view; even.
        seed: which patient, and which noise.
    """
    write_scan(
        scan_chest(Request(slices=slices, matrix=matrix, patient=Patient(seed), noise_seed=seed), progress), folder
    )


def write_scan(scan: Scan, folder: Path) -> list[Path]:
    """Write a scan as CT Image Storage (PS3.3 section A.3), Explicit VR Little Endian; the files, in the scan's order."""
    folder.mkdir(parents=True, exist_ok=True)
    common, taken_at = _common(scan.request), datetime.now(UTC).replace(microsecond=0)
    paths = []
    for number in range(len(scan.hu)):
        image = _image(scan, number, taken_at)
        image.update(common)
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        path = folder / f"{number + 1:04d}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _common(request: Request) -> Dataset:
    """What all slices share: patient, study, series, frame of reference, equipment, acquisition."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName = "Virtual^Chest"
    header.PatientID = f"VIRTUAL-{request.patient.seed:04d}"
    header.PatientBirthDate = "19600101"
    header.PatientSex = request.patient.sex
    header.PatientAge = "066Y"
    header.PatientPosition = "HFS"

    header.StudyInstanceUID = generate_uid(prefix=None)
    header.StudyID = "1"
    header.StudyDescription = "Virtual thorax"
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""

    header.SeriesInstanceUID = generate_uid(prefix=None)
    header.SeriesNumber = 2
    header.SeriesDescription = f"Chest {request.rendition.scanner.thickness_mm:.1f} {request.rendition.kernel.name}"
    header.ProtocolName = "Thorax"
    header.BodyPartExamined = "CHEST"
    header.Modality = "CT"
    header.FrameOfReferenceUID = generate_uid(prefix=None)
    header.PositionReferenceIndicator = ""

    header.Manufacturer = MANUFACTURER
    header.ManufacturerModelName = "parallel beam"
    header.InstitutionName = "Virtual"
    header.StationName = "VIRTUAL"
    header.DeviceSerialNumber = "1"
    header.SoftwareVersions = "1"

    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage
    header.AcquisitionNumber = 1
    header.KVP = str(request.rendition.scanner.beam.kilovolts)
    header.ScanOptions = request.profile.upper()
    header.ConvolutionKernel = f"{request.rendition.kernel.name} f50 {request.rendition.kernel.f50_per_mm:.2f}"[:16]
    header.FilterType = "NONE"
    header.Exposure = round(request.rendition.scanner.tube_current_time_mas)
    header.ExposureTime = 500
    header.XRayTubeCurrent = round(request.rendition.scanner.tube_current_time_mas / 0.5)
    if request.patient.contrast:
        header.ContrastBolusAgent = "IODINE"
    header.ReconstructionDiameter = request.field_of_view_mm
    header.DataCollectionDiameter = request.rendition.scanner.bins * request.rendition.scanner.pitch_mm
    header.GantryDetectorTilt = 0
    header.TableHeight = 139
    header.RotationDirection = "CW"
    header.SliceThickness = request.rendition.scanner.thickness_mm
    header.SpacingBetweenSlices = request.spacing_mm
    header.BurnedInAnnotation = "NO"
    header.LossyImageCompression = "00"

    header.update(_pixels(request))
    return header


def _pixels(request: Request) -> Dataset:
    """Image Plane, Image Pixel and VOI LUT (PS3.3 sections C.7.6.2, C.7.6.3, C.11.2)."""
    header = Dataset()
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = [request.image.pixel_mm] * 2
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows = header.Columns = request.matrix
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = 0
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType = LOWEST_HU, 1, "HU"
    header.WindowCenter, header.WindowWidth = [-600, 40], [1500, 400]
    header.WindowCenterWidthExplanation = ["LUNG", "MEDIASTINUM"]
    return header


def _image(scan: Scan, number: int, taken_at: datetime) -> Dataset:
    """What is a slice's own: identity, time, position, pixels."""
    request = scan.request
    image = Dataset()
    image.SOPInstanceUID = generate_uid(prefix=None)
    image.InstanceNumber = number + 1
    shot_at = taken_at + timedelta(seconds=number * _SECONDS_PER_SLICE)
    for event, when in {
        "Study": taken_at,
        "Series": taken_at,
        "Acquisition": shot_at,
        "Content": shot_at,
        "InstanceCreation": shot_at,
    }.items():
        setattr(image, f"{event}Date", when.strftime("%Y%m%d"))
        setattr(image, f"{event}Time", when.strftime("%H%M%S.%f"))
    corner = (of - (request.matrix // 2) * request.image.pixel_mm for of in request.centre_mm)
    height_mm = float(request.z_mm[number])
    image.ImagePositionPatient = [*corner, height_mm]
    image.SliceLocation = height_mm
    image.PixelData = _stored(scan.hu[number]).tobytes()
    return image


def _stored(hu: NDArray[np.int16]) -> NDArray[np.uint16]:
    return (hu - int(LOWEST_HU)).astype("<u2")
