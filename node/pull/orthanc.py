"""Pulling from an Orthanc through its own REST interface: each file as the Orthanc keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from node.config import OrthancSource
from node.errors import OperatorError
from node.pull.http import Body, client, json_list, sender
from node.pull.route import Hands, Offered
from node.send.http import http_error, public_url
from node.series import Sender


@contextmanager
def open_route(source: OrthancSource, ae_title: str) -> Iterator[OrthancRoute]:
    with client(source) as opened:
        yield OrthancRoute(opened, public_url(source.url), sender(source, ae_title))


class OrthancRoute:
    """As route.Route. An Orthanc has names of its own for studies, series and instances."""

    def __init__(self, opened: httpx.Client, where: str, sender: Sender) -> None:
        self._client, self._where, self._sender = opened, where, sender
        self._named: dict[str, str] = {}  # SOP Instance UID -> Orthanc's name of it

    def series(self, study_instance_uid: str) -> Sequence[Offered]:
        query = {"Level": "Series", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
        found = self._list("tools/find", json=query)
        return [
            Offered(tags["SeriesInstanceUID"], tags.get("Modality", ""), len(one["Instances"]))
            for one in found
            if (tags := one["MainDicomTags"])
        ]

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> Sequence[str]:
        names = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        found = self._list("tools/find", json={"Level": "Instance", "Query": names, "Expand": True})
        self._named = {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in found}
        return list(self._named)

    def fetch(
        self, study_instance_uid: str, series_instance_uid: str, missing: Sequence[str], *, whole: bool, hands: Hands
    ) -> None:
        del study_instance_uid, series_instance_uid, whole
        for uid in missing:
            path = f"instances/{self._named[uid]}/file"
            with self._client.stream("GET", path) as response:
                if response.status_code == httpx.codes.NOT_FOUND:
                    continue  # it was deleted since; it is noticed as missing
                if not response.is_success:
                    response.read()
                    raise http_error(response.status_code, f"{self._where}/{path}", response.text)
                hands.file(Body(response), self._sender)

    def _list(self, path: str, **request: Any) -> list[dict[str, Any]]:
        where = f"{self._where}/{path}"
        found = json_list(self._client.post(path, **request), where)
        if not all("MainDicomTags" in one for one in found):
            raise OperatorError(f"{where} does not answer as an Orthanc does: is the URL right?")
        return found
