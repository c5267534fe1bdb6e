from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.dicom import headers
from node.dicom.headers import pixel_data, read_header
from node.dicom.regular import read_regular


def is_regular(path: Path) -> bool:
    with path.open("rb") as file:
        return read_regular(file, path.stat().st_size) is not None


@pytest.fixture
def carefully(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a header as what is not regular is read."""

    def read(path: Path) -> Dataset:
        with monkeypatch.context() as patch:
            patch.setattr(headers, "_regular", lambda _file: None)
            return read_header(path)

    return read


def nested(made: Any, _index: int) -> None:
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = "Chest"
    outer.AnatomicRegionSequence = Sequence([inner])
    outer.ReferencedSOPInstanceUID = "1.2.3"
    made.ReferencedImageSequence = Sequence([outer, Dataset()])
    for element in (made["ReferencedImageSequence"], outer["AnatomicRegionSequence"]):
        element.is_undefined_length = True
        for item in element.value:
            item.is_undefined_length_sequence_item = True
    made.PatientName = "Müller^Änne"
    made.AccessionNumber = ""
    made.add_new(0x00091001, "UN", b"whatever")


def test_a_sequence_of_unknown_length_is_regular(crafted: Any, carefully: Any) -> None:
    path = crafted.one(change=nested)
    assert is_regular(path)
    assert b"\xff\xff\xff\xff" in path.read_bytes()
    header = read_header(path)
    assert header == carefully(path)
    assert header.ReferencedImageSequence[0].AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert str(header.PatientName) == "Müller^Änne"


def test_both_ways_read_the_same(data: Path, carefully: Any) -> None:
    """Every real file but the two that are encoded otherwise."""
    otherwise = {"BigEndianExplicit", "DeflatedExplicitVRLittleEndian"}
    for path in [*sorted((data / "syntaxes").rglob("*.dcm")), *sorted((data / "odd").rglob("*.dcm"))]:
        assert is_regular(path) == (path.name.split("-")[0] not in otherwise), path.name
        header, other = read_header(path), carefully(path)
        assert header == other, path.name
        assert (header.file_meta, header.original_character_set) == (other.file_meta, other.original_character_set)
        assert pixel_data(header) == pixel_data(other), path.name


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_says_another_syntax_than_it_has_is_not_regular(crafted: Any, syntax: str) -> None:
    path = crafted.one()
    told, other = b"1.2.840.10008.1.2.1\0", syntax.encode().ljust(20, b"\0")[:20]
    path.write_bytes(path.read_bytes().replace(told, other, 1))
    assert not is_regular(path)


def test_a_long_header_is_read_on(crafted: Any, carefully: Any) -> None:
    def long(made: Any, _index: int) -> None:
        made.add_new(0x00091001, "OB", bytes(200_000))

    path = crafted.one(change=long)
    assert is_regular(path)
    assert read_header(path) == carefully(path)
