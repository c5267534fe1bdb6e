"""Stored values: whole HU, exactly, and padding that stays padding."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from node.derive.pixels import Representation, encode, representation
from node.errors import PermanentError


def header(
    slope: float, intercept: float, bits: int = 16, *, signed: bool = True, padding: int | None = None
) -> Dataset:
    """A header as if read from a file: elements not decoded."""
    one = Dataset()
    one.RescaleSlope, one.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
    one.BitsStored, one.PixelRepresentation = bits, int(signed)
    if padding is not None:
        one.add_new(0x00280120, "US", padding % (1 << 16))
    file = BytesIO()
    one.file_meta = FileMetaDataset()
    dcmwrite(file, one, implicit_vr=False, little_endian=True)
    file.seek(0)
    read = dcmread(file, force=True)
    read.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return read


@given(
    slope=st.one_of(st.just(1.0), st.floats(0.01, 40)).map(lambda value: float(f"{value:.10g}")),
    intercept=st.one_of(st.sampled_from([0.0, -1024.0, -8192.0]), st.floats(-10000, 10000)).map(
        lambda value: float(f"{value:.10g}")
    ),
    bits=st.integers(8, 16),
    signed=st.booleans(),
    code=st.none() | st.integers(0, (1 << 16) - 1),
    data=st.data(),
)
def test_whatever_the_source_stores_comes_back_within_half_an_hu(
    slope: float, intercept: float, bits: int, signed: bool, code: int | None, data: Any
) -> None:
    first, last = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if code is not None:
        code = first + code % (last - first + 1)
    stored = np.array(data.draw(st.lists(st.integers(first, last), min_size=16, max_size=16))).reshape(4, 4)
    hu = (stored * slope + intercept).astype(np.float32)
    padding = np.zeros(stored.shape, bool) if code is None else stored == code

    chosen = representation(header(slope, intercept, bits, signed=signed, padding=code), hu, padding)
    assert (chosen.padding is None) == (code is None)
    if slope * (last - first) > 65000:
        return  # more than 16 bits of HU: refused or clipped, see below
    encoded = encode(hu, padding, chosen)
    values = np.frombuffer(encoded.data, "<i2").reshape(4, 4).astype(int)
    back = values + chosen.intercept_hu
    assert encoded.clipped == 0
    if chosen.padding is not None:
        assert np.array_equal(values == chosen.padding, padding)
        assert chosen.padding + chosen.intercept_hu < -1024 or chosen.padding == -32768
    at_padding = np.zeros(hu.shape) if chosen.padding is None else np.rint(hu) == chosen.padding + chosen.intercept_hu
    error = np.abs(back - hu)
    assert np.all(error[~padding] <= 0.501 + at_padding[~padding])
    if slope == 1.0 and intercept == int(intercept):
        assert np.all(error[~padding & (at_padding == 0)] == 0)


@pytest.mark.parametrize(
    ("slope", "intercept", "bits", "signed", "padding", "expected"),
    [
        (1, -1024, 12, False, None, Representation(0, None)),  # Siemens, Philips
        (1, -1024, 16, True, -2000, Representation(-1024, -2000)),  # GE: its own representation
        (1, -1024, 16, True, -32768, Representation(-1024, -32768)),
        (1, 0, 16, True, None, Representation(0, None)),  # Toshiba
        (1, 0, 16, True, -1500, Representation(0, -1500)),
        (1, -8192, 16, False, None, Representation(24576, None)),  # extended scale, up to 57343 HU
        (1, -1024, 12, False, 0, Representation(0, -2000)),  # padded with the HU of air: moved
        (1, -1024, 12, False, 4095, Representation(0, -2000)),  # padded with white: moved
        (32.1216, -4047, 8, False, None, Representation(0, None)),
        (10, -10240, 16, False, None, Representation(0, None)),  # beyond 16 bits
    ],
)
def test_representation(
    slope: float, intercept: float, bits: int, signed: bool, padding: int | None, expected: Representation
) -> None:
    source = header(slope, intercept, bits, signed=signed, padding=padding)
    assert representation(source, np.zeros((2, 2), np.float32), np.zeros((2, 2), bool)) == expected


@pytest.mark.parametrize(
    ("declared", "fill", "expected"),
    [
        (None, [-2048, -2048], -2048),  # filled, and nothing said
        (None, [-1024, -1024], -2000),
        (None, [-2048, -3024], -2000),
        (-2000, [-2048, -2048], -2048),  # what is there, not what is said
        (-2000, [-2048, -3024], -3024),
        (-2000, [], -3024),
    ],
)
def test_padding_keeps_the_hu_it_has(declared: int | None, fill: list[int], expected: int) -> None:
    hu = np.array([fill + [0] * (2 - len(fill))], np.float32)
    padding = np.array([[index < len(fill) for index in range(2)]])
    chosen = representation(header(1, -1024, padding=declared), hu, padding)
    assert chosen.padding is not None
    assert chosen.padding + chosen.intercept_hu == expected


def test_a_real_pixel_is_never_taken_for_padding() -> None:
    hu = np.array([[-2000, -2000, -1999, 5]], np.float32)
    padding = np.array([[True, False, False, False]])
    values = np.frombuffer(encode(hu, padding, Representation(0, -2000)).data, "<i2")
    assert values.tolist() == [-2000, -1999, -1999, 5]


def test_what_lies_under_padding_does_not_matter() -> None:
    hu = np.array([[np.nan, np.inf, 1e9, 7.4]], np.float32)
    padding = np.array([[True, True, True, False]])
    encoded = encode(hu, padding, Representation(0, -2000))
    assert np.frombuffer(encoded.data, "<i2").tolist() == [-2000, -2000, -2000, 7]
    assert encoded.clipped == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused(value: float) -> None:
    with pytest.raises(PermanentError, match="not a number"):
        encode(np.array([[value, 0]], np.float32), np.zeros((1, 2), bool), Representation(0, None))


def test_few_pixels_out_of_range_are_clipped_and_counted_many_are_refused() -> None:
    hu = np.zeros((100, 100), np.float32)
    padding = np.zeros(hu.shape, bool)
    hu[0, :5], hu[1, :5] = 40000, -40000
    encoded = encode(hu, padding, Representation(0, None))
    values = np.frombuffer(encoded.data, "<i2").reshape(hu.shape)
    assert encoded.clipped == 10
    assert (values[0, 0], values[1, 0], values[2, 0]) == (32767, -32768, 0)
    hu[2, 0] = 40000
    with pytest.raises(PermanentError, match="11 harmonized pixels are outside of -32768 to 32767 HU"):
        encode(hu, padding, Representation(0, None))
