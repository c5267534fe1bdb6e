"""QIDO-RS matching as SQL: PS3.4 section C.2.2.2, for the attributes of PS3.18 Table 10.6.1-5 and some that clients ask for.

Single value, list of UIDs, wildcard, range of dates or times, and universal matching. Names of persons are matched
without regard to case, all else with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from sqlalchemy.orm import InstrumentedAttribute

from node.catalogue import folded
from node.dicom.uids import is_valid
from node.store.tables import HeldSeries, HeldStudy
from node.web.dicomweb.answers import Refused

Column = InstrumentedAttribute[Any]
Condition = sa.ColumnElement[bool]

STUDY: Mapping[str, Column] = {
    "StudyDate": HeldStudy.study_date,
    "StudyTime": HeldStudy.study_time,
    "AccessionNumber": HeldStudy.accession_number,
    "ReferringPhysicianName": HeldStudy.referring_physician_name,
    "PatientName": HeldStudy.patient_name,
    "PatientID": HeldStudy.patient_id,
    "PatientBirthDate": HeldStudy.patient_birth_date,
    "PatientSex": HeldStudy.patient_sex,
    "StudyInstanceUID": HeldStudy.study_instance_uid,
    "StudyID": HeldStudy.study_id,
    "StudyDescription": HeldStudy.study_description,
}
SERIES: Mapping[str, Column] = {
    "Modality": HeldSeries.modality,
    "SeriesInstanceUID": HeldSeries.series_instance_uid,
    "SeriesNumber": HeldSeries.series_number,
    "SeriesDescription": HeldSeries.series_description,
    "PerformedProcedureStepStartDate": HeldSeries.performed_date,
    "PerformedProcedureStepStartTime": HeldSeries.performed_time,
}
INSTANCE = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")
MODALITIES_IN_STUDY = "ModalitiesInStudy"

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_NUMBER = re.compile(r"[+-]?\d{1,12}")


def keyword_of(name: str) -> str:
    """The keyword of an attribute that a query names by keyword or by tag.

    Raises:
        Refused: it is none of the standard's.
    """
    keyword = keyword_for_tag(int(name, 16)) if _TAG.fullmatch(name) else name
    if not keyword or tag_for_keyword(keyword) is None:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name[:64]!r} is no keyword and no tag of a standard attribute")
    return keyword


def condition(keyword: str, value: str, dialect: str) -> Condition:
    """What a study or series must fulfil to match.

    Raises:
        Refused: the value is none that the attribute can have.
    """
    if keyword == MODALITIES_IN_STUDY:
        of_it = sa.select(HeldSeries.id).where(HeldSeries.study_id == HeldStudy.id)
        return of_it.where(_matches("Modality", HeldSeries.modality, value, dialect)).exists()
    return _matches(keyword, {**STUDY, **SERIES}[keyword], value, dialect)


def _matches(keyword: str, column: Column, value: str, dialect: str) -> Condition:
    if value.strip("*") == "":
        return sa.true()  # universal matching
    return _BY_VR.get(dictionary_VR(tag_for_keyword(keyword) or 0), _text)(keyword, column, value, dialect)


def uids(keyword: str, value: str) -> list[str]:
    """The UIDs of a list, which commas or backslashes part.

    Raises:
        Refused: one is none.
    """
    found = [uid for uid in re.split(r"[,\\]", value) if uid]
    for uid in found:
        if not is_valid(uid):
            raise Refused(HTTPStatus.BAD_REQUEST, f"{keyword}={value[:80]}: {uid[:80]!r} is not a UID")
    return found


def _uids(keyword: str, column: Column, value: str, _dialect: str) -> Condition:
    return column.in_(uids(keyword, value))


def _integer(keyword: str, column: Column, value: str, _dialect: str) -> Condition:
    if not _NUMBER.fullmatch(value.strip()):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{keyword}={value[:80]} is no integer")
    return column == int(value)


def _date(keyword: str, column: Column, value: str, _dialect: str) -> Condition:
    return _range(keyword, column, value, re.compile(r"\d{8}"), "a date as 20240131")


def _time(keyword: str, column: Column, value: str, _dialect: str) -> Condition:
    return _range(keyword, column, value, re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"), "a time as 2359 or 235959")


def _range(keyword: str, column: Column, value: str, form: re.Pattern[str], what: str) -> Condition:
    """`A-B`, `A-`, `-B` or `A`; nothing matches a study or series that does not tell."""
    first, dash, last = value.partition("-")
    for end in filter(None, (first, last)):
        if not form.fullmatch(end):
            raise Refused(
                HTTPStatus.BAD_REQUEST, f"{keyword}={value[:80]}: {end[:40]!r} is not {what}, nor a range of two"
            )
    if not (first or last):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{keyword}={value[:80]} is a range without ends")
    # As text: both are written from the greatest unit to the least. "12" ends at "12:59:59.999999".
    above, below = column >= first, column < last + ":"  # a colon comes after every digit
    if not dash:
        return sa.and_(column >= first, column < first + ":")
    return sa.and_(column != "", *([above] if first else []), *([below] if last else []))


def _name(_keyword: str, column: Column, value: str, _dialect: str) -> Condition:
    return _like(column, folded(value)) if _has_wildcard(value) else column == folded(value)


def _text(_keyword: str, column: Column, value: str, dialect: str) -> Condition:
    if not _has_wildcard(value):
        return column == value.strip()
    if dialect == "sqlite":  # whose LIKE knows no case
        return column.op("GLOB")(value.strip().replace("[", "[[]"))
    return _like(column, value.strip())


def _has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def _like(column: Column, pattern: str) -> Condition:
    escaped = re.sub(r"([%_\\])", r"\\\1", pattern)
    return column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")


_BY_VR: Mapping[str, Callable[[str, Column, str, str], Condition]] = {
    "UI": _uids, "IS": _integer, "DA": _date, "TM": _time, "PN": _name,
}  # fmt: skip
