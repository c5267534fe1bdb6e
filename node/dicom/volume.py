"""A series as one array in HU, its slices in order along the slice normal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.ma  # imported by numpy itself at first use, and without end where two threads use it first at once
import structlog
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.dicom.codecs import decode
from node.dicom.geometry import OrientationInvalid, Stack, same_direction, stack
from node.dicom.headers import as_read, pixel_data, read_header, read_instance
from node.dicom.values import number, numbers, plain_values, text, uid_of
from node.errors import InvalidObject, SeriesRefused

_log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]
"""Slices done, slices in all."""

_THREADS = 4  # reading overlaps with decoding; each thread holds one instance, so memory is bounded
_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_NO_TISSUE_HU = -1500  # below air, and below what noise makes of it


@dataclass(frozen=True, slots=True)
class LoadedVolume:
    """A decoded series. `headers`, `sources` and `paths` are in the order of the slices."""

    series_instance_uid: str
    hu: NDArray[np.float32]  # (slice, row, column), HU, slices ordered along the slice normal
    spacing_mm: tuple[float, float, float]  # between slice centres (measured), between rows, between columns
    slice_thickness_mm: float | None  # Slice Thickness (0018,0050)
    padding: NDArray[np.bool_]  # (slice, row, column), True where the pixel is padding and has no HU
    headers: tuple[Mapping[str, Any], ...]  # read-only: DICOM keyword -> value
    sources: tuple[Dataset, ...]  # the headers as they were received, in their bytes, without pixels
    paths: tuple[Path, ...]  # the files


class PlainHeader(Mapping[str, Any]):
    """DICOM keyword -> value of one header, read-only; worked out when it is first asked for.

    Raises:
        InvalidObject: on first use, where a value cannot be read.
    """

    def __init__(self, source: Dataset) -> None:
        self._source = source

    @cached_property
    def _values(self) -> dict[str, Any]:
        return dict(plain_values(self._source))

    def __getitem__(self, keyword: str) -> Any:
        return self._values[keyword]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def load_volume(paths: Sequence[Path], progress: Progress | None = None) -> LoadedVolume:
    """Decode the instances of one series and order them along the slice normal.

    HU = stored value x Rescale Slope (0028,1053) + Rescale Intercept (0028,1052), slice by slice (PS3.3 C.11.1).

    Raises:
        SeriesRefused: the instances are not parallel slices of one size and one series.
        InvalidObject: an instance is malformed, or its pixels cannot be decoded.
        CodecMissing: no codec decodes an instance's transfer syntax.
        OSError: a file cannot be read.
    """
    unordered = [read_header(path) for path in paths]
    received = [as_read(header) for header in unordered]
    geometry = _stack(unordered)
    sources = [unordered[index] for index in geometry.order]
    ordered = [paths[index] for index in geometry.order]
    shape = (len(sources), *_in_common(sources, ("Rows", "Columns")))
    rows_mm, columns_mm = _in_common(sources, ("PixelSpacing",))
    hu = np.empty([int(length) for length in shape], np.float32)
    padding = np.empty(hu.shape, np.bool_)

    def load(index: int) -> None:
        stored = _native(sources[index], ordered[index])
        if stored is None:
            stored = decode(read_instance(ordered[index]))
        _rescale(sources[index], stored, hu[index])
        _mark_padding(sources[index], stored, hu[index], padding[index])

    with ThreadPoolExecutor(_THREADS) as pool:
        for done, _ in enumerate(pool.map(load, range(len(hu))), 1):
            if progress:
                progress(done, len(hu))
    hu.flags.writeable = padding.flags.writeable = False
    return LoadedVolume(
        series_instance_uid=text(sources[0], "SeriesInstanceUID"),
        hu=hu,
        spacing_mm=(_slice_spacing_mm(geometry, sources[0]), rows_mm, columns_mm),
        slice_thickness_mm=number(sources[0], "SliceThickness"),
        padding=padding,
        headers=tuple(map(PlainHeader, sources)),
        sources=tuple(received[index] for index in geometry.order),
        paths=tuple(ordered),
    )


def slice_hu(path: Path) -> NDArray[np.float32]:
    """One instance (row, column) in HU. Raises as `load_volume`, for what is wrong with this instance alone."""
    instance = read_instance(path)
    stored = decode(instance)
    hu = np.empty(stored.shape, np.float32)
    _rescale(instance, stored, hu)
    return hu


def load_folder(folder: Path) -> dict[str, list[Path]]:
    """Series Instance UID -> its files, of every Part 10 file below `folder`; what is none is noted in the log."""
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            uid = text(read_header(path), "SeriesInstanceUID")
        except InvalidObject as error:
            _log.warning("skipped a file", file=str(path), reason=error.reason)
            continue
        if uid:
            found.setdefault(uid, []).append(path)
        else:
            _log.warning("skipped a file", file=str(path), reason="it has no Series Instance UID (0020,000E)")
    return found


def _stack(headers: Sequence[Dataset]) -> Stack:
    if not headers:
        raise SeriesRefused("the series has no instances")
    orientation = _several(headers[0], "ImageOrientationPatient", 6)
    for header in headers:
        if not same_direction(_several(header, "ImageOrientationPatient", 6), orientation):
            raise SeriesRefused(f"the slices are not parallel: instance {uid_of(header)} differs from the first")
    if len({text(header, "SeriesInstanceUID") for header in headers}) > 1:
        raise SeriesRefused("the instances are of several series")
    try:
        return stack(orientation, [_several(header, "ImagePositionPatient", 3) for header in headers])
    except OrientationInvalid as error:
        raise InvalidObject(str(error), sop_instance_uid=uid_of(headers[0])) from error


def _several(header: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    found = numbers(header, keyword)
    if len(found) != count:
        raise InvalidObject(f"{keyword} has {len(found)} values, not {count}", sop_instance_uid=uid_of(header))
    return found


def _in_common(headers: Sequence[Dataset], keywords: tuple[str, ...]) -> tuple[float, float]:
    """Two numbers, one of each of two keywords or both of one, that every instance must have alike."""
    pairs = {tuple(value for keyword in keywords for value in numbers(header, keyword)) for header in headers}
    pair = pairs.pop()
    if pairs or len(pair) != 2:
        raise SeriesRefused(f"the slices have not {' and '.join(keywords)} in common: {sorted({pair, *pairs})[:3]}")
    return pair[0], pair[1]


def _slice_spacing_mm(geometry: Stack, header: Dataset) -> float:
    """As measured; for a single slice as the header says."""
    spacing = geometry.spacing_mm or number(header, "SpacingBetweenSlices") or number(header, "SliceThickness")
    if not spacing:
        raise SeriesRefused("the distance between slices cannot be known")
    return spacing


def _native(header: Dataset, path: Path) -> NDArray[np.integer[Any]] | None:
    """The stored values as they lie in the file, without reading its header again; None where a codec must see to them."""
    pixels = pixel_data(header)
    rows, columns = int(number(header, "Rows") or 0), int(number(header, "Columns") or 0)
    if pixels is None or pixels.start is None or header.file_meta.TransferSyntaxUID not in _NATIVE:
        return None
    form = {0: "<u2", 1: "<i2"}.get(int(number(header, "PixelRepresentation") or 0))
    alone = [number(header, "SamplesPerPixel"), number(header, "NumberOfFrames") or 1, number(header, "BitsAllocated")]
    if form is None or alone != [1, 1, 16] or not pixels.complete or not 0 < 2 * rows * columns == pixels.length:
        return None
    return np.fromfile(path, form, rows * columns, offset=pixels.start).reshape(rows, columns)


def _rescale(header: Dataset, stored: NDArray[np.integer[Any]], into: NDArray[np.float32]) -> None:
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if not slope or intercept is None:
        raise InvalidObject(
            "it cannot be brought to HU: Rescale Slope (0028,1053) or Rescale Intercept (0028,1052) is missing or 0",
            sop_instance_uid=uid_of(header),
        )
    if stored.dtype.itemsize <= 2 and slope == 1 and float(intercept).is_integer() and abs(intercept) < 1 << 22:
        np.add(stored, np.float32(intercept), out=into, dtype=np.float32, casting="unsafe")  # exact: whole, below 2^24
    else:
        # In double precision: 16-bit values with an odd slope would lose their last bits on the way.
        into[...] = stored * np.float64(slope) + np.float64(intercept)


def _mark_padding(
    header: Dataset, stored: NDArray[np.integer[Any]], hu: NDArray[np.float32], into: NDArray[np.bool_]
) -> None:
    """True where the pixel is padding, by what the header says of stored values and by what the corners have."""
    value, limit = number(header, "PixelPaddingValue"), number(header, "PixelPaddingRangeLimit")
    if value is None:
        into[...] = False
    else:  # PS3.3 C.7.5.1.1.2: that value, or all from it up to the limit
        low, high = sorted(_as_stored(int(end), stored.dtype) for end in (value, value if limit is None else limit))
        if low == high:
            np.equal(stored, low, out=into)
        else:
            np.logical_and(stored >= low, stored <= high, out=into)
    # Scanners fill the corners outside the round field of view with a value of their own, which often is not the one
    # they declare; it is padding if all four corners have it and no tissue can.
    corners = hu[[0, 0, -1, -1], [0, -1, 0, -1]]
    if corners.min() == corners.max() < _NO_TISSUE_HU:
        into |= hu == corners[0]


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """Scanners write the value as US where the pixels are signed: 63536 stands for -2000."""
    bits = 8 * dtype.itemsize
    value %= 1 << bits
    return value - (1 << bits) if dtype.kind == "i" and value >= 1 << (bits - 1) else value
