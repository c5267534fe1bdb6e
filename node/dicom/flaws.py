"""What is malformed in a series, instance by instance and between them.

A flaw is judged by what the object claims to be: a CT slice must have what makes it one (PS3.3 section A.3), anything
else only UIDs, and all of its bytes. No message says who the patient is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pydicom import Dataset

from node.dicom.codecs import MAX_PIXELS
from node.dicom.geometry import OrientationInvalid, normal_of, same_direction, stack
from node.dicom.headers import pixel_data
from node.dicom.values import items, number, numbers, plain_values, text, uid_of
from node.errors import InvalidObject

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_UID = re.compile(r"[0-9.]{1,64}")  # leading zeros are wrong too (PS3.5 section 9.1), but common and harmless


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with one instance. `index` is its place in the headers as given."""

    index: int
    reason: str
    sop_instance_uid: str | None

    def __str__(self) -> str:
        return f"{self.reason} (SOP Instance UID {self.sop_instance_uid or 'unknown'})"


def flaws_of(headers: Sequence[Dataset], *, as_slices: bool) -> tuple[Flaw, ...]:
    """Every flaw of a series' instances; `as_slices` where they claim to be slices of one CT volume."""
    found: list[Flaw] = []
    for index, header in enumerate(headers):
        checks = (*_OF_ANY, *_OF_PIXELS, *_OF_SLICES) if as_slices else (*_OF_ANY, *_OF_PIXELS)
        for check in checks:
            found.extend(Flaw(index, reason, uid_of(header)) for reason in _reasons(check, header))
    between = [*_BETWEEN_ANY, *(_BETWEEN_SLICES if as_slices and not found else ())]
    for differ in between:
        found.extend(Flaw(index, reason, uid_of(headers[index])) for index, reason in differ(headers))
    return tuple(dict.fromkeys(found))


def _reasons(check: Callable[[Dataset], Iterator[str]], header: Dataset) -> Iterator[str]:
    try:
        yield from check(header)
    except InvalidObject as error:
        yield error.reason


def _uids(header: Dataset) -> Iterator[str]:
    for keyword in _UIDS:
        uid = text(header, keyword)
        if not uid:
            yield f"{keyword} is missing"
        elif not _UID.fullmatch(uid):
            yield f"{keyword} is not a UID"


def _readable(header: Dataset) -> Iterator[str]:
    for _ in plain_values(header):
        pass
    items(header, "ContributingEquipmentSequence")
    yield from ()


def _whole(header: Dataset) -> Iterator[str]:
    pixels = pixel_data(header)
    if pixels and not pixels.complete:
        yield "Pixel Data (7FE0,0010) is cut off"


def _pixel_module(header: Dataset) -> Iterator[str]:
    """PS3.3 section C.7.6.3, where there are pixels."""
    pixels = pixel_data(header)
    if pixels is None:
        return
    rows, columns, allocated, stored, high, signed = (
        number(header, keyword)
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    if not rows or not columns:
        yield f"an image of {rows or 0} rows and {columns or 0} columns has no pixels"
        return
    if rows * columns > MAX_PIXELS:
        yield f"an image of {rows} x {columns} is larger than the node decodes"
    if allocated not in (1, 8, 16, 32) or not stored or not 0 < stored <= allocated or high != stored - 1:
        yield f"Bits Allocated {allocated}, Bits Stored {stored} and High Bit {high} do not fit each other"
        return
    if signed not in (0, 1):
        yield f"Pixel Representation (0028,0103) is {signed}"
    samples, frames = number(header, "SamplesPerPixel") or 1, number(header, "NumberOfFrames") or 1
    needed = rows * columns * samples * frames * allocated // 8
    # Colour may be subsampled, and then takes less.
    if pixels.length is not None and samples == 1 and pixels.length < needed:
        yield f"Pixel Data (7FE0,0010) is cut off: {pixels.length} bytes, the header says {needed:g}"


def _rescale(header: Dataset) -> Iterator[str]:
    """PS3.3 section C.8.2.1: Type 1 in a CT image."""
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope is None or intercept is None:
        yield "Rescale Slope (0028,1053) or Rescale Intercept (0028,1052) is missing"
    elif slope == 0:
        yield "Rescale Slope (0028,1053) is 0"


def _plane_module(header: Dataset) -> Iterator[str]:
    """PS3.3 section C.7.6.2 and C.7.4.1."""
    for keyword, count in (("PixelSpacing", 2), ("ImagePositionPatient", 3), ("ImageOrientationPatient", 6)):
        found = numbers(header, keyword)
        if len(found) != count:
            yield f"{keyword} has {len(found)} values, not {count}"
        elif keyword == "PixelSpacing" and min(found) <= 0:
            yield f"PixelSpacing (0028,0030) is {found[0]:g} x {found[1]:g} mm"
        elif keyword == "ImageOrientationPatient":
            try:
                normal_of(found)
            except OrientationInvalid as error:
                yield f"ImageOrientationPatient (0020,0037): {error}"
    thickness = number(header, "SliceThickness")
    if thickness is not None and thickness < 0:
        yield f"SliceThickness (0018,0050) is {thickness:g} mm"
    if not text(header, "FrameOfReferenceUID"):
        yield "FrameOfReferenceUID (0020,0052) is missing"


_OF_ANY = (_uids, _readable, _whole)
_OF_PIXELS = (_pixel_module,)
_OF_SLICES = (_rescale, _plane_module)

Differences = Iterator[tuple[int, str]]


def _patients(headers: Sequence[Dataset]) -> Differences:
    """Who the patient is must be the same in all; a name may be spelt with more or fewer empty components."""

    def patient(header: Dataset) -> Hashable:
        name = text(header, "PatientName").upper().rstrip("^= ")
        return text(header, "PatientID"), name, text(header, "PatientBirthDate")

    yield from _odd_ones(headers, patient, "two patients in one series: this instance names another than the others")


def _one_series(headers: Sequence[Dataset]) -> Differences:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        yield from _odd_ones(headers, partial(text, keyword=keyword), f"{keyword} differs from the others'")


def _one_grid(headers: Sequence[Dataset]) -> Differences:
    for keyword in ("Rows", "Columns", "PixelSpacing"):
        yield from _odd_ones(headers, partial(numbers, keyword=keyword), f"{keyword} differs from the others'")
    reason = "FrameOfReferenceUID (0020,0052) differs from the others'"
    yield from _odd_ones(headers, partial(text, keyword="FrameOfReferenceUID"), reason)


def _one_direction(headers: Sequence[Dataset]) -> Differences:
    orientations = [numbers(header, "ImageOrientationPatient") for header in headers]
    common = Counter(orientations).most_common(1)[0][0]
    differing = [index for index, one in enumerate(orientations) if not same_direction(one, common)]
    for index in differing:
        yield index, f"the orientation {list(orientations[index])} differs from the others' {list(common)}"
    if differing:
        return
    positions = stack(common, [numbers(header, "ImagePositionPatient") for header in headers])
    for first, second in positions.duplicates:
        yield second, f"it lies where SOP Instance UID {uid_of(headers[first])} lies"


_BETWEEN_ANY = (_patients, _one_series)
_BETWEEN_SLICES = (_one_grid, _one_direction)


def _odd_ones(headers: Sequence[Dataset], of: Callable[[Dataset], Hashable], reason: str) -> Differences:
    """The instances that do not have what most have."""
    try:
        values = [of(header) for header in headers]
    except InvalidObject:
        return  # `_readable` names it
    if len(set(values)) < 2:
        return
    common = Counter(values).most_common(1)[0][0]
    yield from ((index, reason) for index, value in enumerate(values) if value != common)
