from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from node.dicom.facts import PRESENT, examine, left_out, series_facts
from node.dicom.headers import read_header
from node.dicom.uids import device_uid
from node.series import SeriesFacts, TagValues


def facts_of(paths: list[Path], made_here: Any = lambda _uid: False) -> SeriesFacts:
    return series_facts([read_header(path) for path in paths], "SCANNER", "HARMONODE", made_here)


def real(folder: Path) -> SeriesFacts:
    return facts_of(sorted(folder.glob("*.dcm")))


@pytest.fixture
def sound(crafted: Any) -> SeriesFacts:
    return facts_of(crafted.series(5))


def test_a_sound_series(sound: SeriesFacts) -> None:
    assert (sound.study_instance_uid, sound.series_instance_uid) == ("1.2.3", "1.2.3.4")
    assert (sound.calling_ae_title, sound.called_ae_title) == ("SCANNER", "HARMONODE")
    assert sound.number_of_slices == 5
    assert sound.orientation == "axial"
    assert sound.gantry_tilt_deg == 0
    assert sound.slice_spacing_mm == 2.0
    assert sound.spacing_uniform is True
    assert sound.z_extent_mm == 10.0  # 4 distances and a thickness
    assert sound.never == ()
    assert sound.malformed == ()


def test_tags_hold_each_distinct_value_and_count_what_is_missing(crafted: Any) -> None:
    def mixed(made: Dataset, index: int) -> None:
        made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if index else ["ORIGINAL", "SECONDARY", "AXIAL"]
        made.XRayTubeCurrent = 100 + index
        if index in (1, 2):
            del made.KVP
        if index == 3:
            made.SeriesDescription = ""

    tags = facts_of(crafted.series(5, mixed)).tags
    assert set(tags["ImageType"].values) == {("ORIGINAL", "PRIMARY", "AXIAL"), ("ORIGINAL", "SECONDARY", "AXIAL")}
    assert tags["XRayTubeCurrent"] == TagValues((100, 101, 102, 103, 104))
    assert tags["KVP"] == TagValues((120.0,), missing=2)
    assert tags["SeriesDescription"] == TagValues(("CHEST",), missing=1)
    assert tags["PixelData"] == TagValues((PRESENT,))


def test_facts_survive_json(data: Path, crafted: Any) -> None:
    folders = ("chest/lidc-0002-incomplete", "phantom/head-ub", "phantom/head-localizer", "odd")
    for facts in (facts_of(crafted.series(3)), *(real(data / folder) for folder in folders)):
        assert SeriesFacts.from_json(json.loads(json.dumps(facts.to_json(), allow_nan=False))) == facts


def test_facts_do_not_say_who_the_patient_is(crafted: Any) -> None:
    def laden(made: Dataset, _index: int) -> None:
        made.OtherPatientIDs, made.PatientAddress, made.ReferringPhysicianName = "SECRET-2", "SECRET-3", "SECRET^4"
        made.ImageComments, made.PatientAge = "SECRET-5", "070Y"

    stored = json.dumps(facts_of(crafted.series(2, laden)).to_json())
    for secret in ("SECRET", "Doe", "Jane", "1950", "20240102", "A77"):
        assert secret not in stored
    assert "070Y" in stored


@pytest.mark.parametrize(
    ("keyword", "why"),
    [
        ("PatientName", "identify"),
        ("OperatorsName", "identify"),
        ("AccessionNumber", "identify"),
        ("PatientBirthDate", "identify"),
        ("StudyDate", "dates"),
        ("ContentTime", "dates"),
        ("SOPInstanceUID", "each instance"),
        ("ImagePositionPatient", "each instance"),
        ("ImageComments", "long"),
    ],
)
def test_what_is_left_out_has_its_reason(sound: SeriesFacts, keyword: str, why: str) -> None:
    assert why in str(left_out(keyword))
    assert keyword not in sound.tags


def test_what_is_kept_is_not_said_to_be_left_out(sound: SeriesFacts) -> None:
    assert sound.tags
    assert all(left_out(keyword) is None for keyword in sound.tags)


# Never a candidate ------------------------------------------------------------------------------------------------


