"""The walk finds every way in which a data set can break off, and takes every whole one."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from pynetdicom.dsutils import encode

from node.dicom import part10
from node.dicom.elements import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, Identity, InvalidDataSet, identify

EXPLICIT = str(ExplicitVRLittleEndian)
FORMS = {EXPLICIT: (False, True), IMPLICIT_LITTLE: (True, True), EXPLICIT_BIG: (False, False), DEFLATED: (False, True)}
IDENTITY = Identity("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2", "1.2.3")


def whole() -> Dataset:
    """Sequences of defined and undefined length, nested; a private element; a long one."""
    dataset, item, nested = Dataset(), Dataset(), Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = IDENTITY.sop_class_uid, IDENTITY.sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = IDENTITY.study_instance_uid, IDENTITY.series_instance_uid
    nested.CodeValue, nested.CodeMeaning = "113076", "Segmentation"
    nested.SOPInstanceUID = "9.9.9"  # not the object's own
    item.PurposeOfReferenceCodeSequence = [nested]
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    dataset.ReferencedImageSequence = [item, item]
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.SourceImageSequence = [nested]
    dataset.private_block(0x0009, "TEST", create=True).add_new(1, "OB", bytes(200))
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 8, 8, 16
    dataset.PixelData = bytes(128)
    return dataset


def encoded(syntax: str, dataset: Dataset | None = None) -> bytes:
    implicit, little = FORMS[syntax]
    data = encode(dataset or whole(), implicit, little, deflated=syntax == DEFLATED)
    assert data
    return data


@pytest.mark.parametrize("syntax", FORMS)
def test_a_whole_data_set_is_identified(syntax):
    assert identify(io.BytesIO(encoded(syntax)), syntax) == IDENTITY
    assert identify(io.BytesIO(encoded(syntax) + bytes(4)), syntax) == IDENTITY  # zeros at the end are padding


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_cut_anywhere_but_between_two_elements_it_is_refused(syntax):
    data, dataset = encoded(syntax), whole()
    tags = sorted(dataset.keys())
    ends = {len(encoded(syntax, dataset[: tags[number]])) for number in range(1, len(tags))} | {len(data)}
    passed = set()
    for length in range(len(data) + 1):
        with contextlib.suppress(InvalidDataSet):
            identify(io.BytesIO(data[:length]), syntax)
            passed.add(length)
    assert passed == {end for end in ends if end >= len(encoded(syntax, dataset[:0x0020000F]))}


def test_deflated_it_is_refused_wherever_it_is_cut():
    data = encoded(DEFLATED)
    for length in range(len(data) - 2):  # the last bytes may be padding
        with pytest.raises(InvalidDataSet):
            identify(io.BytesIO(data[:length]), DEFLATED)


def test_real_files_of_every_syntax_are_identified(data):
    for path in (data / "syntaxes").glob("*/*"):
        if path.name == "LICENSE.txt":
            continue
        expected = pydicom.dcmread(path, stop_before_pixels=True)
        with path.open("rb") as file:
            found = identify(file, part10.read(file).transfer_syntax_uid)
        assert found.sop_instance_uid == expected.SOPInstanceUID
        assert found.series_instance_uid == expected.SeriesInstanceUID


def test_real_encapsulated_pixels_that_break_off_are_found(data):
    for path in (data / "syntaxes" / "wg04").glob("CT1_*"):
        with path.open("rb") as file:
            syntax, rest = part10.read(file).transfer_syntax_uid, file.read()
        with pytest.raises(InvalidDataSet, match=r"breaks off inside \(7FE0,0010\)") as caught:
            identify(io.BytesIO(rest[:-3000]), syntax)
        assert caught.value.sop_instance_uid
        assert caught.value.series_instance_uid


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"\x20\x00\x11\x00I?\x02\x001 ", "(0020,0011) before byte 8 has 'I?' where its VR should stand"),
        (b"\x20\x00\x11\x00ZZ\x02\x001 ", "(0020,0011) before byte 8 has 'ZZ' where its VR should stand"),
        (b"\x20\x00\x11\x00UT\x00\x00\xff\xff\xff\xff", "(0020,0011) of VR UT has an undefined length"),
        (b"\x02\x00\x10\x00UI\x02\x001\x00", "(0002,0010) before byte 8 has no place in a data set"),
        (b"\xfe\xff\x00\xe0\x00\x00\x00\x00", "(FFFE,E000) before byte 8 has no place in a data set"),
        (b"\x08\x00\x18\x00UI\x02\x001\x00" * 2, "SOP Instance UID (0008,0018) occurs twice"),
        (b"\x08\x00\x18\x00UI\x48\x001" + b"2" * 71, "SOP Instance UID (0008,0018) is 72 bytes long"),
        (
            b"\xe0\x7f\x10\x00OW\x00\x00\xff\xff\xff\xff\xe0\x7f\x11\x00\x00\x00\x00\x00",
            "(7FE0,0010) has (7FE0,0011) where an item should stand",
        ),
        (
            b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff",
            "(7FE0,0010) has (FFFE,E000) where an item should stand",
        ),
        (
            b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 40,
            "nested more than 32 deep",
        ),
        (b"", "SOP Class UID (0008,0016) is missing or empty"),
    ],
)
def test_what_cannot_be_parsed_is_named(tail, reason):
    with pytest.raises(InvalidDataSet) as caught:
        identify(io.BytesIO(tail), EXPLICIT)
    assert reason in caught.value.reason


def test_sequences_of_unknown_vr_hold_implicit_elements():
    """UN of undefined length is Implicit VR inside, whatever is outside (PS3.5 section 6.2.2)."""
    un = b"\x09\x00\x01\x10UN\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    un += b"\x08\x00\x00\x01\x04\x00\x00\x001234\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    assert identify(io.BytesIO(encoded(EXPLICIT) + un), EXPLICIT) == IDENTITY


def test_a_bomb_of_zeros_is_walked_in_little_memory():
    """200 MB of zeros deflate to 200 kB."""
    head = encoded(EXPLICIT)
    size = 200 << 20
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(head + b"\x09\x10\x10\x10OB\x00\x00" + size.to_bytes(4, "little"))
    data += b"".join(bomb.compress(bytes(1 << 20)) for _ in range(200)) + bomb.flush()
    tracemalloc.start()
    assert identify(io.BytesIO(data), DEFLATED) == IDENTITY
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(sorted([*FORMS, str(RLELossless)])))
def test_no_bytes_whatever_raise_anything_but_a_refusal(data, syntax):
    sound = encoded(syntax if syntax in FORMS else EXPLICIT)
    changed = bytearray(sound)
    for _ in range(data.draw(st.integers(0, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    changed = changed[: data.draw(st.integers(0, len(changed)))] + data.draw(st.binary(max_size=40))
    with contextlib.suppress(InvalidDataSet):
        assert identify(io.BytesIO(bytes(changed)), syntax).sop_instance_uid


def test_paths_need_not_start_at_zero(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"before" + encoded(EXPLICIT))
    with path.open("rb") as file:
        file.seek(6)
        assert identify(file, EXPLICIT) == IDENTITY


def deflated(data: bytes, times: int) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(squeeze.compress(data) for _ in range(times)) + squeeze.flush()


def test_a_data_set_that_inflates_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("node.dicom.elements._MAX_INFLATED_BYTES", 8 << 20)
    pixels = b"\xe0\x7f\x10\x00OW\x00\x00" + (64 << 20).to_bytes(4, "little")
    bomb = deflated(pixels + bytes(1 << 20), 64)
    tracemalloc.start()
    with pytest.raises(InvalidDataSet, match="inflates to more than 8 MiB"):
        identify(io.BytesIO(bomb), DEFLATED)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_a_data_set_of_nothing_but_headers_is_refused(monkeypatch, syntax):
    monkeypatch.setattr("node.dicom.elements._MAX_ELEMENTS", 20_000)
    header = b"\x09\x00\x10\x00LO\x00\x00"
    data = header * 50_000
    with pytest.raises(InvalidDataSet, match="more than 20000 elements"):
        identify(io.BytesIO(deflated(header, 50_000) if syntax == DEFLATED else data), syntax)
    items = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 50_000
    with pytest.raises(InvalidDataSet, match="more than 20000 elements"):
        identify(io.BytesIO(deflated(items, 1) if syntax == DEFLATED else items), syntax)
