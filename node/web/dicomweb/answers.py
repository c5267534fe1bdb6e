"""Answers that all the services share: JSON in the DICOM model, what cannot be answered, and who may ask."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from node.dicom.uids import is_valid
from node.web.dicomweb.accept import wanted

DICOM_JSON = "application/dicom+json"
_JSON_TYPES = (DICOM_JSON, "application/json")


class Refused(HTTPException):
    """A request that is answered with this status and a reason for people."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(status, why)


def require_uids(*uids: str) -> None:
    """Raises Refused where one is not a UID."""
    for uid in uids:
        if not is_valid(uid):
            raise Refused(HTTPStatus.BAD_REQUEST, f"{uid[:80]!r} is not a UID")


def require_json(request: Request) -> str:
    """The JSON media type that the client takes.

    Raises:
        Refused: it takes none.
    """
    for one in wanted(request.headers.getlist("accept"), request.query_params.get("accept")):
        for media in _JSON_TYPES:
            if one.matches(media):
                return media
    raise Refused(HTTPStatus.NOT_ACCEPTABLE, f"this is answered as {DICOM_JSON} alone")


def as_json(
    content: Any, media: str = DICOM_JSON, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A document in the DICOM JSON model."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, dict(headers or {}), media_type=media)


def base_url(request: Request) -> str:
    """The DICOMweb root as the client sees it."""
    return str(request.base_url).rstrip("/") + "/dicom-web"
