"""The attributes of a derived instance, line by line of PS3.3 and against the source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node import __version__
from node.config import Derive
from node.derive.header import header
from node.derive.making import making
from node.derive.pixels import Representation
from node.dicom.headers import read_header
from node.dicom.uids import derived_instance_uid, derived_series_uid, is_own_device, is_valid
from node.dicom.volume import load_volume
from node.errors import PermanentError
from node.plugin import Measurement, Method, Quantity

METHOD = Method("sharpener", "2", "Made sharper.", "ab" * 32)


def test_it_is_a_derived_ct_image_of_a_new_series_in_the_same_study(workshop: Any) -> None:
    derived = workshop.one()
    assert derived.SOPClassUID == derived.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert derived.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
    assert derived.SOPInstanceUID == derived_instance_uid("1.2.826.0.1.1", "sharpener", "2", "ab" * 32)
    assert derived.SeriesInstanceUID == derived_series_uid("1.2.826.0.2", "sharpener", "2", "ab" * 32)
    assert derived.StudyInstanceUID == "1.2.826.0.1"
    assert derived.SeriesNumber == 9003
    assert derived.SeriesDescription == "Harmonized Thorax 1.0 B70f"
    assert derived.InstanceNumber == 1
    assert (derived.PatientID, derived.PatientName, derived.AccessionNumber) == ("P1", "Doe^Jane", "A1")
    assert derived.ConvolutionKernel == "B70f"
    assert derived.WindowCenter == [-600, 40]
    assert derived.BurnedInAnnotation == "NO"
    assert (derived.RescaleSlope, derived.RescaleIntercept, derived.RescaleType) == (1, 0, "HU")
    assert derived.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert is_valid(derived.file_meta.ImplementationClassUID)


def test_other_parameters_make_other_objects(workshop: Any) -> None:
    first = workshop.one(method=Method("sharpener", "2", "", "ab"))
    for method in (Method("sharpener", "2", "", "ac"), Method("sharpener", "3", "", "ab"), Method("s", "2", "", "ab")):
        other = workshop.one(method=method)
        assert other.SOPInstanceUID != first.SOPInstanceUID
        assert other.SeriesInstanceUID != first.SeriesInstanceUID


def test_values_are_copied_byte_for_byte(workshop: Any) -> None:
    def odd(source: Dataset) -> None:
        source.PixelSpacing = ["0.70000", "7e-1"]
        source.ImagePositionPatient = ["-001.50", "+2", "3.000000"]
        source.SliceThickness = "1.00"
        source.IrradiationEventUID = "1.2.826.0.9"
        source.PatientIdentityRemoved = "YES"
        source.DeidentificationMethod = "by hand"
        source.CTDIvol = 18.880733944954127

    [path] = workshop.source(odd)
    [derived] = workshop.derive([path])
    for value in (b"0.70000\\7e-1", b"-001.50\\+2\\3.000000", b"1.00", b"1.2.826.0.9", b"by hand"):
        assert path.read_bytes().count(value) == 1
        assert derived.path.read_bytes().count(value) == 1
    assert workshop.one(odd).CTDIvol == 18.880733944954127


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_any_uncompressed_syntax_gives_the_same_object(workshop: Any, syntax: Any) -> None:
    def rich(source: Dataset) -> None:
        source.CTDIvol = 18.9
        source.TableSpeed = 31.3
        source.VOILUTFunction = "LINEAR"
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
        item.ReferencedFrameNumber = 7
        source.ReferencedImageSequence = [item]

    def rich_in_syntax(source: Dataset) -> None:
        rich(source)
        source.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            source.PixelData = bytes(
                value for pair in zip(*[iter(source.PixelData)] * 2, strict=True) for value in pair[::-1]
            )

    [plain], [other] = workshop.derive(workshop.source(rich)), workshop.derive(workshop.source(rich_in_syntax))
    assert other.sha256 == plain.sha256


def test_what_is_of_the_source_alone_is_not_copied(workshop: Any) -> None:
    def laden(source: Dataset) -> None:
        source.SmallestImagePixelValue, source.LargestImagePixelValue = 0, 23
        source.add_new(0x60000010, "US", 4)
        source.add_new(0x60003000, "OW", b"\0\0\0\0")
        source.add_new(0x50000010, "US", 4)
        source.OverlayDate = "20260504"
        source.IconImageSequence = [Dataset()]
        source.OriginalAttributesSequence = [Dataset()]
        source.MACParametersSequence = [Dataset()]
        source.DigitalSignaturesSequence = [Dataset()]
        source.SOPInstanceStatus = "AO"
        source.PerformedProcedureStepID = "PPS1"
        source.ReferencedPerformedProcedureStepSequence = [Dataset()]
        source.DeviceUID = "1.2.3"
        source.add_new(0x00080000, "UL", 42)
        source.private_block(0x0029, "ACME", create=True).add_new(1, "LO", "secret")
        item = Dataset()
        item.ReferencedSOPInstanceUID = "1.2.3.4"
        item.private_block(0x0029, "ACME", create=True).add_new(1, "LO", "secret")
        source.ReferencedImageSequence = [item]

    derived = workshop.one(laden)
    gone = [element for element in derived.iterall() if element.tag.is_private or element.tag.group in (0x5000, 0x6000)]
    assert gone == []
    for keyword in (
        *("SmallestImagePixelValue", "LargestImagePixelValue", "OverlayDate", "IconImageSequence", "SOPInstanceStatus"),
        *(
            "OriginalAttributesSequence",
            "MACParametersSequence",
            "DigitalSignaturesSequence",
            "PerformedProcedureStepID",
        ),
        *("ReferencedPerformedProcedureStepSequence", "DeviceUID", "DeviceSerialNumber"),
    ):
        assert keyword not in derived
    assert 0x00080000 not in derived
    assert derived.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"

    kept = workshop.one(laden, keep_private_tags=True, keep_performed_procedure_step=True)
    assert kept[0x00291001].value == "secret"
    assert kept.ReferencedImageSequence[0][0x00291001].value == "secret"
    assert kept.PerformedProcedureStepID == "PPS1"
    assert "SmallestImagePixelValue" not in kept


def test_the_node_is_the_equipment_and_the_scanner_contributed(workshop: Any) -> None:
    def scanned_and_anonymised(source: Dataset) -> None:
        before = Dataset()
        before.Manufacturer = "Anonymiser"
        source.ContributingEquipmentSequence = [before]
        source.DeviceUID = "1.2.3"
        source.InstitutionName = "Hospital"

    derived = workshop.one(scanned_and_anonymised, manufacturer="Radiology IT", station_name="NODE1")
    assert (derived.Manufacturer, derived.ManufacturerModelName) == ("Radiology IT", "harmonode sharpener")
    assert (derived.StationName, derived.InstitutionName) == ("NODE1", "Hospital")
    assert derived.SoftwareVersions == [f"harmonode {__version__}", "sharpener 2"]

    earlier, scanner, node = derived.ContributingEquipmentSequence
    assert earlier.Manufacturer == "Anonymiser"
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert (scanner.Manufacturer, scanner.ManufacturerModelName, scanner.SoftwareVersions) == ("ACME", "Scan 1", "v1")
    assert (scanner.DeviceSerialNumber, scanner.DeviceUID, scanner.InstitutionName) == ("42", "1.2.3", "Hospital")
    assert scanner.ContributionDateTime == "20260504101530.5"
    [purpose] = node.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning) == (
        "109102",
        "DCM",
        "Processing Equipment",
    )
    assert is_own_device(node.DeviceUID)
    assert node.DeviceUID == derived.InstanceCreatorUID
    assert node.ContributionDateTime == "20260504223015.123456+0000"
    assert "sharpener 2" in node.ContributionDescription


def test_a_scanner_without_a_name_is_not_invented(workshop: Any) -> None:
    def nameless(source: Dataset) -> None:
        source.Manufacturer = ""

    [node] = workshop.one(nameless).ContributingEquipmentSequence
    assert node.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_the_device_uid_is_new_with_a_new_version(workshop: Any) -> None:
    first, second = (workshop.one(method=Method("sharpener", version, "", "ab")) for version in ("1", "2"))
    uids = [each.ContributingEquipmentSequence[-1].DeviceUID for each in (first, second)]
    assert uids[0] != uids[1]
    assert all(map(is_own_device, uids))


def test_it_names_its_source(workshop: Any) -> None:
    def with_localizer(source: Dataset) -> None:
        own, other = Dataset(), Dataset()
        own.SeriesInstanceUID, other.SeriesInstanceUID = "1.2.826.0.2", "1.2.826.0.7"
        source.ReferencedSeriesSequence = [own, other]
        raw_data = Dataset()
        raw_data.ReferencedSOPInstanceUID = "1.2.3.4"
        source.SourceImageSequence = [raw_data]

    derived = workshop.one(with_localizer)
    [image] = derived.SourceImageSequence
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (derived.SOPClassUID, "1.2.826.0.1.1")
    assert image.SpatialLocationsPreserved == "YES"
    [purpose] = image.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("121322", "DCM")
    assert purpose.CodeMeaning == "Source image for image processing operation"
    other, own = derived.ReferencedSeriesSequence
    assert (other.SeriesInstanceUID, own.SeriesInstanceUID) == ("1.2.826.0.7", "1.2.826.0.2")
    assert own.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == "1.2.826.0.1.1"


@pytest.mark.parametrize(
    ("sharpens", "smooths", "codes"),
    [
        (True, False, [("113086", "Edge enhancement")]),
        (False, True, [("113087", "Smoothing")]),
        (True, True, [("113086", "Edge enhancement"), ("113087", "Smoothing")]),
    ],
)
def test_the_codes_follow_the_direction(workshop: Any, sharpens: bool, smooths: bool, codes: Any) -> None:
    derived = workshop.one(method=Method("filter", "1", "", "ab", sharpens=sharpens, smooths=smooths))
    assert [(code.CodeValue, code.CodeMeaning) for code in derived.DerivationCodeSequence] == codes
    assert {code.CodingSchemeDesignator for code in derived.DerivationCodeSequence} == {"DCM"}


def test_neither_sharper_nor_smoother_has_no_code(workshop: Any) -> None:
    assert "DerivationCodeSequence" not in workshop.one()


def test_the_description_tells_method_version_weights_and_figures(workshop: Any) -> None:
    figures = {
        "f50": Quantity(0.3123456, "/mm", 0.30, 0.32),
        "f10": Quantity(0.6, "/mm"),
        "segments": Quantity(212, "1"),
        "noise": Quantity(40.4211, "[hnsf'U]"),
    }
    told = workshop.one(measurement=Measurement(quantities=figures)).DerivationDescription
    assert told == (
        f"harmonode {__version__}, method sharpener 2, fingerprint {'ab' * 32}. Made sharper. "
        "Figures of the source: f50 0.3123 /mm (0.3 to 0.32), f10 0.6 /mm, segments 212, noise 40.42 HU"
    )


def test_a_long_description_loses_figures_and_not_the_weights(workshop: Any) -> None:
    figures = {f"figure number {index}": Quantity(index, "/mm") for index in range(100)}
    method = Method("sharpener", "2", "x" * 900, "ab" * 32)
    told = workshop.one(method=method, measurement=Measurement(quantities=figures)).DerivationDescription
    assert len(told) <= 1024
    assert "ab" * 32 in told
    assert "figure number 0 0 /mm" in told or told.endswith("x")


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("3", 9003),
        ("", 9000),
        (None, 9000),
        ("3000566", 3009566),
        ("2147480000", 9000),
        ("-5", 8995),
        ("1.0", 9001),
    ],
)
def test_series_number(workshop: Any, given: str | None, made: int) -> None:
    def numbered(source: Dataset) -> None:
        del source.SeriesNumber
        if given is not None:
            source.add_new(0x00200011, "LO", given)  # whatever the source claims

    paths = workshop.source(numbered)
    paths[0].write_bytes(paths[0].read_bytes().replace(b"\x20\x00\x11\x00LO", b"\x20\x00\x11\x00IS"))
    [derived] = workshop.derive(paths)
    assert dcmread(derived.path).SeriesNumber == made


def test_times_are_when_it_was_made_in_the_zone_of_the_source(workshop: Any, made_at: datetime) -> None:
    def of_zone(offset: str) -> Any:
        def change(source: Dataset) -> None:
            source.TimezoneOffsetFromUTC = offset

        return change

    for offset, date, time in (("+0530", "20260505", "040015.123456"), ("-0400", "20260504", "183015.123456")):
        derived = workshop.one(of_zone(offset))
        for keyword in ("Series", "Content", "InstanceCreation"):
            assert derived[f"{keyword}Date"].value == date
            assert derived[f"{keyword}Time"].value == time
        assert derived.TimezoneOffsetFromUTC == offset
        assert (derived.StudyDate, derived.AcquisitionTime) == ("20260504", "101530.5")
    here = made_at.astimezone()
    for unusable in ("local", "+9900"):
        assert workshop.one(of_zone(unusable)).SeriesTime == f"{here:%H%M%S.%f}"
    plain = workshop.one()
    assert plain.SeriesTime == f"{here:%H%M%S.%f}"
    assert "TimezoneOffsetFromUTC" not in plain


def test_the_same_moment_in_another_zone_is_the_same_object(workshop: Any) -> None:
    paths = workshop.source()
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    [first] = workshop.derive(paths, made_at=moment)
    [second] = workshop.derive(paths, made_at=moment.astimezone(timezone(timedelta(hours=9))))
    assert first.sha256 == second.sha256
    with pytest.raises(ValueError, match="no time zone"):
        workshop.derive(paths, made_at=datetime(2026, 1, 2))  # noqa: DTZ001


def test_lossy_stays_lossy(workshop: Any) -> None:
    def lossy(source: Dataset) -> None:
        source.LossyImageCompression, source.LossyImageCompressionRatio = "01", 12
        source.LossyImageCompressionMethod = "ISO_15444_1"

    derived = workshop.one(lossy)
    assert derived.LossyImageCompression == "01"
    assert (derived.LossyImageCompressionRatio, derived.LossyImageCompressionMethod) == (12, "ISO_15444_1")
    assert "LossyImageCompression" not in workshop.one()


@pytest.mark.parametrize(
    ("syntax", "flag", "made"),
    [
        ("50", None, b"01"),  # JPEG Baseline is lossy whatever is said
        ("51", "00", b"01"),
        ("91", None, b"01"),  # JPEG 2000 may be
        ("91", "00", b"00"),
        ("81", "01", b"01"),
        ("70", None, None),
        ("90", "00", b"00"),
    ],
)
def test_lossiness_follows_from_the_syntax_where_the_flag_is_missing(
    workshop: Any, made_at: datetime, syntax: str, flag: str | None, made: bytes | None
) -> None:
    def flagged(source: Dataset) -> None:
        if flag:
            source.LossyImageCompression = flag

    source = read_header(workshop.source(flagged)[0])
    source.file_meta.TransferSyntaxUID = UID(f"1.2.840.10008.1.2.4.{syntax}")
    elements = header(source, making(METHOD, Measurement(), Derive(), made_at), Representation(0, None))
    element = elements.get(0x00282110)
    assert (element and element[8:]) == made


def test_burned_in_text_is_not_denied(workshop: Any) -> None:
    def burned(source: Dataset) -> None:
        source.BurnedInAnnotation = "YES"

    assert workshop.one(burned).BurnedInAnnotation == "YES"


def test_what_type_2_lacks_is_filled_with_nothing(workshop: Any) -> None:
    absent = (
        "PatientBirthDate",
        "AcquisitionNumber",
        "StudyTime",
        "KVP",
        "PositionReferenceIndicator",
        "InstanceNumber",
    )

    def poor(source: Dataset) -> None:
        for keyword in absent:
            delattr(source, keyword)

    derived = workshop.one(poor)
    for keyword in absent:
        assert keyword in derived
        assert not derived[keyword].value


@pytest.mark.parametrize(
    ("body_part", "sides"), [("CHEST", False), ("HEAD", False), ("LUNG", True), ("THORAX", True), (None, True)]
)
def test_laterality_is_unknown_unless_the_body_part_has_no_sides(
    workshop: Any, judge: Any, body_part: str | None, sides: bool
) -> None:
    def of_part(source: Dataset) -> None:
        source.BodyPartExamined = body_part

    [path] = [one.path for one in workshop.derive(workshop.source(of_part))]
    assert ("Laterality" in dcmread(path)) == sides
    assert judge("dciodvfy", [path]) == []


def test_an_element_that_nobody_could_read_stops_the_series_with_its_uid(workshop: Any) -> None:
    def sequence(source: Dataset) -> None:
        source.add_new(0x00081140, "OB", b"\xfe\xff\x00\xe0\x08\x00\x00\x00\x08\x00\x50\x11ZZ\xff\xff")

    paths = workshop.source(sequence)
    paths[0].write_bytes(paths[0].read_bytes().replace(b"\x08\x00\x40\x11OB", b"\x08\x00\x40\x11SQ"))
    loaded = load_volume(paths)
    reason = r"header of instance 1\.2\.826\.0\.1\.1 cannot be copied: \(0008,1150\) has the VR 'ZZ'.*stopped"
    with pytest.raises(PermanentError, match=reason):
        workshop.derive([], loaded=loaded)


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "PhotometricInterpretation", "ImageOrientationPatient"])
def test_what_type_1_lacks_is_never_invented(workshop: Any, keyword: str) -> None:
    def without(source: Dataset) -> None:
        delattr(source, keyword)

    def empty(source: Dataset) -> None:
        source[keyword].value = None

    for change in (without, empty):
        with pytest.raises(PermanentError, match=rf"1\.2\.826\.0\.1\.1 has no {keyword}.*stopped"):
            workshop.derive([], loaded=workshop.unloaded(change))


def test_a_sequence_hidden_as_unknown_is_understood(workshop: Any) -> None:
    """UN with a defined length is Implicit VR Little Endian inside, PS3.5 section 6.2.2."""
    item = b"\x08\x00\x55\x11\x08\x00\x00\x001.2.3.4\x00"
    hidden = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item

    def unknown(source: Dataset) -> None:
        source.add_new(0x00081140, "OB", hidden)

    paths = workshop.source(unknown)
    paths[0].write_bytes(paths[0].read_bytes().replace(b"\x08\x00\x40\x11OB", b"\x08\x00\x40\x11UN"))
    [derived] = workshop.derive(paths)
    assert dcmread(derived.path).ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
