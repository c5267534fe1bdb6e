"""GDCM in a process of its own.

Over some corrupt JPEG streams GDCM aborts the whole process, and over others libjpeg fills up what it cannot decode and
merely prints a warning. So it runs apart: an abort costs one instance, and a warning is an error. This file is run as a
script that imports nothing of the node; it ends when its standard input does, so it never outlives the node.

    request   _REQUEST, the transfer syntax in ASCII, the stream
    answer    _ANSWER, the message or the pixels
"""

from __future__ import annotations

import atexit
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Any, BinaryIO

_REQUEST = struct.Struct(
    "<IIIHHHH"
)  # bytes of the stream, columns, rows, bits allocated, bits stored, signed, bytes of the UID
_ANSWER = struct.Struct("<?I")  # whether it was decoded, bytes that follow
_TIMEOUT_S = 60.0  # a slice takes 10 to 20 ms
_HARMLESS = re.compile(
    rb"Unsupported JPEG data precision"  # the 8-bit library says so before the 12-bit one is asked
    rb"|Corrupt JPEG data: \d extraneous bytes before marker 0xd9"  # padding
)


class GdcmFailed(Exception):
    """GDCM could not decode a stream."""


class _Process:
    """The one process, started when it is first needed and again after it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None

    def ask(self, request: bytes) -> bytes:
        with self._lock:
            running = self._running or self._start()
            assert running.stdin is not None
            assert running.stdout is not None
            patience = threading.Timer(_TIMEOUT_S, running.kill)
            patience.start()
            try:
                running.stdin.write(request)
                running.stdin.flush()
                decoded, length = _ANSWER.unpack(_exactly(running.stdout, _ANSWER.size))
                answer = _exactly(running.stdout, length)
            except (EOFError, BrokenPipeError):
                self._stop()
                raise GdcmFailed(f"GDCM died over it (exit code {running.returncode})") from None
            finally:
                patience.cancel()
        if not decoded:
            raise GdcmFailed(answer.decode("utf-8", "replace"))
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: the folder of this file has modules named like the standard library's.
        self._running = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self._running

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running:
            running.kill()
            for pipe in (running.stdin, running.stdout):
                with suppress(BrokenPipeError):  # what was not yet read by the process
                    assert pipe is not None
                    pipe.close()
            running.wait()

    def close(self) -> None:
        with self._lock:
            self._stop()


_process = _Process()
atexit.register(_process.close)


def decode_jpeg(
    stream: bytes, syntax: str, *, rows: int, columns: int, bits_allocated: int, bits_stored: int, signed: bool
) -> bytes:
    """The pixels of one monochrome frame, row by row, in `bits_allocated` bits each, little endian.

    Raises:
        GdcmFailed: the stream is corrupt.
    """
    uid = syntax.encode()
    head = _REQUEST.pack(len(stream), columns, rows, bits_allocated, bits_stored, signed, len(uid))
    return _process.ask(head + uid + stream)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)  # libjpeg prints to standard error
        while head := requests.read(_REQUEST.size):
            *about, uid_length = _REQUEST.unpack(head)
            syntax, stream = _exactly(requests, uid_length).decode(), _exactly(requests, about[0])
            pixels = _decode(stream, syntax, *about[1:])
            said.seek(0)
            warnings = [line for line in said.read().splitlines() if line and not _HARMLESS.match(line)]
            said.seek(0)
            said.truncate()
            decoded = pixels is not None and not warnings
            answer = pixels if pixels is not None and decoded else b"; ".join(warnings[:3]) or b"GDCM finds it corrupt"
            answers.write(_ANSWER.pack(decoded, len(answer)) + answer)
            answers.flush()


def _decode(  # noqa: PLR0917 - in the order of the request
    stream: bytes, syntax: str, columns: int, rows: int, allocated: int, stored: int, signed: int
) -> bytes | None:
    """Not by pydicom's bridge to GDCM, which leaves out the 12-bit lossy processes."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image: Any = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stored, stored - 1, signed))
    decoded = image.GetBuffer()
    return None if decoded is None else decoded.encode("utf-8", "surrogateescape")  # GDCM hands bytes over as str


def _exactly(pipe: Any, length: int) -> bytes:
    data: bytes = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
