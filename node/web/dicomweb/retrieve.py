"""WADO-RS, PS3.18 section 10.4: objects, their metadata, frames and other bulk data, sent as they are read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import chain

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from node.dicom.multipart import written
from node.web.dicomweb import answers, frames, held, media
from node.web.dicomweb.accept import Wanted, wanted
from node.web.dicomweb.answers import Refused
from node.web.dicomweb.held import Held, Scope
from node.web.dicomweb.metadata import as_metadata, bulk_value
from node.web.dicomweb.witness import reader, witness
from node.web.site import Site

router = APIRouter(dependencies=[Depends(reader)])

_PIECE = 1 << 18
_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"


@router.get("/studies/{study}")
def study_objects(request: Request, study: str) -> Response:
    return _objects(request, Scope(study))


@router.get(_SERIES)
def series_objects(request: Request, study: str, series: str) -> Response:
    return _objects(request, Scope(study, series))


@router.get(_INSTANCE)
def instance_object(request: Request, study: str, series: str, instance: str) -> Response:
    return _objects(request, Scope(study, series, instance))


@router.get("/studies/{study}/metadata")
def study_metadata(request: Request, study: str) -> Response:
    return _metadata(request, Scope(study))


@router.get(_SERIES + "/metadata")
def series_metadata(request: Request, study: str, series: str) -> Response:
    return _metadata(request, Scope(study, series))


@router.get(_INSTANCE + "/metadata")
def instance_metadata(request: Request, study: str, series: str, instance: str) -> Response:
    return _metadata(request, Scope(study, series, instance))


@router.get(_INSTANCE + "/frames/{numbers}")
def instance_frames(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
    one = require_one(request, Scope(study, series, instance))
    several = frames.numbers_of(numbers)
    pieces = frames.frames_as(_accepts(request), one, several)
    if pieces.single:
        return Response(pieces.bodies[0], media_type=pieces.part_type)
    return _multipart(pieces.media_type, (({"Content-Type": pieces.part_type}, [body]) for body in pieces.bodies))


@router.get(_INSTANCE + "/bulkdata/{place:path}")
def bulk_data(request: Request, study: str, series: str, instance: str, place: str) -> Response:
    one = require_one(request, Scope(study, series, instance))
    for accepted in _accepts(request):
        if accepted.matches(media.OCTETS):
            return Response(bulk_value(one, place), media_type=media.OCTETS)
        if accepted.media_type == "multipart/related" and accepted.part_type in ("", media.OCTETS):
            return _multipart(media.OCTETS, [({"Content-Type": media.OCTETS}, [bulk_value(one, place)])])
    raise Refused(HTTPStatus.NOT_ACCEPTABLE, f"bulk data are sent as {media.OCTETS}")


def require_some(request: Request, scope: Scope) -> list[Held]:
    """The instances of a scope.

    Raises:
        Refused: a UID is none, or nothing is held.
    """
    answers.require_uids(*filter(None, (scope.study, scope.series, scope.instance)))
    site: Site = request.app.state.site
    with site.database.read() as session:
        found = held.instances(session, site.config, scope)
    if not found:
        raise Refused(HTTPStatus.NOT_FOUND, f"{scope} is not here")
    witness(request, found)
    return found


def require_one(request: Request, scope: Scope) -> Held:
    """As `require_some`, of an instance."""
    one = require_some(request, scope)[0]
    if not one.path.is_file():
        raise media.gone(one)
    return one


def _accepts(request: Request) -> list[Wanted]:
    return wanted(request.headers.getlist("accept"), request.query_params.get("accept"))


def _objects(request: Request, scope: Scope) -> Response:
    accepts = _accepts(request)
    found = require_some(request, scope)
    syntax = media.objects_as(accepts, found)
    here = [one for one in found if one.path.is_file()]
    if not here:
        raise media.gone(found[0])
    single = next((one for one in accepts if one.media_type in ("multipart/related", media.DICOM, "*/*")), None)
    if scope.instance and single is not None and single.media_type == media.DICOM:
        return StreamingResponse(_bytes_of(here[0], syntax), media_type=media.DICOM)
    # What cannot be decoded is found before the answer begins, as far as its first instance tells.
    first = _bytes_of(here[0], syntax)
    begun = chain([next(first)], first)
    bodies = chain([begun], (_bytes_of(one, syntax) for one in here[1:]))
    response = _multipart(media.DICOM, (({"Content-Type": media.DICOM}, body) for body in bodies))
    if len(here) < len(found):
        response.status_code = HTTPStatus.PARTIAL_CONTENT
        response.headers["Warning"] = f'299 harmonode "{len(found) - len(here)} instances are no longer here"'
    return response


def _bytes_of(one: Held, syntax: str) -> Iterator[bytes]:
    if syntax and one.transfer_syntax_uid != syntax:
        yield media.decoded_file(one)
        return
    with one.path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _metadata(request: Request, scope: Scope) -> Response:
    media_type = answers.require_json(request)
    found = require_some(request, scope)
    base = answers.base_url(request)

    def text() -> Iterator[str]:
        start = "["
        for one in found:
            if one.path.is_file():
                yield start + json.dumps(as_metadata(one, base), ensure_ascii=False, separators=(",", ":"))
                start = ","
        yield "[]" if start == "[" else "]"

    return StreamingResponse(text(), media_type=media_type)


def _multipart(part_type: str, items: Iterable[tuple[dict[str, str], Iterable[bytes]]]) -> StreamingResponse:
    boundary = uuid.uuid4().hex
    kind = f'multipart/related; type="{part_type}"; boundary={boundary}'
    return StreamingResponse(written(boundary, items), headers={"Content-Type": kind})
