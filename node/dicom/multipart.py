"""multipart/related as DICOMweb sends it, PS3.18 section 8.6.1.2 and RFC 2046 section 5.1.1, read and written as a stream.

A part is read from the bytes as they come and never held: an object of any size takes one piece of memory. Libraries
for form data refuse what is no form field, and push what this gives to be pulled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from typing import Any

from node.errors import PermanentError

MAX_BOUNDARY = 256  # characters; RFC 2046 section 5.1.1 has 70, and Orthanc sends 73
MAX_HEADERS = 8192  # bytes of the headers of one part
MAX_PREAMBLE = 8192  # bytes before the first boundary, which mean nothing

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]")
_BLANK_LINE = b"\r\n\r\n"


class MultipartError(PermanentError):
    """A body that is not the multipart message it claims to be; the text says where it goes wrong."""


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """The media type of a Content-Type, in lower case, and its parameters; nothing where it cannot be read."""
    message = Message()
    message["Content-Type"] = header.replace("\r", " ").replace("\n", " ")
    try:
        given: Any = message.get_params(failobj=[])[1:]  # declared to be text alone
    except Exception:  # noqa: BLE001 - pieces of parameters (RFC 2231) that do not fit make it raise nearly anything
        return "", {}
    # With a character set and language before it, RFC 2231, which say nothing of what is looked at here: that is ASCII.
    parameters = {name: value[2] if isinstance(value, tuple) else value for name, value in given}
    return message.get_content_type() if header.strip() else "", parameters


def boundary_of(parameters: Mapping[str, str]) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        MultipartError: it names none, or one that RFC 2046 does not allow.
    """
    boundary = parameters.get("boundary", "")
    if len(boundary) > MAX_BOUNDARY or not _BOUNDARY.fullmatch(boundary):
        raise MultipartError(f"the Content-Type names no boundary of 1 to {MAX_BOUNDARY} characters: {boundary[:80]!r}")
    return boundary.encode("ascii")


class Part:
    """One part: its headers, by name in lower case, and its bytes, which can be read once."""

    def __init__(self, headers: Mapping[str, str], body: _Body) -> None:
        self.headers = headers
        self._body = body

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    def read(self, size: int) -> bytes:
        """At most so many bytes, at least one, and none at the end of the part.

        Raises:
            MultipartError: the message breaks off.
        """
        return self._body.read(size)

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(1 << 20):
            yield piece


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[Part]:
    """The parts of a message, in turn; what is left of a part when the next is asked for is passed over.

    Raises:
        MultipartError: the message is malformed or breaks off, found when one comes to it.
    """
    source = _Source(chunks)
    delimiter = b"--" + boundary
    if not source.pass_preamble(delimiter):
        raise MultipartError("the body does not begin with its boundary")
    while not source.closes():
        body = _Body(source, b"\r\n" + delimiter)
        yield Part(_headers(source), body)
        while body.read(1 << 20):
            pass


def _headers(source: _Source) -> dict[str, str]:
    lines = source.header_lines()
    headers = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name.strip():
            raise MultipartError(f"a part has a line that is no header: {line[:80]!r}")
        headers[name.strip().lower()] = value.strip()
    return headers


class _Source:
    """The bytes that came and were not yet read, and where more come from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.held = b""

    def more(self) -> bool:
        """Hold more bytes; False at the end."""
        for chunk in self._chunks:
            if chunk:
                self.held = self.held + chunk if self.held else bytes(chunk)
                return True
        return False

    def need(self, count: int) -> None:
        while len(self.held) < count:
            if not self.more():
                raise MultipartError("the message breaks off before its closing boundary")

    def pass_preamble(self, delimiter: bytes) -> bool:
        """Pass everything up to and with the first delimiter, which begins a line."""
        self.held = b"\r\n"  # as if a line had ended before the message
        searched = 0
        limit = MAX_PREAMBLE + len(delimiter)
        while (at := self.held.find(b"\r\n" + delimiter, searched, limit)) < 0:
            searched = max(0, len(self.held) - len(delimiter) - 2)
            if len(self.held) >= limit or not self.more():
                return False
        self.held = self.held[at + 2 + len(delimiter) :]
        return True

    def closes(self) -> bool:
        """After a delimiter: whether it is the closing one. Else its line is passed."""
        self.need(2)
        if self.held[:2] == b"--":
            return True
        while b"\r\n" not in self.held[:MAX_HEADERS] and len(self.held) < MAX_HEADERS:
            self.need(len(self.held) + 1)
        padding, end, rest = self.held.partition(b"\r\n")
        if not end or len(padding) > MAX_HEADERS or padding.strip(b" \t"):
            raise MultipartError(f"a boundary is followed by {padding[:20]!r}, not by the end of its line")
        self.held = end + rest  # the line's end may be the blank line of a part without headers
        return False

    def header_lines(self) -> list[bytes]:
        searched = 0
        while (at := self.held.find(_BLANK_LINE, searched)) < 0:
            if len(self.held) > MAX_HEADERS:
                break
            searched = max(0, len(self.held) - len(_BLANK_LINE))
            self.need(len(self.held) + 1)
        if at < 0 or at > MAX_HEADERS:
            raise MultipartError(f"the headers of a part are longer than {MAX_HEADERS} bytes")
        lines = self.held[:at].split(b"\r\n")[1:]
        self.held = self.held[at + len(_BLANK_LINE) :]
        return lines


class _Body:
    """The bytes of a part, up to the delimiter."""

    def __init__(self, source: _Source, delimiter: bytes) -> None:
        self._source, self._delimiter = source, delimiter
        self._ended = False

    def read(self, size: int) -> bytes:
        if self._ended or size <= 0:
            return b""
        source, delimiter = self._source, self._delimiter
        while True:
            at = source.held.find(delimiter, 0, size + len(delimiter))
            # What may be the beginning of the delimiter stays until it is known whether it is.
            safe = at if at >= 0 else len(source.held) - len(delimiter) + 1
            if at == 0:
                self._ended = True
                source.held = source.held[len(delimiter) :]
                return b""
            if safe > 0:
                piece, source.held = source.held[: min(size, safe)], source.held[min(size, safe) :]
                return piece
            source.need(len(source.held) + 1)


def written(boundary: str, items: Iterable[tuple[Mapping[str, str], Iterable[bytes]]]) -> Iterator[bytes]:
    """A message of these parts, each its headers and its bytes."""
    for headers, body in items:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"--{boundary}\r\n{lines}\r\n".encode("latin-1")
        yield from body
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("latin-1")
