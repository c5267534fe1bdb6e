from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.dicom import headers
from node.dicom.headers import PixelData, pixel_data, read_header, read_instance
from node.errors import InvalidObject


def test_a_header_comes_without_pixels_but_knows_of_them(crafted: Any) -> None:
    header = read_header(crafted.one())
    assert "PixelData" not in header
    assert header.SeriesDescription == "CHEST"
    found = pixel_data(header)
    assert found == PixelData(length=128, complete=True, start=found.start)
    assert crafted.one().read_bytes()[found.start :] == read_instance(crafted.one()).PixelData


def test_every_syntax_is_read(data: Path) -> None:
    for path in sorted((data / "syntaxes").rglob("*.dcm")):
        header, whole = read_header(path), read_instance(path)
        known = pixel_data(header)
        assert known is not None, path.name
        assert known.complete, path.name
        assert (known.length is None) == whole["PixelData"].is_undefined_length, path.name
        assert header.file_meta.TransferSyntaxUID == dcmread(path).file_meta.TransferSyntaxUID, path.name


def test_no_pixel_data_is_known(data: Path) -> None:
    assert pixel_data(read_header(data / "odd/no-pixel-data.dcm")) is None


def test_a_whole_instance_is_what_pydicom_reads(data: Path) -> None:
    for path in sorted((data / "syntaxes/ct-image").glob("*Explicit*.dcm")):
        assert read_instance(path) == dcmread(path), path.name


@pytest.mark.parametrize("length", [0, 100, 131, 140])
def test_what_is_no_dicom_file_says_so(tmp_path: Path, crafted: Any, length: int) -> None:
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(crafted.one().read_bytes()[:length])
    with pytest.raises(InvalidObject, match=r"no DICOM file|Transfer Syntax|cut off"):
        read_header(cut)


def test_a_text_file_is_no_dicom_file(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear colleague, " * 100)
    with pytest.raises(InvalidObject, match="no DICOM file"):
        read_header(path)


def test_every_cut_is_noticed(tmp_path: Path, crafted: Any) -> None:
    """However much of the file is left, it is either known to be incomplete or refused; never taken for whole."""
    whole = crafted.one().read_bytes()
    cut = tmp_path / "cut.dcm"
    without_pixels = 0
    for length in range(132, len(whole)):
        cut.write_bytes(whole[:length])
        try:
            known = pixel_data(read_header(cut))
        except InvalidObject:
            continue
        assert known is None or not known.complete
        without_pixels += known is None
    # Cut exactly between two elements, a file is a sound one of fewer elements: it has no Pixel Data.
    assert without_pixels < 45


def test_a_cut_names_the_instance(tmp_path: Path, crafted: Any) -> None:
    whole = crafted.one().read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole[: len(whole) - 1])
    assert pixel_data(read_header(cut)) == PixelData(length=128, complete=False, start=len(whole) - 128)
    with pytest.raises(InvalidObject, match=r"cut off in \(7FE0,0010\)") as caught:
        read_instance(cut)
    assert caught.value.sop_instance_uid == "1.2.3.4.0"
    cut.write_bytes(whole[: whole.index(b"ORIGINAL") + 4])  # before the data set tells its own UID
    with pytest.raises(InvalidObject) as caught:
        read_header(cut)
    assert caught.value.sop_instance_uid == "1.2.3.4.0"


def test_cut_encapsulated_pixels_are_noticed(tmp_path: Path, data: Path) -> None:
    whole = (data / "syntaxes/ct-image/JPEGLSLossless-1.2.840.10008.1.2.4.80.dcm").read_bytes()
    cut = tmp_path / "cut.dcm"
    for missing in (1, 8, 1000):
        cut.write_bytes(whole[:-missing])
        assert pixel_data(read_header(cut)) == PixelData(length=None, complete=False)


def _deflated(crafted: Any, stream: bytes) -> Path:
    def deflate(made: Any, _index: int) -> None:
        made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    path: Path = crafted.one(change=deflate)
    whole = path.read_bytes()
    start = 132 + 12 + int.from_bytes(whole[140:144], "little")  # after (0002,0000) and what it counts
    path.write_bytes(whole[:start] + (stream or whole[start:]))
    return path


def test_a_deflated_file_is_read_as_any_other(crafted: Any) -> None:
    path = _deflated(crafted, b"")
    assert pixel_data(read_header(path)) == PixelData(length=128, complete=True)
    assert read_instance(path).PixelData == crafted.one().read_bytes()[-128:]


def test_a_cut_deflated_file_is_noticed(crafted: Any) -> None:
    path = _deflated(crafted, b"")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidObject, match="deflated data set is cut off") as caught:
        read_header(path)
    assert caught.value.sop_instance_uid == "1.2.3.4.0"


def test_a_decompression_bomb_is_refused(crafted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MAX_INFLATED_BYTES", 1 << 20)
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path = _deflated(crafted, compressor.compress(bytes(2 << 20)) + compressor.flush())
    assert path.stat().st_size < 10_000
    with pytest.raises(InvalidObject, match="grows beyond"):
        read_header(path)


def test_a_missing_file_is_no_matter_of_its_content(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "gone.dcm")
