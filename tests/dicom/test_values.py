from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from node.dicom.headers import read_header
from node.dicom.values import items, number, numbers, plain_values, text, texts, uid_of
from node.errors import InvalidObject


def raw(header: Dataset, keyword: str, vr: str, value: bytes) -> Dataset:
    """Put bytes of any kind into an element, as a file may hold them."""
    tag = Tag(keyword)
    header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return header


@pytest.fixture
def header(crafted: Any) -> Dataset:
    return read_header(crafted.one())


def test_values_are_plain_python(header: Dataset) -> None:
    values = dict(plain_values(header))
    assert values["ImageType"] == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert values["SliceThickness"] == 2.0
    assert type(values["KVP"]) is float
    assert type(values["Rows"]) is int
    assert type(values["InstanceNumber"]) is int
    assert type(values["SOPInstanceUID"]) is str
    assert type(values["PatientName"]) is str
    assert values["PixelSpacing"] == (0.7, 0.6)


def test_sequences_bulk_and_private_attributes_are_left_out(header: Dataset) -> None:
    header.ReferencedImageSequence = [Dataset()]
    header.add_new(0x00090010, "LO", "ACME")
    header.add_new(0x60000010, "US", 8)
    keywords = dict(plain_values(header)).keys()
    assert not {"ReferencedImageSequence", "PixelData", "", "OverlayRows"} & keywords


def test_padding_and_emptiness_go(header: Dataset) -> None:
    raw(header, "SeriesDescription", "LO", b" CHEST \0")
    raw(header, "StudyDescription", "LO", b"   ")
    raw(header, "BodyPartExamined", "CS", b"")
    assert text(header, "SeriesDescription") == "CHEST"
    assert text(header, "StudyDescription") == text(header, "BodyPartExamined") == text(header, "ProtocolName") == ""
    assert texts(header, "StudyDescription") == ()
    assert dict(plain_values(header))["StudyDescription"] is None


@pytest.mark.parametrize("value", [b"nan", b"NaN ", b"inf", b"-Infinity ", b"abc", b"1,5", b"1e999", b"0x10", b"1\\2"])
def test_what_is_no_number_names_instance_and_keyword(header: Dataset, value: bytes) -> None:
    with pytest.raises(InvalidObject, match=r"RescaleSlope \(0028,1053\) cannot be read") as caught:
        number(raw(header, "RescaleSlope", "DS", value), "RescaleSlope")
    assert caught.value.sop_instance_uid == "1.2.3.4.0"


@pytest.mark.parametrize(("vr", "value"), [("LO", b"1 "), ("US", b"\1\0"), ("OB", b"1 "), ("SQ", b"")])
def test_a_wrong_vr_of_a_number_that_counts_is_named(header: Dataset, vr: str, value: bytes) -> None:
    with pytest.raises(InvalidObject, match=r"RescaleSlope \(0028,1053\)"):
        number(raw(header, "RescaleSlope", vr, value), "RescaleSlope")


def test_an_unknown_vr_is_read_by_the_dictionary(header: Dataset) -> None:
    assert number(raw(header, "RescaleSlope", "UN", b"2.5 "), "RescaleSlope") == 2.5


@pytest.mark.parametrize("value", [b"\1", b"\1\0\0"])
def test_binary_numbers_of_odd_length_are_named(header: Dataset, value: bytes) -> None:
    with pytest.raises(InvalidObject, match=r"Rows \(0028,0010\)"):
        number(raw(header, "Rows", "US", value), "Rows")


def test_a_decimal_in_an_integer_string_is_taken(header: Dataset) -> None:
    assert number(raw(header, "XRayTubeCurrent", "IS", b"287.5 "), "XRayTubeCurrent") == 287.5
    assert number(raw(header, "XRayTubeCurrent", "IS", b"287.0 "), "XRayTubeCurrent") == 287


def test_a_missing_number_among_several_is_named(header: Dataset) -> None:
    with pytest.raises(InvalidObject, match="PixelSpacing"):
        numbers(raw(header, "PixelSpacing", "DS", b"0.7\\"), "PixelSpacing")
    assert numbers(raw(header, "PixelSpacing", "DS", b""), "PixelSpacing") == ()


def test_the_message_never_shows_a_text(header: Dataset) -> None:
    """A text that cannot be read may be the patient's."""
    raw(header, "SpecificCharacterSet", "CS", b"ISO 2022 IR 87")
    raw(header, "PatientID", "OB", b"SECRET")
    with pytest.raises(InvalidObject) as caught:
        list(plain_values(header))
    assert "PatientID" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_pixel_values_of_either_sign_are_told_by_the_representation(data: Path) -> None:
    for name in ("LittleEndianImplicit-1.2.840.10008.1.2.dcm", "BigEndianExplicit-1.2.840.10008.1.2.2.dcm"):
        assert number(read_header(data / "syntaxes/ct-image" / name), "PixelPaddingValue") == -32768


def test_the_uid_is_told_even_of_what_cannot_be_read(header: Dataset) -> None:
    assert uid_of(header) == "1.2.3.4.0"
    assert uid_of(raw(header, "SOPInstanceUID", "OB", b"1.2.9\0")) == "1.2.9"
    del header["SOPInstanceUID"]
    assert uid_of(header) is None


def test_items_of_what_is_no_sequence_are_named(header: Dataset) -> None:
    assert items(header, "ContributingEquipmentSequence") == ()
    with pytest.raises(InvalidObject, match="ContributingEquipmentSequence"):
        items(raw(header, "ContributingEquipmentSequence", "LO", b"ours"), "ContributingEquipmentSequence")


def test_real_headers_are_all_readable(data: Path) -> None:
    paths = [path for path in sorted(data.rglob("*.dcm")) if path.name[:3] in {"000", "001"} or "syntaxes" in str(path)]
    assert len(paths) > 20
    for path in paths:
        assert len(dict(plain_values(read_header(path)))) > 40, path
