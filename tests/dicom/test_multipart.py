"""multipart/related: whatever the parts hold and however the bytes are cut, what comes out is what went in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.dicom.multipart import (
    MAX_HEADERS,
    MAX_PREAMBLE,
    MultipartError,
    boundary_of,
    media_type,
    parts,
    written,
)

BOUNDARY = "frontier"


def read(chunks, boundary: bytes = BOUNDARY.encode()) -> list[tuple[dict[str, str], bytes]]:
    return [(dict(part.headers), b"".join(part)) for part in parts(chunks, boundary)]


def cut(message: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(message), *(place % (len(message) + 1) for place in places)})
    return [message[start:end] for start, end in pairwise(edges)]


# Bytes that look like delimiters are the ones that go wrong.
nasty = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n", b"--", b"\r\n--", b"\r\n--front", b"--frontier-", b"\r"])),
    max_size=8,
).map(b"".join).filter(lambda body: b"\r\n--frontier" not in b"\r\n" + body)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(nasty, min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_parts_come_out_as_they_went_in(bodies: list[bytes], places: list[int]):
    items = [({"Content-Type": "application/dicom", "X": str(n)}, [body]) for n, body in enumerate(bodies)]
    message = b"".join(written(BOUNDARY, items))
    expected = [({"content-type": "application/dicom", "x": str(n)}, body) for n, body in enumerate(bodies)]
    assert read(cut(message, places)) == expected
    assert read(bytes([byte]) for byte in message) == expected
    # Part by part, without reading any.
    assert [part.headers["x"] for part in parts(cut(message, places), BOUNDARY.encode())] == [
        str(n) for n in range(len(bodies))
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(nasty, min_size=1, max_size=3), st.integers(0, 10_000))
def test_a_message_that_breaks_off_is_never_taken_for_whole(bodies: list[bytes], length: int):
    message = b"".join(written(BOUNDARY, [({"A": "b"}, [body]) for body in bodies]))
    closing = len(message) - len(b"\r\n")  # "--" is the last that counts
    with pytest.raises(MultipartError):
        read([message[: length % closing]])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_are_parts_or_one_clear_error(noise: bytes, places: list[int]):
    for message in (noise, b"--frontier\r\n" + noise, b"--frontier\r\nA: b\r\n\r\n" + noise):
        try:
            found = read(cut(message, places))
        except MultipartError:
            pass
        else:
            assert b"--frontier--" in message
            assert sum(len(body) for _, body in found) <= len(message)


def test_what_rfc_2046_allows_is_read():
    message = b"a preamble\r\n--frontier \t\r\n\r\nno headers\r\n--frontier\r\nA:1\r\nB : 2 \r\n\r\n\r\n--frontier--\r\nan epilogue"
    assert read([message]) == [({}, b"no headers"), ({"a": "1", "b": "2"}, b"")]
    assert read([b"--frontier--"]) == []


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b"", "does not begin with its boundary"),
        (b"--other\r\n\r\n", "does not begin with its boundary"),
        (b"x" * (MAX_PREAMBLE + 100) + b"\r\n--frontier--", "does not begin with its boundary"),
        (b"--frontierless\r\n\r\n--frontier--", "not by the end of its line"),
        (b"--frontier" + b" " * 20_000, "not by the end of its line"),
        (b"--frontier\r\nno colon\r\n\r\n", "no header"),
        (b"--frontier\r\n: empty\r\n\r\n", "no header"),
        (b"--frontier\r\nA: " + b"b" * MAX_HEADERS + b"\r\n\r\n\r\n--frontier--", "longer than"),
        (b"--frontier\r\nA: b\r\n\r\nbody", "breaks off"),
        (b"--frontier\r\nA: b", "breaks off"),
        (b"--frontier", "breaks off"),
    ],
)
def test_what_is_malformed_is_said(message: bytes, told: str):
    with pytest.raises(MultipartError, match=told):
        read([message])


def test_a_part_is_read_as_it_comes():
    """Memory does not grow with the part: of 64 MiB that come in pieces, no more than two are ever held."""
    piece, count = bytes(1 << 20), 64
    came = taken = most = 0

    def chunks():
        nonlocal came
        yield b"--frontier\r\n\r\n"
        for _ in range(count):
            came += len(piece)
            yield piece
        yield b"\r\n--frontier--"

    for part in parts(chunks(), BOUNDARY.encode()):
        while data := part.read(1 << 20):
            taken += len(data)
            most = max(most, came - taken)
    assert taken == count * len(piece)
    assert most <= 2 * len(piece)


def test_a_boundary_may_come_with_its_character_set_or_in_pieces():
    assert boundary_of(media_type("multipart/related; boundary*=utf-8''fron%20tier")[1]) == b"fron tier"
    assert boundary_of(media_type("multipart/related; boundary*0=fron; boundary*1=tier")[1]) == b"frontier"
    with pytest.raises(MultipartError, match="names no boundary"):
        boundary_of(media_type("multipart/related; boundary*=\0''%ff")[1])


def test_a_content_type_whose_pieces_do_not_fit_is_none():
    assert media_type("multipart/related; boundary=a; x*0=a; x*") == ("", {})


def test_the_boundary_is_what_the_content_type_says():
    kind, parameters = media_type('Multipart/Related; type="application/dicom"; boundary="a b=c"')
    assert (kind, parameters["type"]) == ("multipart/related", "application/dicom")
    assert boundary_of(parameters) == b"a b=c"
    for wrong in ("", "b" * 257, "trailing ", "non\u00e9", 'qu"ote', "line\r\n"):
        with pytest.raises(MultipartError, match="boundary"):
            boundary_of({"boundary": wrong})
    assert media_type("") == ("", {})