def test_real_series_and_why_they_are_no_candidates(data: Path) -> None:
    assert real(data / "chest/lung-dx-a0002-b70f").never == ()
    assert real(data / "chest/lidc-0002-incomplete").never == ()  # ORIGINAL\SECONDARY; the rules find it too short
    localizer = real(data / "phantom/head-localizer")
    assert localizer.never == ("Image Type (0008,0008) says LOCALIZER in 1 of 1 instances",)
    perfusion = facts_of([data / "odd/enhanced-ct-perfusion.dcm"])
    assert "Enhanced CT is received and kept but not harmonized" in perfusion.never
    assert any("DERIVED" in reason for reason in perfusion.never)
    report = facts_of([data / "odd/no-pixel-data.dcm"])
    assert any("no Pixel Data" in reason for reason in report.never)
    assert any("Basic Text SR" in reason for reason in report.never)
    for facts in (localizer, perfusion, report):
        assert facts.malformed == ()


def test_a_real_chest(data: Path) -> None:
    # The first file of this series may be cut short where the data were copied; the others are whole.
    facts = facts_of(sorted((data / "chest/lidc-0001").glob("*.dcm"))[1:])
    assert facts.number_of_slices == 83
    assert facts.slice_spacing_mm == 2.5
    assert facts.spacing_uniform is True
    assert facts.z_extent_mm == pytest.approx(83 * 2.5)
    assert facts.tags["ConvolutionKernel"].values == ("STANDARD",)
    assert facts.never == facts.malformed == ()


def test_a_real_tilted_head(data: Path) -> None:
    facts = real(data / "phantom/head-tilted-uneven")
    assert facts.gantry_tilt_deg == pytest.approx(18.5, abs=0.01)
    assert facts.orientation == "axial"
    assert facts.slice_spacing_mm == pytest.approx(4.0, abs=0.01)  # along the normal; 4.22 along the table
    assert facts.tags["GantryDetectorTilt"].values == (18.5,)
    assert facts.malformed == ()


def _ours(made: Dataset, index: int) -> None:
    if index == 1:
        equipment = Dataset()
        equipment.DeviceUID = device_uid("any model", "7")
        made.ContributingEquipmentSequence = [Dataset(), equipment]


def _sets(keyword: str, value: Any, *, only: int | None = 1) -> Any:
    def change(made: Dataset, index: int) -> None:
        if only in {None, index}:
            setattr(made, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_ours, "1 of 3 instances carry a Device UID (0018,1002) of this software as Contributing Equipment"),
        (
            _sets("ImageType", ["DERIVED", "SECONDARY", "AXIAL"]),
            "Image Type (0008,0008) says DERIVED in 1 of 3 instances",
        ),
        (_sets("ImageType", ["derived "]), "Image Type (0008,0008) says DERIVED in 1 of 3 instances"),
        (_sets("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), "says LOCALIZER in 1 of 3"),
        (_sets("Modality", "MR"), "Modality (0008,0060) is not CT in 1 of 3 instances"),
        (_sets("Modality", None), "Modality (0008,0060) is not CT in 1 of 3 instances"),
        (_sets("SOPClassUID", EnhancedCTImageStorage), "Enhanced CT is received and kept but not harmonized"),
        (_sets("SOPClassUID", SecondaryCaptureImageStorage), "no CT Image but Secondary Capture Image Storage"),
        (_sets("PhotometricInterpretation", "PALETTE COLOR"), "1 of 3 instances are not monochrome"),
        (_sets("RescaleType", "Z_EFF"), "by Rescale Type (0028,1054), in Z_EFF"),
    ],
)
def test_one_instance_is_enough_to_be_no_candidate(crafted: Any, change: Any, reason: str) -> None:
    facts = facts_of(crafted.series(3, change))
    assert any(reason in told for told in facts.never), facts.never
    assert facts.malformed == ()


def test_the_loop_guard_knows_what_was_made_here(crafted: Any) -> None:
    facts = facts_of(crafted.series(3), lambda uid: uid == "1.2.3.4.2")
    assert facts.never == ("this node made 1 of its 3 instances, the first is 1.2.3.4.2",)


