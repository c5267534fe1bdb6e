"""Compression without loss: the same pixels, and nothing else changed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydicom import dcmread, uid

from node.dicom import compress as module
from node.dicom.codecs import decode
from node.dicom.compress import LOSSLESS, compress
from node.dicom.outgoing import examine
from node.errors import InvalidObject

SYNTAXES = {name: syntax for name, syntax in LOSSLESS.items() if syntax}
PADDING = -32768


def sixteen_bits(made, _=0):
    """As the node makes them: signed, every bit in use, the extremes too."""
    rng = np.random.default_rng(made.InstanceNumber)
    pixels = rng.integers(-1100, 3000, (made.Rows, made.Columns), np.int16)
    pixels[0, 0], pixels[0, 1], pixels[1], pixels[2, :2] = 32767, -32768, PADDING, (-1, 0)
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 1
    made.add_new("PixelPaddingValue", "SS", PADDING)
    made.PixelData = pixels.astype("<i2").tobytes()


@pytest.mark.parametrize("name", SYNTAXES)
def test_signed_pixels_and_padding_come_back_exactly(crafted, name):
    path = crafted.one(0, sixteen_bits, side=64)
    before = dcmread(path)
    file = path.with_suffix(".out")
    file.write_bytes(compress(path, SYNTAXES[name]))
    after = dcmread(file)
    pixels = decode(after)
    assert pixels.dtype == np.int16
    assert np.array_equal(pixels, decode(before))
    assert after.file_meta.TransferSyntaxUID == SYNTAXES[name]
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID == before.SOPInstanceUID
    assert "LossyImageCompression" not in after or after.LossyImageCompression == "00"
    del before.PixelData, after.PixelData
    assert after == before


@pytest.mark.parametrize("name", SYNTAXES)
def test_it_makes_the_same_bytes_each_time(crafted, name):
    path = crafted.one(0, sixteen_bits, side=64)
    assert compress(path, SYNTAXES[name]) == compress(path, SYNTAXES[name])


def test_the_syntaxes_are_lossless_ones():
    assert set(SYNTAXES.values()) == {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"}


def test_what_a_scanner_puts_above_bits_stored_would_be_lost_so_it_stays_as_it_is(crafted):
    def twelve_bits(made, index):
        sixteen_bits(made, index)
        made.BitsStored, made.HighBit = 12, 11

    assert examine(crafted.one(0, sixteen_bits, side=64), "jpeg-ls").compressed_syntax_uid == uid.JPEGLSLossless
    assert examine(crafted.one(0, sixteen_bits, side=64)).compressed_syntax_uid is None
    kept = examine(crafted.one(1, twelve_bits, side=64), "jpeg-ls")
    assert kept.compressed_syntax_uid is None
    with kept.open_as_sent() as file:
        assert file.read() == kept.path.read_bytes()


def test_what_is_compressed_already_or_has_no_pixels_stays_as_it_is(crafted):
    packed = crafted.one(0, sixteen_bits, side=64)
    packed.write_bytes(compress(packed, uid.JPEGLSLossless))
    assert examine(packed, "jpeg-2000").compressed_syntax_uid is None

    def bare(made, _):
        del made.PixelData

    assert examine(crafted.one(1, bare, side=64), "jpeg-2000").compressed_syntax_uid is None


def test_an_encoder_that_fails_is_told_with_the_instance(crafted, monkeypatch):
    path = crafted.one(0, sixteen_bits, side=64)
    monkeypatch.setitem(module._ENCODERS, uid.JPEGLSLossless, "nonsense")
    with pytest.raises(InvalidObject, match="cannot be encoded in JPEG-LS") as error:
        compress(path, uid.JPEGLSLossless)
    assert error.value.sop_instance_uid == dcmread(path).SOPInstanceUID


def test_an_image_too_small_for_the_encoders_stays_as_it_is(crafted):
    assert examine(crafted.one(0, sixteen_bits, side=32), "jpeg-2000").compressed_syntax_uid is None


@pytest.mark.parametrize("name", SYNTAXES)
def test_many_threads_compress_without_harm(crafted, name):
    path = crafted.one(0, sixteen_bits, side=256)
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: compress(path, SYNTAXES[name]), range(40)))
    assert made == {compress(path, SYNTAXES[name])}


def test_pixels_that_do_not_come_back_are_not_sent(crafted, monkeypatch):
    decoded = iter((np.zeros((64, 64)), np.ones((64, 64))))
    monkeypatch.setattr(module, "decode", lambda _: next(decoded))
    with pytest.raises(InvalidObject, match="does not decode to the same pixels"):
        compress(crafted.one(0, sixteen_bits, side=64), uid.JPEGLSLossless)
