"""What is known of a whole series, for the rules and for people: `SeriesFacts` from the headers of its instances.

Facts hold the attributes that tell how a series was made, not who was imaged: see `left_out`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from node.dicom.flaws import Flaw, flaws_of
from node.dicom.geometry import OrientationInvalid, Stack, plane, same_direction, stack
from node.dicom.headers import pixel_data
from node.dicom.uids import is_own_device
from node.dicom.values import items, number, numbers, plain_value, text, texts, uid_of, vrs_of
from node.errors import InvalidObject
from node.series import SeriesFacts, TagValues

PRESENT = "present"
"""Stands for the value of a sequence or of bulk data, of which only its presence is kept."""

_IDENTIFIERS = frozenset(
    {
        "AccessionNumber",
        "AdmissionID",
        "BranchOfService",
        "CountryOfResidence",
        "CurrentPatientLocation",
        "EthnicGroup",
        "FillerOrderNumberImagingServiceRequest",
        "InsurancePlanIdentification",
        "IssuerOfPatientID",
        "MedicalRecordLocator",
        "MilitaryRank",
        "Occupation",
        "OtherPatientIDs",
        "PatientAddress",
        "PatientID",
        "PatientInstitutionResidence",
        "PatientReligiousPreference",
        "PatientTelephoneNumbers",
        "PerformedProcedureStepID",
        "PlacerOrderNumberImagingServiceRequest",
        "RegionOfResidence",
        "RequestedProcedureID",
        "ScheduledProcedureStepID",
        "ServiceEpisodeID",
        "StudyID",
    }
)
_OF_EACH_INSTANCE = frozenset(
    {
        "ImagePosition",
        "ImagePositionPatient",
        "InstanceNumber",
        "LargestImagePixelValue",
        "SOPInstanceUID",
        "SliceLocation",
        "SmallestImagePixelValue",
        "TablePosition",
    }
)
_BULK_VRS = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
_TIMES = frozenset({"DA", "DT", "TM"})
_LONG_TEXTS = frozenset({"LT", "ST", "UC", "UR", "UT"})
_HU_TYPES = frozenset(
    {"", "HU", "US"}
)  # "US" is unspecified; a CT image that is neither derived nor said otherwise is in HU


@dataclass(frozen=True, slots=True)
class Examination:
    """A series looked at: the facts, and which instance each flaw is of."""

    facts: SeriesFacts
    flaws: tuple[Flaw, ...]


def series_facts(
    headers: Sequence[Dataset], calling_ae_title: str, called_ae_title: str, made_here: Callable[[str], bool]
) -> SeriesFacts:
    """What is known of a series from the headers of all its instances; `made_here` knows SOP Instance UIDs of ours."""
    return examine(headers, calling_ae_title, called_ae_title, made_here).facts


def examine(
    headers: Sequence[Dataset], calling_ae_title: str, called_ae_title: str, made_here: Callable[[str], bool]
) -> Examination:
    """As `series_facts`, and which instance each flaw is of. Raises nothing over malformed headers."""
    never = tuple(_never(headers, made_here))
    flaws = flaws_of(headers, as_slices=not never)
    geometry = _geometry(headers)
    tilts = [
        abs(tilt) for tilt in (geometry.tilt_deg if geometry else None, _declared_tilt_deg(headers)) if tilt is not None
    ]
    facts = SeriesFacts(
        study_instance_uid=_text(headers, "StudyInstanceUID"),
        series_instance_uid=_text(headers, "SeriesInstanceUID"),
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        number_of_slices=len(headers),
        orientation=plane(geometry.normal) if geometry else None,
        # Either is reason enough: a header may declare a tilt that its positions do not show.
        gantry_tilt_deg=round(max(tilts), 4) if tilts else None,
        slice_spacing_mm=_rounded(geometry.spacing_mm) if geometry else None,
        spacing_uniform=geometry.spacing_uniform if geometry else None,
        z_extent_mm=_extent_mm(geometry, headers) if geometry else None,
        tags=_tags(headers),
        never=(*never, *(_incomplete(geometry) if geometry and not never else ())),
        malformed=tuple(str(flaw) for flaw in flaws),
    )
    return Examination(facts, flaws)


def left_out(keyword: str) -> str | None:
    """Why facts never hold the values of an attribute, so that no rule can ask for them; None where they do."""
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    vr = vrs_of(tag)[0]
    if vr == "PN" or keyword in _IDENTIFIERS or keyword == "PatientBirthDate":
        return "it may identify the patient"
    if vr in _TIMES:
        return "dates and times are not kept"
    if keyword in _OF_EACH_INSTANCE:
        return "it is of each instance, not of the series"
    if vr in _LONG_TEXTS:
        return "long texts are not kept"
    if 0x5000 <= tag.group < 0x6100:
        return "curves and overlays are not kept"
    return None


def _tags(headers: Sequence[Dataset]) -> dict[str, TagValues]:
    """Distinct values over all instances. None is dropped for being one of many: a rule asks whether all agree."""
    found: dict[str, Counter[Any]] = {}
    for header in headers:
        for keyword, value in _kept_values(header):
            found.setdefault(keyword, Counter())[value] += 1
    count = len(headers)
    return {
        keyword: TagValues(tuple(values), missing=count - values.total()) for keyword, values in sorted(found.items())
    }


def _kept_values(header: Dataset) -> Iterator[tuple[str, Any]]:
    for tag in list(header.keys()):
        keyword = keyword_for_tag(tag)
        if not keyword or tag.is_private or left_out(keyword):
            continue
        if not _BULK_VRS.isdisjoint(vrs_of(tag)):
            yield keyword, PRESENT
            continue
        try:
            value = plain_value(header, tag)
        except InvalidObject:
            continue  # `flaws` names it, and the series is refused
        if value is not None:
            yield keyword, value
    if pixel_data(header) is not None:
        yield "PixelData", PRESENT


def _never(headers: Sequence[Dataset], made_here: Callable[[str], bool]) -> Iterator[str]:
    """Why the series can never be a candidate: the loop guard first, then what is no volume of original CT slices."""
    count = len(headers)
    for reason, told in (
        (
            "this node made {n} of its {count} instances, the first is {uid}",
            lambda h: made_here(text(h, "SOPInstanceUID")),
        ),
        (
            "{n} of {count} instances carry a Device UID (0018,1002) of this software as Contributing Equipment",
            _our_device,
        ),
        ("Image Type (0008,0008) says DERIVED in {n} of {count} instances", lambda h: "DERIVED" in _image_type(h)[:1]),
        ("Image Type (0008,0008) says LOCALIZER in {n} of {count} instances", lambda h: "LOCALIZER" in _image_type(h)),
        ("Modality (0008,0060) is not CT in {n} of {count} instances", lambda h: text(h, "Modality") != "CT"),
        ("Enhanced CT is received and kept but not harmonized", _is_multi_frame),
        ("{n} of {count} instances are no CT Image but {sop_class}", _is_other_class),
        ("{n} of {count} instances have no Pixel Data (7FE0,0010)", lambda h: pixel_data(h) is None),
        ("{n} of {count} instances are not monochrome", _is_coloured),
        ("{n} of {count} instances are not in HU but, by Rescale Type (0028,1054), in {unit}", _is_other_quantity),
    ):
        those = [header for header in headers if _told(told, header)]
        if those:
            first = those[0]
            yield reason.format(
                n=len(those),
                count=count,
                uid=uid_of(first),
                sop_class=UID(_text([first], "SOPClassUID") or "of unknown class").name,
                unit=_text([first], "RescaleType"),
            )


def _told(question: Callable[[Dataset], bool], header: Dataset) -> bool:
    """What cannot be read does not tell; `flaws` names it."""
    try:
        return question(header)
    except InvalidObject:
        return False


def _image_type(header: Dataset) -> tuple[str, ...]:
    # Value 2, SECONDARY beside ORIGINAL, tells of a later reconstruction: its pixels are original all the same.
    return tuple(value.upper() for value in texts(header, "ImageType"))


def _our_device(header: Dataset) -> bool:
    equipment = items(header, "ContributingEquipmentSequence")
    return any(is_own_device(uid) for item in equipment for uid in texts(item, "DeviceUID"))


def _is_multi_frame(header: Dataset) -> bool:
    sop_class = text(header, "SOPClassUID")
    enhanced = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
    return sop_class in enhanced or (number(header, "NumberOfFrames") or 1) > 1


def _is_other_class(header: Dataset) -> bool:
    sop_class = text(header, "SOPClassUID")
    return bool(sop_class) and sop_class != CTImageStorage and not _is_multi_frame(header)


def _is_coloured(header: Dataset) -> bool:
    interpretation = text(header, "PhotometricInterpretation")
    return (number(header, "SamplesPerPixel") or 1) != 1 or (
        bool(interpretation) and not interpretation.startswith("MONOCHROME")
    )


def _is_other_quantity(header: Dataset) -> bool:
    return text(header, "RescaleType").upper() not in _HU_TYPES


def _incomplete(geometry: Stack) -> Iterator[str]:
    for before, after, missing in geometry.gaps:
        slices = "1 slice is" if missing == 1 else f"{missing} slices are"
        yield f"incomplete: {slices} missing between {before:.2f} and {after:.2f} mm along the slice normal"


def _geometry(headers: Sequence[Dataset]) -> Stack | None:
    """None where an orientation or a position is missing or malformed, or the slices are not parallel."""
    try:
        orientations = [numbers(header, "ImageOrientationPatient") for header in headers]
        origins = [numbers(header, "ImagePositionPatient") for header in headers]
        if any(len(one) != 6 for one in orientations) or any(len(one) != 3 for one in origins) or not headers:
            return None
        if not all(same_direction(one, orientations[0]) for one in orientations):
            return None
        return stack(orientations[0], origins)
    except (InvalidObject, OrientationInvalid):
        return None


def _declared_tilt_deg(headers: Sequence[Dataset]) -> float | None:
    """The greatest Gantry/Detector Tilt (0018,1120)."""
    tilts = [tilt for header in headers for tilt in _numbers(header, "GantryDetectorTilt")]
    return max(tilts, key=abs, default=None)


def _extent_mm(geometry: Stack, headers: Sequence[Dataset]) -> float:
    thickness = max((mm for header in headers for mm in _numbers(header, "SliceThickness")), default=0.0)
    return round(geometry.extent_mm + thickness, 4)


def _numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    try:
        return numbers(header, keyword)
    except InvalidObject:
        return ()


def _text(headers: Sequence[Dataset], keyword: str) -> str:
    try:
        return text(headers[0], keyword)
    except (InvalidObject, IndexError):
        return ""


def _rounded(value: float | None) -> float | None:
    """Binary remainders of decimal positions would make 2.5 mm 2.499999999999986."""
    return None if value is None or not math.isfinite(value) else round(value, 4)