def test_a_series_without_pixels_is_no_candidate(crafted: Any) -> None:
    def emptied(made: Dataset, _index: int) -> None:
        del made.PixelData

    assert facts_of(crafted.series(2, emptied)).never == ("2 of 2 instances have no Pixel Data (7FE0,0010)",)


def test_missing_slices_make_it_incomplete(crafted: Any) -> None:
    paths = crafted.series(9)
    facts = facts_of([path for index, path in enumerate(paths) if index not in {3, 4, 7}])
    assert facts.never == (
        "incomplete: 2 slices are missing between 14.00 and 20.00 mm along the slice normal",
        "incomplete: 1 slice is missing between 22.00 and 26.00 mm along the slice normal",
    )
    assert facts.spacing_uniform is False


def test_a_declared_tilt_counts_though_positions_do_not_show_it(crafted: Any) -> None:
    assert facts_of(crafted.series(3, _sets("GantryDetectorTilt", -12.5))).gantry_tilt_deg == 12.5


def test_coronal_localizers_in_one_series_with_sagittal_ones_are_not_malformed(crafted: Any) -> None:
    def scouts(made: Dataset, index: int) -> None:
        made.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        made.ImageOrientationPatient = [[1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]][index]

    facts = facts_of(crafted.series(2, scouts))
    assert facts.orientation is None
    assert facts.malformed == ()


# Malformed --------------------------------------------------------------------------------------------------------


def _deletes(keyword: str) -> Any:
    def change(made: Dataset, index: int) -> None:
        if index == 1:
            del made[keyword]

    return change


