"""The attributes of a derived instance: the source's, and over them what the node says of itself and of what it did."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.derive.elements import Elements, copied, data_set, has_value, named, raw, tag_of, unsigned
from node.derive.iod import TYPE_1, TYPE_2, UNPAIRED_BODY_PARTS
from node.derive.making import Making
from node.derive.pixels import Representation
from node.derive.provenance import derivation, equipment
from node.derive.text import LO_CHARACTERS, LT_CHARACTERS, Text
from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.errors import PermanentError

_ALWAYS_LOSSY = {
    f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 53, 55)
}  # JPEG processes 1, 2 and 4, 6 and 8, 10 and 12
_PERHAPS_LOSSY = {f"1.2.840.10008.1.2.4.{last}" for last in (81, 91, 112, 203)}  # JPEG-LS, JPEG 2000, JPEG XL, HTJ2K
_IS_LIMIT = (1 << 31) - 1  # PS3.5 section 6.2


def header(source: Dataset, making: Making, stored: Representation) -> Elements:
    """Everything but Pixel Data.

    Args:
        source: the header of the source instance as `read_header` gives it, not looked at since.
        making: what the series has in common.
        stored: the representation of the pixels.

    Raises:
        PermanentError: the source lacks what the CT Image IOD requires and nobody may invent.
    """
    signed = unsigned(source, "PixelRepresentation") == 1
    text = Text(source)
    elements = copied(source, making.keeps, making.keeps_inside, "SS" if signed else "US")
    elements |= _identity(source, making, text)
    elements |= _times(source, making.made_at)
    elements |= equipment(source, making, text)
    elements |= derivation(source, making, text)
    elements |= _pixel_description(source, stored)
    for keyword in (*TYPE_2, *_laterality(source)):
        elements.setdefault(tag_of(keyword), named(keyword, b"")[tag_of(keyword)])
    missing = [keyword for keyword in TYPE_1 if len(elements.get(tag_of(keyword), b"")) <= 8]
    if missing:
        raise PermanentError(
            f"the source instance {raw(source, 'SOPInstanceUID').decode('ascii', 'replace')} has no {', '.join(missing)}, "
            "which a CT image must have and the node may not invent; the series is stopped"
        )
    return elements


def file_meta(sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Preamble and File Meta Information, PS3.10 section 7.1."""
    body = data_set(
        named("FileMetaInformationVersion", b"\0\1")
        | named("MediaStorageSOPClassUID", sop_class_uid)
        | named("MediaStorageSOPInstanceUID", sop_instance_uid)
        | named("TransferSyntaxUID", ExplicitVRLittleEndian)
        | named("ImplementationClassUID", IMPLEMENTATION_CLASS_UID)
        | named("ImplementationVersionName", IMPLEMENTATION_VERSION_NAME)
    )
    return b"\0" * 128 + b"DICM" + data_set(named("FileMetaInformationGroupLength", len(body))) + body


def _identity(source: Dataset, making: Making, text: Text) -> Elements:
    settings = making.settings
    description = text.filled(settings.series_description, _fields(source, making, "SeriesDescription"), LO_CHARACTERS)
    comments: Elements = {}
    if settings.image_comments:
        filled = text.filled(settings.image_comments, _fields(source, making, "ImageComments"), LT_CHARACTERS)
        comments = named("ImageComments", filled)
    return (
        named("ImageType", "DERIVED\\SECONDARY\\AXIAL")
        | named("SOPClassUID", CTImageStorage)
        | named("SOPInstanceUID", making.instance_uid(_uid(source, "SOPInstanceUID")))
        | named("SeriesInstanceUID", making.series_uid(_uid(source, "SeriesInstanceUID")))
        | named("SeriesNumber", str(_series_number(source, settings.series_number_offset)))
        | named("SeriesDescription", description)
        | named("InstanceCreatorUID", making.device_uid)
        | comments
    )


def _fields(source: Dataset, making: Making, own: str) -> dict[str, str | bytes]:
    """What `config.TEMPLATE_FIELDS` stand for; `own` is the attribute that the text is for."""
    method = making.method
    return {
        "source": raw(source, own).strip(b" \0"),
        "kernel": raw(source, "ConvolutionKernel").split(b"\\")[0].strip(b" \0"),
        "plugin": method.name,
        "target": method.target,
        "version": method.version,
    }


def _laterality(source: Dataset) -> tuple[str, ...]:
    """Laterality (0020,0060) is of Type 2C: empty, as unknown, unless the body part is known to have no sides."""
    unpaired = raw(source, "BodyPartExamined").decode("ascii", "replace") in UNPAIRED_BODY_PARTS
    return () if unpaired or has_value(source, "ImageLaterality") else ("Laterality",)


def _series_number(source: Dataset, offset: int) -> int:
    """The source's plus the offset; the offset alone where there is none or the sum is too large for an IS."""
    try:
        number = int(float(raw(source, "SeriesNumber"))) + offset
    except (ValueError, OverflowError):
        return offset
    return number if abs(number) <= _IS_LIMIT else offset


def _times(source: Dataset, made_at: datetime) -> Elements:
    """When it was made, in the zone that the source's times are in."""
    local = made_at.astimezone(_zone(source))
    date, time = f"{local:%Y%m%d}", f"{local:%H%M%S.%f}"
    elements: Elements = {}
    for keyword in ("Series", "Content", "InstanceCreation"):
        elements |= named(f"{keyword}Date", date) | named(f"{keyword}Time", time)
    return elements


def _zone(source: Dataset) -> timezone | None:
    """Timezone Offset From UTC (0008,0201); None, the zone of this machine, where the source does not say.

    It is not added where it is missing: it would claim the zone of the source's own times.
    """
    offset = raw(source, "TimezoneOffsetFromUTC").decode("ascii", "replace")
    if len(offset) != 5 or offset[0] not in "+-" or not (offset[1:].isascii() and offset[1:].isdigit()):
        return None
    distance = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
    if distance >= timedelta(days=1):
        return None
    return timezone(-distance if offset[0] == "-" else distance)


def _pixel_description(source: Dataset, stored: Representation) -> Elements:
    """Image Pixel, PS3.3 C.7.6.3, and CT Image, C.8.2.1, for signed 16-bit HU."""
    elements = (
        named("SamplesPerPixel", 1)
        | named("BitsAllocated", 16)
        | named("BitsStored", 16)
        | named("HighBit", 15)
        | named("PixelRepresentation", 1)
        | named("RescaleIntercept", str(stored.intercept_hu))
        | named("RescaleSlope", "1")
        | named("RescaleType", "HU")
    )
    if stored.padding is not None:
        elements |= named("PixelPaddingValue", stored.padding, vr="SS")  # as Pixel Representation is 1
    # What was burned into the source's pixels is still there; nothing is burned in by us.
    if raw(source, "BurnedInAnnotation") != b"YES":
        elements |= named("BurnedInAnnotation", "NO")
    flag = raw(source, "LossyImageCompression")
    syntax = str(source.file_meta.TransferSyntaxUID)
    # Lossy once is lossy for ever. Where a scheme that may be lossy came without a flag, it is taken for lossy.
    if syntax in _ALWAYS_LOSSY or (not flag and syntax in _PERHAPS_LOSSY):
        elements |= named("LossyImageCompression", "01")
    return elements


def _uid(source: Dataset, keyword: str) -> str:
    uid = raw(source, keyword)
    if not uid:
        raise PermanentError(f"a source instance has no {keyword}; the series is stopped")
    return uid.decode("ascii", "replace")
