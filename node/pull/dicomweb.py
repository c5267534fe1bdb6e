"""Pulling by WADO-RS (PS3.18 section 10.4), asking by QIDO-RS (section 10.6).

A series comes as one multipart answer and goes to the disk as it comes. Objects are asked for in the transfer syntax
that the archive keeps them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from node.config import DicomwebSource
from node.dicom.multipart import boundary_of, media_type, parts
from node.errors import OperatorError, PermanentError
from node.pull.http import client, json_list, sender
from node.pull.route import Hands, Offered
from node.send.http import http_error, public_url
from node.series import Sender

_JSON = {"Accept": "application/dicom+json"}
_OBJECTS = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_PAGE = 200
_NOTHING = (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND)

# Tags as QIDO-RS writes them, PS3.18 Annex F.2.2
_SERIES_INSTANCE_UID = "0020000E"
_SOP_INSTANCE_UID = "00080018"
_MODALITY = "00080060"
_SERIES_INSTANCES = "00201209"


@contextmanager
def open_route(source: DicomwebSource, ae_title: str) -> Iterator[DicomwebRoute]:
    with client(source) as opened:
        yield DicomwebRoute(opened, public_url(source.url), sender(source, ae_title))


class DicomwebRoute:
    """As route.Route."""

    def __init__(self, opened: httpx.Client, where: str, sender: Sender) -> None:
        self._client, self._where, self._sender = opened, where, sender

    def series(self, study_instance_uid: str) -> Sequence[Offered]:
        found = self._all(
            f"studies/{study_instance_uid}/series", _SERIES_INSTANCE_UID, {"includefield": _SERIES_INSTANCES}
        )
        return [
            Offered(uid, str(_value(match, _MODALITY) or ""), _count(_value(match, _SERIES_INSTANCES)))
            for uid, match in found.items()
        ]

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> Sequence[str]:
        path = f"studies/{study_instance_uid}/series/{series_instance_uid}/instances"
        return list(self._all(path, _SOP_INSTANCE_UID, {}))

    def fetch(
        self, study_instance_uid: str, series_instance_uid: str, missing: Sequence[str], *, whole: bool, hands: Hands
    ) -> None:
        path = f"studies/{study_instance_uid}/series/{series_instance_uid}"
        for each in [path] if whole else [f"{path}/instances/{uid}" for uid in missing]:
            with self._client.stream("GET", each, headers=_OBJECTS) as response:
                if response.status_code in _NOTHING:
                    continue  # it is noticed as missing
                if not response.is_success:
                    response.read()
                    raise http_error(response.status_code, f"{self._where}/{each}", response.text)
                kind, parameters = media_type(response.headers.get("Content-Type", ""))
                if kind != "multipart/related":
                    raise OperatorError(
                        f"{self._where}/{each} answers with {kind or 'no media type'}, not with objects"
                    )
                for part in parts(response.iter_bytes(), boundary_of(parameters)):
                    hands.file(part, self._sender)

    def _all(self, path: str, tag: str, parameters: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Every match by its UID, page by page: servers cut long answers short."""
        found: dict[str, dict[str, Any]] = {}
        while True:
            page: dict[str, str | int] = {"limit": _PAGE, "offset": len(found), **parameters}
            response = self._client.get(path, params=page, headers=_JSON)
            if response.status_code in _NOTHING:
                return found
            matches = {str(_value(match, tag) or ""): match for match in json_list(response, f"{self._where}/{path}")}
            if "" in matches:
                raise PermanentError(f"{self._where}/{path} tells of an object without its UID")
            if matches.keys() <= found.keys():
                return found
            found |= matches


def _value(match: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute in the DICOM JSON model; None where it has none."""
    values = (match.get(tag) or {}).get("Value") or [None]
    return values[0]


def _count(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
