"""STOW-RS, PS3.18 section 10.5: parts of application/dicom go to the disk as they come, by the intake of C-STORE.

What the answer calls stored is as durable as after a C-STORE that was answered with 0x0000, so a request that breaks
off or is sent again does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from anyio import from_thread
from fastapi import APIRouter, Depends, Request, Response
from pydicom.datadict import tag_for_keyword
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from node.config import Dicomweb
from node.dicom.elements import Identity
from node.dicom.multipart import MultipartError, boundary_of, media_type, parts
from node.receive import Intake, Outcome, Status
from node.receive.intake import Readable
from node.series import Sender
from node.store.incoming import SpoolFull
from node.web.auth import Person, address_of, require
from node.web.dicomweb import answers
from node.web.dicomweb.answers import Refused
from node.web.roles import Role

_log = structlog.get_logger(__name__)

_DICOM = "application/dicom"
_AE_TITLE_LENGTH = 16
_MAY_STORE = Depends(require(Role.OPERATOR))

# Each kind of failure as PS3.18 Table I.2-2 has it: C-STORE's codes are taken over, but for the range that is ours.
_REASONS = {Status.INVALID_INSTANCE: 0xC000}


class TooLarge(Exception):
    """The request, or an instance in it, is larger than the configuration allows."""


@dataclass(slots=True)
class _Tally:
    """What became of the parts."""

    stored: list[Identity] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return bool(self.failed) and all(one.status is Status.OUT_OF_RESOURCES for one in self.failed)


def router(intake: Intake, settings: Dicomweb, ae_title: str) -> APIRouter:
    """The two targets of STOW-RS, which store by `intake`."""
    made = APIRouter()
    service = _Service(intake, settings, ae_title)

    @made.post("/studies")
    async def store(request: Request, person: Person = _MAY_STORE) -> Response:
        return await service.store(request, person, "")

    @made.post("/studies/{study}")
    async def store_in_study(request: Request, study: str, person: Person = _MAY_STORE) -> Response:
        answers.require_uids(study)
        return await service.store(request, person, study)

    return made


class _Service:
    def __init__(self, intake: Intake, settings: Dicomweb, ae_title: str) -> None:
        self._intake, self._settings, self._ae_title = intake, settings, ae_title

    async def store(self, request: Request, person: Person, study: str) -> Response:
        answer_as = answers.require_json(request)
        kind, parameters = media_type(request.headers.get("content-type", ""))
        if kind not in ("multipart/related", _DICOM):
            why = f'{kind or "nothing"} is not stored: send multipart/related; type="{_DICOM}"'
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        if kind == "multipart/related" and parameters.get("type", _DICOM).lower() != _DICOM:
            why = f'parts of {parameters["type"]} are not stored: send multipart/related; type="{_DICOM}"'
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        self._refuse_early(request)
        sender = Sender(person.name[:_AE_TITLE_LENGTH], self._ae_title, address_of(request))
        base, tally = answers.base_url(request), _Tally()
        try:
            boundary = boundary_of(parameters) if kind == "multipart/related" else b""
            await run_in_threadpool(self._store_all, _pulled(request), boundary, sender, study, tally)
        except MultipartError as error:
            _log.warning(
                "a request to store breaks off", reason=str(error), stored=len(tally.stored), address=sender.address
            )
            return _told(tally, HTTPStatus.BAD_REQUEST, base, study, answer_as, str(error))
        except TooLarge as error:
            return _told(tally, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, base, study, answer_as, str(error))
        except ClientDisconnect:
            _log.warning("a client left while it stored", stored=len(tally.stored), address=sender.address)
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        if not (tally.stored or tally.failed):
            raise Refused(HTTPStatus.BAD_REQUEST, "the request holds no instance")
        return _told(tally, _status(tally), base, study, answer_as)

    def _refuse_early(self, request: Request) -> None:
        """What can be told before anything is read."""
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.max_request_mb << 20:
            why = f"the request has {length} bytes, and at most {self._settings.max_request_mb} MiB are taken: send less at once"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
        try:
            self._intake.require_space()
        except SpoolFull as error:
            raise Refused(
                HTTPStatus.INSUFFICIENT_STORAGE, "there is no space for more instances: try again later"
            ) from error

    def _store_all(self, chunks: Iterator[bytes], boundary: bytes, sender: Sender, study: str, tally: _Tally) -> None:
        """Runs in a thread: reading waits for the network, and making durable for the disk."""
        counted = _Counted(chunks, self._settings.max_request_mb << 20)
        if not boundary:
            self._store(_Chunks(counted.chunks()), sender, study, tally)
            return
        for number, part in enumerate(parts(counted.chunks(), boundary), 1):
            if number > self._settings.max_instances:
                raise TooLarge(
                    f"the request holds more than {self._settings.max_instances} instances: send less at once"
                )
            kind = media_type(part.content_type)[0] if part.content_type else _DICOM
            if kind != _DICOM:
                tally.failed.append(Outcome(Status.CANNOT_UNDERSTAND, f"part {number} is {kind}, not {_DICOM}"))
                continue
            self._store(part, sender, study, tally)

    def _store(self, part: Readable, sender: Sender, study: str, tally: _Tally) -> None:
        outcome = self._intake.accept(_Limited(part, self._settings.max_instance_mb), sender, study)
        if outcome.status is Status.SUCCESS and outcome.identity is not None:
            tally.stored.append(outcome.identity)
        else:
            tally.failed.append(outcome)


def _pulled(request: Request) -> Iterator[bytes]:
    """The body for a thread, a piece at a time, no faster than the thread reads."""
    stream = request.stream()

    async def following() -> bytes | None:
        return await anext(stream, None)

    while (piece := from_thread.run(following)) is not None:
        yield piece


class _Counted:
    """Pieces of a body that ends in an error where it grows too large."""

    def __init__(self, chunks: Iterator[bytes], most: int) -> None:
        self._chunks, self._most = chunks, most

    def chunks(self) -> Iterator[bytes]:
        total = 0
        for piece in self._chunks:
            total += len(piece)
            if total > self._most:
                raise TooLarge(f"the request has more than {self._most >> 20} MiB: send less at once")
            yield piece


class _Chunks:
    """A body that is one instance."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, b""

    def read(self, size: int, /) -> bytes:
        while not self._held:
            piece = next(self._chunks, None)
            if piece is None:
                return b""
            self._held = piece
        piece, self._held = self._held[:size], self._held[size:]
        return piece


