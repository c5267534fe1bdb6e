"""Our own judgement of a derived instance, for what general validators miss.

They do not know the source: an instance that keeps ORIGINAL, stands in another study, moved, or names a wrong purpose
is well-formed to them.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.derive.elements import has_value, items, raw, tag_of, unsigned, vr_of
from node.derive.iod import TYPE_1, TYPE_2
from node.derive.provenance import EDGE_ENHANCEMENT, PROCESSING_EQUIPMENT, SMOOTHING, SOURCE_IMAGE
from node.derive.text import LO_CHARACTERS, LT_CHARACTERS, ST_CHARACTERS
from node.dicom.headers import pixel_data
from node.dicom.uids import is_own_device, is_valid

_AS_IN_THE_SOURCE = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientPosition"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "SliceLocation", "PhotometricInterpretation"),
    *("InstanceNumber", "AcquisitionNumber", "ConvolutionKernel", "IrradiationEventUID"),
)
_MUST_BE_GONE = (
    *("DigitalSignaturesSequence", "MACParametersSequence", "IconImageSequence", "OriginalAttributesSequence"),
    *("SmallestImagePixelValue", "LargestImagePixelValue", "ModalityLUTSequence"),
)
_LENGTHS = {
    "SeriesDescription": LO_CHARACTERS,
    "DerivationDescription": ST_CHARACTERS,
    "ImageComments": LT_CHARACTERS,
}


def findings(derived: Dataset, source: Dataset) -> list[str]:
    """What is wrong with `derived`, in words; nothing where it may be sent.

    Args:
        derived: its header as read from its bytes, and what is known of its pixels.
        source: the header of its source as `read_header` gives it.
    """
    # The bytes are compared before anything is decoded.
    return [
        *_unlike_the_source(derived, source),
        *_not_a_ct_image(derived),
        *_wrong_uids(derived, source),
        *_wrong_pixels(derived, source),
        *_wrong_provenance(derived, source),
    ]


def _unlike_the_source(derived: Dataset, source: Dataset) -> Iterator[str]:
    for keyword in _AS_IN_THE_SOURCE:
        ours, theirs = raw(derived, keyword), raw(source, keyword)
        if ours != theirs:
            yield f"{keyword} is {_shown(ours)} where the source has {_shown(theirs)}"
    for keyword in ("Rows", "Columns"):
        if unsigned(derived, keyword) != unsigned(source, keyword):
            yield f"{keyword} is {unsigned(derived, keyword)} where the source has {unsigned(source, keyword)}"
    if raw(source, "LossyImageCompression") == b"01" != raw(derived, "LossyImageCompression"):
        yield "LossyImageCompression is not 01 although the source was compressed lossily"
    if raw(derived, "BurnedInAnnotation") != (b"YES" if raw(source, "BurnedInAnnotation") == b"YES" else b"NO"):
        yield f"BurnedInAnnotation is {_shown(raw(derived, 'BurnedInAnnotation'))}"


def _not_a_ct_image(derived: Dataset) -> Iterator[str]:
    yield from (f"{keyword} is missing or empty (Type 1)" for keyword in TYPE_1 if not has_value(derived, keyword))
    yield from (f"{keyword} is missing (Type 2)" for keyword in TYPE_2 if tag_of(keyword) not in derived)
    for keyword, value in (
        ("SOPClassUID", CTImageStorage),
        ("Modality", "CT"),
        ("ImageType", "DERIVED\\SECONDARY\\AXIAL"),
    ):
        if raw(derived, keyword) != value.encode():
            yield f"{keyword} is {_shown(raw(derived, keyword))}, not {value}"
    if not raw(derived, "DerivationDescription"):
        yield "DerivationDescription is missing"
    for keyword, characters in _LENGTHS.items():
        # A character may take several bytes, so what is long is decoded.
        if len(raw(derived, keyword)) > characters and len(str(derived.get(keyword, ""))) > characters:
            yield f"{keyword} is longer than {characters} characters"
    yield from (f"{keyword} is of the source's pixels" for keyword in _MUST_BE_GONE if tag_of(keyword) in derived)


def _wrong_uids(derived: Dataset, source: Dataset) -> Iterator[str]:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        ours = raw(derived, keyword)
        if ours == raw(source, keyword):
            yield f"{keyword} is the source's"
        if not is_valid(ours.decode("ascii", "replace")):
            yield f"{keyword} {_shown(ours)} is no UID"
    meta = derived.file_meta
    if meta.MediaStorageSOPInstanceUID != raw(derived, "SOPInstanceUID").decode("ascii", "replace"):
        yield "MediaStorageSOPInstanceUID is not the SOPInstanceUID"
    if meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        yield f"TransferSyntaxUID is {meta.TransferSyntaxUID}, not Explicit VR Little Endian"


def _wrong_pixels(derived: Dataset, source: Dataset) -> Iterator[str]:
    stored = tuple(unsigned(derived, key) for key in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"))
    if stored != (16, 16, 15, 1):
        yield f"BitsAllocated, BitsStored, HighBit, PixelRepresentation are {stored}, not signed 16 bits"
    if raw(derived, "RescaleType") != b"HU" or raw(derived, "RescaleSlope") != b"1":
        yield "the rescaled values are not whole HU"
    expected = 2 * (unsigned(derived, "Rows") or 0) * (unsigned(derived, "Columns") or 0)
    pixels = pixel_data(derived)
    size = pixels.length if pixels is not None and pixels.complete else None
    if size != expected:
        yield f"PixelData has {size} bytes, not {expected}"
    if tag_of("PixelPaddingValue") not in derived:
        if tag_of("PixelPaddingValue") in source:
            yield "PixelPaddingValue is lost"
    elif vr_of(derived, "PixelPaddingValue") != "SS":
        yield f"PixelPaddingValue has the VR {vr_of(derived, 'PixelPaddingValue')} where pixels are signed"


def _wrong_provenance(derived: Dataset, source: Dataset) -> Iterator[str]:
    source_uid, series_uid = _text(source, "SOPInstanceUID"), _text(source, "SeriesInstanceUID")
    images = items(derived, "SourceImageSequence")
    if [_text(image, "ReferencedSOPInstanceUID") for image in images] != [source_uid]:
        yield "SourceImageSequence does not name the source alone"
    if [_codes(image, "PurposeOfReferenceCodeSequence") for image in images] != [[("DCM", *SOURCE_IMAGE)]]:
        yield f"the purpose of reference of the source image is not {' '.join(SOURCE_IMAGE)}"
    if [_text(image, "SpatialLocationsPreserved") for image in images] != ["YES"]:
        yield "SpatialLocationsPreserved is not YES"
    series = [
        one for one in items(derived, "ReferencedSeriesSequence") if _text(one, "SeriesInstanceUID") == series_uid
    ]
    instances = [instance for one in series for instance in items(one, "ReferencedInstanceSequence")]
    if [_text(instance, "ReferencedSOPInstanceUID") for instance in instances] != [source_uid]:
        yield "ReferencedSeriesSequence does not name the source"
    for done in _codes(derived, "DerivationCodeSequence"):
        if done not in {("DCM", *EDGE_ENHANCEMENT), ("DCM", *SMOOTHING)}:
            yield f"DerivationCodeSequence has {' '.join(done)}"
    yield from _wrong_equipment(derived, source)


def _wrong_equipment(derived: Dataset, source: Dataset) -> Iterator[str]:
    contributors = items(derived, "ContributingEquipmentSequence")
    before = [raw(item, "Manufacturer") for item in items(source, "ContributingEquipmentSequence")]
    if [raw(item, "Manufacturer") for item in contributors][: len(before)] != before:
        yield "ContributingEquipmentSequence was replaced where it should be appended to"
    node = contributors[-1] if contributors else Dataset()
    purpose = _codes(node, "PurposeOfReferenceCodeSequence")
    if purpose != [("DCM", *PROCESSING_EQUIPMENT)] or not is_own_device(_text(node, "DeviceUID")):
        yield "ContributingEquipmentSequence does not end with this node: the series could come back as a source"


def _codes(data_set: Dataset, keyword: str) -> list[tuple[str, str, str]]:
    """Scheme, value and meaning of each code."""
    return [
        (_text(item, "CodingSchemeDesignator"), _text(item, "CodeValue"), _text(item, "CodeMeaning"))
        for item in items(data_set, keyword)
    ]


def _text(data_set: Dataset, keyword: str) -> str:
    return raw(data_set, keyword).decode("ascii", "replace")


def _shown(value: bytes) -> str:
    return repr(value.decode("ascii", "replace")) if value else "missing"
