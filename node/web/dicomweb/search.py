"""QIDO-RS, PS3.18 section 10.6: studies, series and instances that the node holds, received and derived alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from sqlalchemy.orm import Session

from node.catalogue import SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, as_json
from node.dicom.headers import read_header
from node.dicom.values import number
from node.errors import InvalidObject
from node.store.tables import HeldSeries, HeldStudy
from node.web.dicomweb import answers, held, matching
from node.web.dicomweb.answers import Refused
from node.web.dicomweb.held import Held, Scope
from node.web.dicomweb.witness import reader
from node.web.site import Site

router = APIRouter(dependencies=[Depends(reader)])

MAX_RESULTS = 1000  # an answer; more are asked for with offset
_WHOLE_SERIES = 20_000

Json = dict[str, Any]

# Returned unasked, PS3.18 Tables 10.6.3-3 to 10.6.3-5, and what viewers show in their lists.
_STUDY = frozenset(
    {
        "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "TimezoneOffsetFromUTC", "PatientName",
        "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDescription",
    }
)  # fmt: skip
_SERIES = frozenset(
    {
        "Modality", "TimezoneOffsetFromUTC", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber",
        "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "RequestAttributesSequence",
    }
)  # fmt: skip
_INSTANCE = ("SOPClassUID", "SOPInstanceUID", "TimezoneOffsetFromUTC", "InstanceNumber", "Rows", "Columns",
             "BitsAllocated", "NumberOfFrames")  # fmt: skip


@dataclass(slots=True)
class Query:
    """What a query asks for."""

    matches: dict[str, str] = field(default_factory=dict)  # keyword -> value
    include: set[str] = field(default_factory=set)  # keywords
    everything: bool = False  # includefield=all
    limit: int = MAX_RESULTS
    offset: int = 0
    warnings: list[str] = field(default_factory=list)


@router.get("/studies")
def studies(request: Request) -> Response:
    return _answer(request, _studies, {}, {*matching.STUDY, matching.MODALITIES_IN_STUDY})


@router.get("/series")
def all_series(request: Request) -> Response:
    return _answer(request, _series, {}, {*matching.STUDY, *matching.SERIES, matching.MODALITIES_IN_STUDY})


@router.get("/studies/{study}/series")
def series_of_study(request: Request, study: str) -> Response:
    answers.require_uids(study)
    return _answer(request, _series, {"StudyInstanceUID": study}, {*matching.SERIES})


@router.get("/instances")
def all_instances(request: Request) -> Response:
    allowed = {*matching.STUDY, *matching.SERIES, *matching.INSTANCE, matching.MODALITIES_IN_STUDY}
    return _answer(request, _instances, {}, allowed)


@router.get("/studies/{study}/instances")
def instances_of_study(request: Request, study: str) -> Response:
    answers.require_uids(study)
    return _answer(request, _instances, {"StudyInstanceUID": study}, {*matching.SERIES, *matching.INSTANCE})


@router.get("/studies/{study}/series/{series}/instances")
def instances_of_series(request: Request, study: str, series: str) -> Response:
    answers.require_uids(study, series)
    given = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    return _answer(request, _instances, given, {*matching.INSTANCE})


def _answer(request: Request, search: Any, given: Mapping[str, str], allowed: set[str]) -> Response:
    """One more match than is asked for is looked for, to know whether there are more."""
    media = answers.require_json(request)
    query = _parse(request, allowed)
    query.matches.update(given)
    site: Site = request.app.state.site
    with site.database.read() as session:
        found = search(session, site, query, answers.base_url(request))
    if len(found) > query.limit:
        del found[query.limit :]
        query.warnings.append("There are additional results that can be requested")
    warning = {"Warning": ", ".join(f'299 harmonode "{text}"' for text in query.warnings)} if query.warnings else {}
    if not found:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=warning)
    return answers.as_json(found, media, headers=warning)


def _parse(request: Request, allowed: set[str]) -> Query:
    query = Query()
    for name, value in request.query_params.multi_items():
        if name in _PARAMETERS:
            _PARAMETERS[name](query, value)
            continue
        keyword = matching.keyword_of(name)
        if keyword not in allowed:
            known = ", ".join(sorted(allowed))
            raise Refused(HTTPStatus.BAD_REQUEST, f"{keyword} cannot be matched here; there are: {known}")
        if keyword in query.matches:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{keyword} is given twice")
        query.matches[keyword] = value
    return query


def _limit(query: Query, value: str) -> None:
    query.limit = min(_natural("limit", value), MAX_RESULTS)


def _offset(query: Query, value: str) -> None:
    query.offset = _natural("offset", value)


def _fuzzymatching(query: Query, value: str) -> None:
    """PS3.18 section 8.3.4.2: who does not support it says so, and matches literally."""
    if value.lower() not in ("true", "false"):
        raise Refused(HTTPStatus.BAD_REQUEST, f"fuzzymatching={value[:40]} is neither true nor false")
    if value.lower() == "true":
        told = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
        query.warnings.append(told)


def _includefield(query: Query, value: str) -> None:
    for item in filter(None, value.split(",")):
        query.everything |= item == "all"
        if item != "all":
            query.include.add(matching.keyword_of(item.partition(".")[0]))


_PARAMETERS: Mapping[str, Callable[[Query, str], None]] = {
    "limit": _limit,
    "offset": _offset,
    "fuzzymatching": _fuzzymatching,
    "includefield": _includefield,
    "accept": lambda _query, _value: None,
}


def _natural(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name}={value[:40]} is no number")
    return int(value)


def _studies(session: Session, site: Site, query: Query, base: str) -> list[Json]:
    dialect = site.database.engine.dialect.name
    here = sa.exists().where(HeldSeries.study_id == HeldStudy.id, held.is_here())
    statement = sa.select(HeldStudy).where(here, *(matching.condition(*one, dialect) for one in query.matches.items()))
    page = statement.order_by(HeldStudy.id).limit(query.limit + 1).offset(query.offset)
    rows = list(session.scalars(page))
    members: dict[int, list[HeldSeries]] = {row.id: [] for row in rows}
    for series in session.scalars(sa.select(HeldSeries).where(HeldSeries.study_id.in_(members), held.is_here())):
        members[series.study_id].append(series)
    counts = held.counts(session, [series.id for of_study in members.values() for series in of_study])
    found = []
    for row in rows:
        of_study = members[row.id]
        extra: dict[str, tuple[str, list[Any]]] = {
            "ModalitiesInStudy": ("CS", sorted({series.modality for series in of_study if series.modality})),
            "InstanceAvailability": ("CS", ["ONLINE"]),
            "RetrieveURL": ("UR", [f"{base}/studies/{row.study_instance_uid}"]),
            "NumberOfStudyRelatedSeries": ("IS", [len(of_study)]),
            "NumberOfStudyRelatedInstances": ("IS", [sum(counts.get(series.id, 0) for series in of_study)]),
        }
        found.append(_entry(query, _STUDY, [row.attributes], extra))
    return found


def _series(session: Session, site: Site, query: Query, base: str) -> list[Json]:
    page = _series_of(site, query, HeldSeries, HeldStudy).limit(query.limit + 1).offset(query.offset)
    rows = session.execute(page).all()
    counts = held.counts(session, [series.id for series, _ in rows])
    found = []
    for series, study in rows:
        url = f"{base}/studies/{study.study_instance_uid}/series/{series.series_instance_uid}"
        extra: dict[str, tuple[str, list[Any]]] = {
            "StudyInstanceUID": ("UI", [study.study_instance_uid]),
            "InstanceAvailability": ("CS", ["ONLINE"]),
            "RetrieveURL": ("UR", [url]),
            "NumberOfSeriesRelatedInstances": ("IS", [counts.get(series.id, 0)]),
        }
        found.append(_entry(query, _SERIES | _STUDY, [study.attributes, series.attributes], extra))
    return found


def _instances(session: Session, site: Site, query: Query, base: str) -> list[Json]:
    wanted_uids, classes, instance_number = (query.matches.pop(keyword, "") for keyword in matching.INSTANCE)
    scope = Scope(*(_one_uid(query, keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID")))
    if instance_number and not scope.series:
        raise Refused(HTTPStatus.BAD_REQUEST, "InstanceNumber can be matched within one series alone")
    found = held.instances(
        session,
        site.config,
        scope,
        series_ids=_series_of(site, query, HeldSeries.id) if query.matches else None,
        uids=matching.uids("SOPInstanceUID", wanted_uids),
        sop_classes=matching.uids("SOPClassUID", classes),
        limit=_WHOLE_SERIES if instance_number else query.limit + 1,
        offset=0 if instance_number else query.offset,
    )
    headers = [(one, _header(one)) for one in found]
    if instance_number:
        headers = [pair for pair in headers if _is_number(pair[1], instance_number)][query.offset :]
    return [_of_instance(query, one, header, base) for one, header in headers[: query.limit + 1]]


def _of_instance(query: Query, one: Held, header: Dataset, base: str) -> Json:
    url = f"{base}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"
    keywords = {*_INSTANCE, *query.include}
    if query.everything:
        keywords |= {element.keyword for element in header if element.keyword and element.VR not in ("OB", "OW", "UN")}
    above = {"StudyInstanceUID": one.study_instance_uid, "SeriesInstanceUID": one.series_instance_uid}
    given = {**above, "SOPClassUID": one.sop_class_uid, "SOPInstanceUID": one.sop_instance_uid}
    entry = as_json(header, sorted(keywords), given)
    return dict(
        sorted(
            {**entry, **_written({"InstanceAvailability": ("CS", ["ONLINE"]), "RetrieveURL": ("UR", [url])})}.items()
        )
    )


def _series_of(site: Site, query: Query, *what: Any) -> sa.Select[Any]:
    dialect = site.database.engine.dialect.name
    conditions = [matching.condition(keyword, value, dialect) for keyword, value in query.matches.items()]
    of_it = sa.select(*what).join(HeldStudy, HeldStudy.id == HeldSeries.study_id)
    return of_it.where(held.is_here(), *conditions).order_by(HeldSeries.id)


def _one_uid(query: Query, keyword: str) -> str:
    """The UID that a query keeps to; "" where it is none or several."""
    several = matching.uids(keyword, query.matches.get(keyword, ""))
    return several[0] if len(several) == 1 else ""


def _entry(
    query: Query, unasked: frozenset[str], kept: Sequence[Json], extra: Mapping[str, tuple[str, list[Any]]]
) -> Json:
    """One match: what is returned unasked, what was asked for, and what was matched."""
    keywords = {*unasked, *query.include, *query.matches}
    if query.everything:
        keywords |= {*STUDY_ATTRIBUTES, *SERIES_ATTRIBUTES}
    tags = {f"{tag_for_keyword(keyword):08X}" for keyword in keywords}
    chosen = {tag: value for attributes in kept for tag, value in attributes.items() if tag in tags}
    return dict(sorted({**chosen, **_written(extra)}.items()))


def _written(attributes: Mapping[str, tuple[str, list[Any]]]) -> Json:
    return {
        f"{tag_for_keyword(keyword):08X}": {"vr": vr, "Value": value} if value else {"vr": vr}
        for keyword, (vr, value) in attributes.items()
    }


def _header(one: Held) -> Dataset:
    """The header of an instance; empty where its file is damaged or gone, and it is found by its UIDs alone."""
    try:
        return read_header(one.path)
    except (InvalidObject, OSError):
        return Dataset()


def _is_number(header: Dataset, text: str) -> bool:
    if not text.strip("*"):
        return True
    try:
        return number(header, "InstanceNumber") == float(text)
    except (InvalidObject, ValueError):
        return False