class _Limited:
    """An instance that ends in an error where it grows too large."""

    def __init__(self, source: Readable, most_mb: int) -> None:
        self._read: Callable[[int], bytes] = source.read
        self._most_mb, self._total = most_mb, 0

    def read(self, size: int, /) -> bytes:
        piece = self._read(size)
        self._total += len(piece)
        if self._total > self._most_mb << 20:
            raise TooLarge(f"an instance has more than {self._most_mb} MiB")
        return piece


def _status(tally: _Tally) -> HTTPStatus:
    """PS3.18 Table 10.5.3-1; 507 (RFC 4918 section 11.5) where nothing is wrong but the want of space."""
    if not tally.failed:
        return HTTPStatus.OK
    if tally.stored:
        return HTTPStatus.ACCEPTED
    return HTTPStatus.INSUFFICIENT_STORAGE if tally.full else HTTPStatus.CONFLICT


def _told(  # noqa: PLR0917 - the parts of an answer
    tally: _Tally, status: HTTPStatus, base: str, study: str, media: str, why: str = ""
) -> Response:
    """The Store Instances Response Module, PS3.18 Annex I.2."""
    document: dict[str, Any] = {}
    studies = {one.study_instance_uid for one in tally.stored}
    if study or len(studies) == 1:
        document |= _element("RetrieveURL", "UR", f"{base}/studies/{study or studies.pop()}")
    if tally.failed:
        document |= _sequence("FailedSOPSequence", [_failed(one) for one in tally.failed])
    if tally.stored:
        document |= _sequence("ReferencedSOPSequence", [_stored(one, base) for one in tally.stored])
    if why:
        document |= _element("ErrorComment", "LO", why[:64])
    headers = {"Warning": f'299 harmonode "{_quotable(why)}"'} if why else {}
    return answers.as_json(document, media, status, headers)


def _stored(one: Identity, base: str) -> dict[str, Any]:
    path = f"studies/{one.study_instance_uid}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"
    return {
        **_element("ReferencedSOPClassUID", "UI", one.sop_class_uid),
        **_element("ReferencedSOPInstanceUID", "UI", one.sop_instance_uid),
        **_element("RetrieveURL", "UR", f"{base}/{path}"),
    }


def _failed(outcome: Outcome) -> dict[str, Any]:
    known = outcome.identity or Identity("", "", "", "")
    return {
        **_element("ReferencedSOPClassUID", "UI", known.sop_class_uid),
        **_element("ReferencedSOPInstanceUID", "UI", known.sop_instance_uid),
        **_element("FailureReason", "US", _REASONS.get(outcome.status, int(outcome.status))),
        **_element("ErrorComment", "LO", outcome.error_comment),
    }


def _element(keyword: str, vr: str, value: str | int) -> dict[str, Any]:
    return {f"{tag_for_keyword(keyword):08X}": {"vr": vr, "Value": [value]} if value != "" else {"vr": vr}}


def _sequence(keyword: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{tag_for_keyword(keyword):08X}": {"vr": "SQ", "Value": items}}


def _quotable(text: str) -> str:
    return (
        text.encode("ascii", "replace")
        .decode()
        .replace("\\", "/")
        .replace('"', "'")
        .replace("\r", " ")
        .replace("\n", " ")
    )
