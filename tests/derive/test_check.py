"""Our own checks find what was done wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ImplicitVRLittleEndian

from node.derive.check import findings
from node.dicom.headers import parse_header, read_header


def judged(workshop: Any, change: Callable[[Dataset], None] = lambda _: None, of_source: Any = lambda _: None) -> str:
    """What is found after `change` of a good derived instance."""
    [path] = workshop.source(of_source)
    [derived] = workshop.derive([path])
    return _judged(derived.path, path, change)


def _judged(derived: Path, source: Path, change: Callable[[Dataset], None]) -> str:
    made = dcmread(derived)
    change(made)
    buffer = BytesIO()
    made.save_as(buffer)
    buffer.seek(0)
    return "; ".join(findings(parse_header(buffer), read_header(source)))


def sets(**values: Any) -> Callable[[Dataset], None]:
    def change(made: Dataset) -> None:
        for keyword, value in values.items():
            setattr(made, keyword, value)

    return change


def test_a_good_one_has_no_findings(workshop: Any) -> None:
    assert judged(workshop) == ""


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (sets(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]), "ImageType is 'ORIGINAL"),
        (sets(ImageType=["DERIVED", "SECONDARY"]), "ImageType"),
        (sets(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "not 1.2.840.10008.5.1.4.1.1.2"),
        (sets(Modality="OT"), "Modality is 'OT'"),
        (sets(SOPInstanceUID="1.2.826.0.1.1"), "SOPInstanceUID is the source's"),
        (sets(SeriesInstanceUID="1.2.826.0.2"), "SeriesInstanceUID is the source's"),
        (sets(SeriesInstanceUID="1.02.3"), "SeriesInstanceUID '1.02.3' is no UID"),
        (sets(StudyInstanceUID="1.2.3"), "StudyInstanceUID is '1.2.3' where the source has '1.2.826.0.1'"),
        (sets(PatientID="P2"), "PatientID is 'P2'"),
        (sets(AccessionNumber=""), "AccessionNumber is missing where the source has 'A1'"),
        (sets(FrameOfReferenceUID="1.2.3"), "FrameOfReferenceUID"),
        (sets(ImagePositionPatient=[-1, -2, 4]), "ImagePositionPatient"),
        (sets(ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), "ImageOrientationPatient"),
        (sets(PixelSpacing=[0.71, 0.7]), "PixelSpacing"),
        (sets(InstanceNumber=2), "InstanceNumber"),
        (sets(ConvolutionKernel="B40f"), "ConvolutionKernel"),
        (sets(KVP=None), ""),
        (sets(PhotometricInterpretation=None), "PhotometricInterpretation is missing or empty (Type 1)"),
        (lambda made: made.__delattr__("AcquisitionNumber"), "AcquisitionNumber is missing (Type 2)"),
        (sets(RescaleType=""), "not whole HU"),
        (sets(RescaleSlope=2), "not whole HU"),
        (sets(Rows=5), "Rows is 5 where the source has 4"),
        (sets(PixelData=bytes(50)), "PixelData has 50 bytes, not 48"),
        (sets(BitsStored=12, HighBit=11), "BitsAllocated, BitsStored, HighBit, PixelRepresentation"),
        (sets(BurnedInAnnotation=""), "BurnedInAnnotation is missing"),
        (sets(SeriesDescription="x" * 65), "SeriesDescription is longer than 64"),
        (sets(DerivationDescription="x" * 1025), "DerivationDescription is longer than 1024"),
        (sets(DerivationDescription=""), "DerivationDescription is missing"),
        (lambda made: made.add_new(0x00280106, "SS", 0), "SmallestImagePixelValue is of the source's pixels"),
        (lambda made: sets(PurposeOfReferenceCodeSequence=[])(made.SourceImageSequence[0]), "purpose of reference"),
        (
            lambda made: sets(CodeValue="121320")(made.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0]),
            "purpose of reference of the source image is not 121322",
        ),
        (lambda made: sets(SpatialLocationsPreserved="NO")(made.SourceImageSequence[0]), "SpatialLocationsPreserved"),
        (
            lambda made: sets(ReferencedSOPInstanceUID="1.2")(made.SourceImageSequence[0]),
            "SourceImageSequence does not",
        ),
        (sets(SourceImageSequence=[]), "SourceImageSequence does not name the source"),
        (sets(ReferencedSeriesSequence=[]), "ReferencedSeriesSequence does not name the source"),
        (sets(ContributingEquipmentSequence=[]), "does not end with this node"),
        (lambda made: sets(DeviceUID="1.2.3")(made.ContributingEquipmentSequence[-1]), "does not end with this node"),
    ],
)
def test_what_is_wrong_is_found(workshop: Any, change: Callable[[Dataset], None], finding: str) -> None:
    found = judged(workshop, change)
    assert finding in found
    assert bool(found) == bool(finding)


def test_a_code_made_up_is_found(workshop: Any) -> None:
    def harmonized(made: Dataset) -> None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "H1", "99HARM", "Harmonization"
        made.DerivationCodeSequence = [code]

    assert "DerivationCodeSequence has 99HARM H1 Harmonization" in judged(workshop, harmonized)


def test_lost_lossiness_is_found(workshop: Any) -> None:
    found = judged(workshop, sets(LossyImageCompression="00"), sets(LossyImageCompression="01"))
    assert "LossyImageCompression is not 01" in found


def test_lost_padding_is_found(workshop: Any) -> None:
    def padded(source: Dataset) -> None:
        source.PixelPaddingValue = 4095

    assert "PixelPaddingValue is lost" in judged(workshop, lambda made: made.__delattr__("PixelPaddingValue"), padded)

    def unsigned(made: Dataset) -> None:
        made.add_new(0x00280120, "US", 63536)

    assert "PixelPaddingValue has the VR US" in judged(workshop, unsigned, padded)


def test_replaced_equipment_is_found(workshop: Any) -> None:
    def anonymised(source: Dataset) -> None:
        before = Dataset()
        before.Manufacturer = "Anonymiser"
        source.ContributingEquipmentSequence = [before]

    def forget(made: Dataset) -> None:
        made.ContributingEquipmentSequence = made.ContributingEquipmentSequence[1:]

    assert "replaced where it should be appended to" in judged(workshop, forget, anonymised)


def test_file_meta_that_speaks_of_another_object_is_found(workshop: Any) -> None:
    [path] = workshop.source()
    [derived] = workshop.derive([path])
    made = dcmread(derived.path)
    made.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found = "; ".join(findings(made, read_header(path)))
    assert "MediaStorageSOPInstanceUID is not the SOPInstanceUID" in found
    assert "not Explicit VR Little Endian" in found
