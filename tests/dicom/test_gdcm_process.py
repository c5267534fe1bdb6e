from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from node.dicom import gdcm_process
from node.dicom.codecs import _stream, decode
from node.dicom.gdcm_process import GdcmFailed, decode_jpeg
from node.dicom.headers import read_instance

LOSSLESS = "1.2.840.10008.1.2.4.70"


@pytest.fixture(scope="module")
def stream(data: Path) -> bytes:
    (path,) = (data / "syntaxes/ct-image").glob("JPEGProcess14SV1*")
    return _stream(read_instance(path))


def decoded(stream: bytes) -> bytes:
    return decode_jpeg(stream, LOSSLESS, rows=512, columns=512, bits_allocated=16, bits_stored=16, signed=True)


def test_a_stream_that_makes_gdcm_abort_costs_one_instance(stream: bytes) -> None:
    aborting = stream[:3] + b"\0" + stream[4:]  # one byte: a marker that is none
    for _ in range(2):
        with pytest.raises(GdcmFailed, match="died over it"):
            decoded(aborting)
        assert len(decoded(stream)) == 512 * 512 * 2


def test_a_stream_that_libjpeg_fills_up_with_a_warning_is_an_error(stream: bytes) -> None:
    half = len(stream) // 2
    for spoilt in (stream[:half] + b"\xff\xd9", stream[:half] + bytes(1000) + stream[half + 1000 :]):
        with pytest.raises(GdcmFailed, match="Corrupt JPEG data"):
            decoded(spoilt)
    assert len(decoded(stream)) == 512 * 512 * 2


def test_one_that_takes_for_ever_is_ended(stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdcm_process, "_TIMEOUT_S", 0.0)
    with pytest.raises(GdcmFailed, match="died over it"):
        for _ in range(1000):
            decoded(stream)
    monkeypatch.undo()
    assert len(decoded(stream)) == 512 * 512 * 2


def test_threads_do_not_get_each_others_pixels(data: Path) -> None:
    paths = [data / "syntaxes/wg04" / name for name in ("CT1_JPLL", "CT2_JPLL")] * 6
    one_by_one = {path: decode(read_instance(path)) for path in paths[:2]}
    with ThreadPoolExecutor(4) as pool:
        for path, pixels in zip(paths, pool.map(lambda path: decode(read_instance(path)), paths), strict=True):
            assert np.array_equal(pixels, one_by_one[path])


def test_it_ends_with_its_requests(stream: bytes) -> None:
    decoded(stream)
    running = gdcm_process._process._running
    assert running is not None
    assert running.stdin is not None
    running.stdin.close()
    assert running.wait(10) == 0
    gdcm_process._process.close()
    assert len(decoded(stream)) == 512 * 512 * 2
