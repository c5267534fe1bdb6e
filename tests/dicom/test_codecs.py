from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate

from node.dicom import codecs
from node.dicom.codecs import CodecMissing, available, codec_of, decode
from node.dicom.headers import read_instance
from node.errors import InvalidObject, PermanentError

LOSSLESS = (
    "LittleEndianImplicit",
    "BigEndian",
    "Deflated",
    "RLE",
    "JPEG2000LosslessOnly",
    "JPEGLSLossless",
    "JPEGProcess14",
)
LOSSY_MEAN_HU = {
    # The mean difference from the lossless image: about half a quantisation step, by Rescale Slope 32.1 and 2.0.
    "JPEGProcess1-": 27,
    "JPEGProcess2_4": 4,
    "JPEGProcess6_8": 4,
    "JPEGProcess10_12": 4,
    "JPEG2000-": 1.1,
    "JPEGLSLossy": 1,
}


def hu(path: Path) -> NDArray[np.float64]:
    instance = read_instance(path)
    return decode(instance) * float(instance.RescaleSlope) + float(instance.RescaleIntercept)


@pytest.fixture(scope="module")
def images(data: Path) -> list[Path]:
    return sorted((data / "syntaxes/ct-image").glob("*.dcm"))


@pytest.fixture(scope="module")
def reference(images: list[Path]) -> NDArray[np.float64]:
    plain = next(path for path in images if path.name.startswith("LittleEndianExplicit"))
    return dcmread(plain).pixel_array * 1.0 - 1024


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_syntaxes_agree(images: list[Path], reference: NDArray[np.float64], name: str) -> None:
    those = [path for path in images if path.name.startswith(name)]
    assert those
    for path in those:
        assert np.array_equal(hu(path), reference), path.name


@pytest.mark.parametrize(("name", "mean_hu"), LOSSY_MEAN_HU.items())
def test_lossy_syntaxes_are_near(images: list[Path], reference: NDArray[np.float64], name: str, mean_hu: float) -> None:
    (path,) = (path for path in images if path.name.startswith(name))
    assert np.abs(hu(path) - reference).mean() < mean_hu


def test_every_file_of_every_syntax_decodes(data: Path) -> None:
    paths = [path for path in sorted((data / "syntaxes").rglob("*")) if path.is_file() and path.suffix != ".txt"]
    assert len(paths) == 27
    seen = set()
    for path in paths:
        instance = read_instance(path)
        pixels = decode(instance)
        assert pixels.shape == (512, 512), path.name
        assert pixels.dtype.isnative, path.name
        seen.add(str(instance.file_meta.TransferSyntaxUID))
    assert len(seen) == 15


@pytest.mark.parametrize("image", ["CT1", "CT2"])
def test_nema_images_agree_across_lossless_syntaxes(data: Path, image: str) -> None:
    rle, *others = (hu(data / "syntaxes/wg04" / f"{image}_{syntax}") for syntax in ("RLE", "JPLL", "JLSL", "J2KR"))
    for other in others:
        assert np.array_equal(other, rle)


def test_a_syntax_without_codec_is_refused_by_name(crafted: Any) -> None:
    instance = read_instance(crafted.one())
    instance.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.110"
    with pytest.raises(CodecMissing, match=r"JPEG XL Lossless \(1\.2\.840\.10008\.1\.2\.4\.110\)") as caught:
        decode(instance)
    assert "1.2.3.4.0" in str(caught.value)
    assert isinstance(caught.value, PermanentError)


def test_a_codec_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert None not in available().values()
    monkeypatch.setattr(codecs, "_installed", lambda module: module != "jpeg_ls")
    missing = [name for name, codec in available().items() if codec is None]
    assert [name.split("(")[-1] for name in missing] == ["1.2.840.10008.1.2.4.80)", "1.2.840.10008.1.2.4.81)"]
    assert codec_of("1.2.840.10008.1.2.4.80") is None


@pytest.mark.parametrize(
    "name", ["JPEGProcess14SV1", "JPEGProcess2_4", "JPEGLSLossless", "JPEG2000LosslessOnly", "RLE"]
)
def test_a_cut_stream_is_refused_and_never_filled_up(images: list[Path], name: str) -> None:
    (path,) = (path for path in images if path.name.startswith(name))
    instance = read_instance(path)
    instance.PixelData = instance.PixelData[: len(instance.PixelData) // 2]
    with pytest.raises(InvalidObject, match="cannot be decoded") as caught:
        decode(instance)
    assert caught.value.sop_instance_uid == instance.SOPInstanceUID


@pytest.mark.parametrize("name", ["JPEGProcess14SV1", "JPEGProcess1-", "JPEGLSLossless"])
def test_a_corrupt_stream_is_refused(images: list[Path], name: str) -> None:
    (path,) = (path for path in images if path.name.startswith(name))
    instance = read_instance(path)
    spoilt = bytearray(instance.PixelData)
    noise = np.random.default_rng(1)
    for place in noise.integers(700, len(spoilt) - 20, 400):
        spoilt[place] = noise.integers(256)
    instance.PixelData = bytes(spoilt)
    with pytest.raises(InvalidObject, match="cannot be decoded"):
        decode(instance)


def _claims(instance: Dataset, place: bytes, offset: int, width: int, value: int) -> None:
    stream = bytearray(codecs._stream(instance))
    start = stream.index(place) + offset
    stream[start : start + width] = value.to_bytes(width)
    instance.PixelData = encapsulate([bytes(stream)])
    instance["PixelData"].is_undefined_length = True


def test_a_stream_that_claims_to_be_large_is_not_decoded(images: list[Path]) -> None:
    by_name = {path.name.split("-")[0]: path for path in images}
    for name, place, offset, width, value in (
        ("JPEG2000LosslessOnly", b"\xff\x4f\xff\x51", 8, 4, 1_000_000),
        ("JPEGProcess14SV1", b"\xff\xc3", 5, 2, 65_000),
        ("JPEGLSLossless", b"\xff\xf7", 5, 2, 65_000),
    ):
        instance = read_instance(by_name[name])
        _claims(instance, place, offset, width, value)
        with pytest.raises(InvalidObject, match=r"the stream holds .* the header says 512 x 512"):
            decode(instance)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("Rows", 0), ("Rows", 9), ("Columns", 60000), ("NumberOfFrames", 2), ("SamplesPerPixel", 3), ("BitsAllocated", 7)],
)
def test_a_header_that_does_not_fit_is_refused(crafted: Any, keyword: str, value: int) -> None:
    instance = read_instance(crafted.one())
    setattr(instance, keyword, value)
    with pytest.raises(InvalidObject) as caught:
        decode(instance)
    assert caught.value.sop_instance_uid == "1.2.3.4.0"


def test_an_object_without_pixels_says_so(data: Path) -> None:
    with pytest.raises(InvalidObject, match="no Pixel Data"):
        decode(read_instance(data / "odd/no-pixel-data.dcm"))


def test_bits_beyond_those_stored_are_no_part_of_the_value(crafted: Any) -> None:
    """PS3.5 section 8.1.1: an overlay may lie in the upper four of 16 bits."""
    instance = read_instance(crafted.one())
    overlaid = np.frombuffer(instance.PixelData, np.uint16) | 0x8000
    instance.PixelData = overlaid.tobytes()
    assert (decode(instance) == 24).all()