def _raw(keyword: str, vr: str, value: bytes) -> Any:
    def change(made: Dataset, index: int) -> None:
        if index == 1:
            tag = Tag(keyword)
            made[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    return change


def _odd_one_out(keyword: str, value: Any) -> Any:
    return _sets(keyword, value)


def _same_place(made: Dataset, index: int) -> None:
    if index == 1:
        made.ImagePositionPatient = [-100.0, -90.0, 14.0]


def _short(made: Dataset, index: int) -> None:
    if index == 1:
        made.PixelData = made.PixelData[:-2]


MALFORMED = [
    (_deletes("FrameOfReferenceUID"), "FrameOfReferenceUID (0020,0052) is missing"),
    (_deletes("StudyInstanceUID"), "StudyInstanceUID is missing"),
    (_deletes("SeriesInstanceUID"), "SeriesInstanceUID is missing"),
    (_raw("SeriesInstanceUID", "UI", b"1.2.x "), "SeriesInstanceUID is not a UID"),
    (_sets("Rows", 0), "an image of 0 rows and 8 columns has no pixels"),
    (_deletes("Columns"), "an image of 8 rows and 0 columns has no pixels"),
    (_sets("Rows", 65535), "cut off: 128 bytes"),
    (_raw("Rows", "LO", b"8 "), "Rows (0028,0010) has the value representation LO, not US"),
    (_raw("RescaleSlope", "DS", b"nan "), "RescaleSlope (0028,1053) cannot be read: 'nan'"),
    (_raw("RescaleSlope", "DS", b"inf "), "RescaleSlope (0028,1053) cannot be read"),
    (_raw("RescaleSlope", "DS", b"abc "), "RescaleSlope (0028,1053) cannot be read"),
    (_raw("RescaleSlope", "LO", b"1 "), "RescaleSlope (0028,1053) has the value representation LO, not DS"),
    (_sets("RescaleSlope", 0), "Rescale Slope (0028,1053) is 0"),
    (_deletes("RescaleSlope"), "Rescale Slope (0028,1053) or Rescale Intercept (0028,1052) is missing"),
    (_deletes("RescaleIntercept"), "Rescale Slope (0028,1053) or Rescale Intercept (0028,1052) is missing"),
    (_sets("PixelSpacing", [0.7, 0]), "PixelSpacing (0028,0030) is 0.7 x 0 mm"),
    (_deletes("PixelSpacing"), "PixelSpacing has 0 values, not 2"),
    (_deletes("ImagePositionPatient"), "ImagePositionPatient has 0 values, not 3"),
    (_raw("ImagePositionPatient", "DS", b"1\\2 "), "ImagePositionPatient has 2 values, not 3"),
    (_deletes("ImageOrientationPatient"), "ImageOrientationPatient has 0 values, not 6"),
    (_sets("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "not two perpendicular unit vectors"),
    (_sets("SliceThickness", -1), "SliceThickness (0018,0050) is -1 mm"),
    (_sets("BitsStored", 17), "Bits Allocated 16, Bits Stored 17 and High Bit 11 do not fit each other"),
    (_sets("HighBit", 15), "Bits Allocated 16, Bits Stored 12 and High Bit 15 do not fit each other"),
    (_sets("PixelRepresentation", 2), "Pixel Representation (0028,0103) is 2"),
    (_short, "Pixel Data (7FE0,0010) is cut off: 126 bytes, the header says 128"),
    (_odd_one_out("PatientID", "SECRET-2"), "two patients in one series"),
    (_odd_one_out("PatientName", "Roe^Richard"), "two patients in one series"),
    (_odd_one_out("StudyInstanceUID", "1.2.9"), "StudyInstanceUID differs from the others'"),
    (_odd_one_out("FrameOfReferenceUID", "1.2.9"), "FrameOfReferenceUID (0020,0052) differs from the others'"),
    (_odd_one_out("PixelSpacing", [0.8, 0.8]), "PixelSpacing differs from the others'"),
    (_odd_one_out("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]), "differs from the others' [1"),
    (_raw("XRayTubeCurrent", "IS", b"many"), "XRayTubeCurrent (0018,1151) cannot be read: 'many'"),
    (_raw("ContributingEquipmentSequence", "LO", b"us"), "ContributingEquipmentSequence (0018,A001) cannot be read"),
]


@pytest.mark.parametrize(("change", "reason"), MALFORMED)
def test_what_is_malformed_names_its_instance(crafted: Any, change: Any, reason: str) -> None:
    found = examine([read_header(path) for path in crafted.series(4, change)], "", "", lambda _uid: False)
    assert [flaw.index for flaw in found.flaws] == [1] * len(found.flaws)
    assert any(reason in told and "1.2.3.4.1" in told for told in found.facts.malformed), found.facts.malformed
    assert not any("SECRET" in told or "Roe" in told for told in found.facts.malformed)
    json.dumps(found.facts.to_json(), allow_nan=False)


def test_a_missing_instance_uid_is_told_by_its_place(crafted: Any) -> None:
    headers = [read_header(path) for path in crafted.series(3)]
    del headers[1]["SOPInstanceUID"]
    (flaw,) = examine(headers, "", "", lambda _uid: False).flaws
    assert flaw.index == 1
    assert "SOPInstanceUID is missing" in str(flaw)


def test_mixed_sizes_are_told(crafted: Any) -> None:
    paths = [*crafted.series(3), crafted.one(3, side=6)]
    malformed = facts_of(paths).malformed
    assert any("Rows differs" in told and "1.2.3.4.3" in told for told in malformed)


def test_duplicate_positions_name_both(crafted: Any) -> None:
    (told,) = facts_of(crafted.series(4, _same_place)).malformed
    assert told == "it lies where SOP Instance UID 1.2.3.4.1 lies (SOP Instance UID 1.2.3.4.2)"


def test_cut_off_pixels_are_told(crafted: Any) -> None:
    paths = crafted.series(3)
    paths[1].write_bytes(paths[1].read_bytes()[:-5])
    assert facts_of(paths).malformed == ("Pixel Data (7FE0,0010) is cut off (SOP Instance UID 1.2.3.4.1)",)


def test_a_name_spelt_with_empty_components_is_the_same_patient(crafted: Any) -> None:
    assert facts_of(crafted.series(3, _sets("PatientName", "DOE^Jane^^"))).malformed == ()


def test_what_is_no_slice_need_not_be_one(crafted: Any) -> None:
    """A screen capture or a derived reformat without positions is passed over, not refused."""

    def reformat(made: Dataset, _index: int) -> None:
        made.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "PixelSpacing"):
            del made[keyword]

    facts = facts_of(crafted.series(2, reformat))
    assert facts.malformed == ()
    assert facts.orientation is facts.z_extent_mm is None
