"""Uploading to an Orthanc through its REST interface: the only place that uses orthanc-api-client.

What the adapter changes in it: every request has a time-out (it sets none), no request is repeated (it repeats POST),
a base URL with a path keeps its path, and every failure becomes one of our errors (some it swallows, answering None).
It is never asked to anonymize or to delete: its `anonymize` deletes the original unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import requests
from orthanc_api_client import OrthancApiClient
from orthanc_api_client import exceptions as api_errors
from requests.adapters import HTTPAdapter

from node.config import OrthancDestination
from node.dicom.outgoing import examine
from node.errors import OperatorError, TransientError
from node.send.http import http_error, public_url
from node.send.tally import Held, Tally

_THREADS = 4  # beyond four the rate no longer rises
_STORED = frozenset({"Success", "AlreadyStored"})


class _Client(OrthancApiClient):  # type: ignore[misc] # the package ships no types
    """orthanc-api-client with time-outs, without repeats."""

    def __init__(self, destination: OrthancDestination) -> None:
        super().__init__(
            destination.url.rstrip("/") + "/",
            user=destination.username or None,
            pwd=destination.password.get_secret_value() or None,
        )
        self._where = public_url(destination.url)
        self._timeout_s = destination.timeout_s
        for scheme in ("http://", "https://"):
            self._http_session.mount(scheme, HTTPAdapter(max_retries=0, pool_maxsize=_THREADS))

    def get(self, endpoint: str, **arguments: Any) -> requests.Response:
        return self._answer(super().get(endpoint, timeout=self._timeout_s, **arguments))

    def post(self, endpoint: str, **arguments: Any) -> requests.Response:
        return self._answer(super().post(endpoint, timeout=self._timeout_s, **arguments))

    def upload(self, content: bytes) -> Any:
        """POST /instances; what it answers, as JSON.

        What all uploads have in common is made once: requests takes as long over that as over the sending itself.
        """
        common, settings = self._common
        request = common.copy()
        request.body, request.headers["Content-Length"] = content, str(len(content))
        try:
            response = self._http_session.send(request, timeout=self._timeout_s, **settings)
            self._raise_or_retry_on_errors(response, url=common.url)
        except requests.RequestException as error:
            self._translate_exception(error, url=str(common.url))
        return response.json()

    @cached_property
    def _common(self) -> tuple[requests.PreparedRequest, dict[str, Any]]:
        """The request without a body, and what the environment says of proxies and certificates."""
        request = self._http_session.prepare_request(requests.Request("POST", self.get_abs_url("instances"), data=b""))
        return request, dict(self._http_session.merge_environment_settings(request.url, {}, None, None, None))

    def _answer(self, response: requests.Response | None) -> requests.Response:
        if response is None:
            raise TransientError(f"{self._where} gave no answer")
        return response

    def _translate_exception(self, request_exception: requests.RequestException, url: str) -> NoReturn:
        del url
        if isinstance(request_exception, requests.exceptions.SSLError):
            raise OperatorError(f"{self._where}: its certificate is not trusted: {request_exception}")
        if isinstance(request_exception, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
            raise OperatorError(f"{self._where} is no URL that can be used")  # the error tells the password in it
        if isinstance(request_exception, requests.Timeout):
            raise TransientError(f"{self._where} has not answered for {self._timeout_s:g} s")
        raise TransientError(f"{self._where} cannot be reached: {_cause(request_exception)}")


def send(destination: OrthancDestination, paths: Sequence[Path], tally: Tally) -> None:
    """Upload every file, a few at a time; after a failure nothing more is begun."""
    with _client(destination) as client, ThreadPoolExecutor(_THREADS, thread_name_prefix="upload") as pool:
        uploads = [pool.submit(_upload, client, path, destination.compression) for path in paths]
        try:
            for upload in as_completed(uploads):
                upload.result()
                tally.accepted()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def confirm(
    destination: OrthancDestination, study_instance_uid: str, series_instance_uid: str, enough: int = 0
) -> Held:
    """The instances of the series that the Orthanc holds."""
    del enough
    held: set[str] = set()
    with _client(destination) as client:
        for found in client.post("tools/lookup", data=series_instance_uid).json():
            if found["Type"] != "Series":
                continue
            study = client.get_json(f"series/{found['ID']}/study")
            if study["MainDicomTags"]["StudyInstanceUID"] == study_instance_uid:
                instances = client.get_json(f"series/{found['ID']}/instances")
                held.update(one["MainDicomTags"]["SOPInstanceUID"] for one in instances)
    return Held.these(held)


def echo(destination: OrthancDestination) -> str:
    """GET /system."""
    with _client(destination) as client:
        system = client.get_json("system")
    return f"{public_url(destination.url)} answers: Orthanc {system.get('Version', 'of unknown version')}"


def _upload(client: _Client, path: Path, compression: str) -> None:
    """POST /instances. HTTP 200 is not enough: a script of the Orthanc's may have filtered the instance out."""
    instance = examine(path, compression)
    with instance.open_as_sent() as file:
        content = file.read()
    answer = client.upload(content)
    status = answer.get("Status") if isinstance(answer, dict) else None
    if status not in _STORED:
        raise OperatorError(
            f"SOP Instance UID {instance.sop_instance_uid} was not stored: the Orthanc answers {status!r}; "
            "look at its filters and scripts"
        )


@contextmanager
def _client(destination: OrthancDestination) -> Iterator[_Client]:
    """A client whose failures are ours."""
    where = public_url(destination.url)
    client = _Client(destination)
    try:
        yield client
    except api_errors.HttpError as error:
        raise http_error(error.http_status_code or 0, where, _said(error)) from error
    except api_errors.OrthancApiException as error:
        raise TransientError(f"{where}: {error.msg}") from error
    except (requests.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise OperatorError(f"{where} does not answer as an Orthanc does: {error!r}") from error
    finally:
        client.close()


def _said(error: api_errors.HttpError) -> str:
    """What the Orthanc says of the failure; the client's own text repeats the URL."""
    return str(error.msg or "") if error.request_response is not None else ""


def _cause(error: BaseException) -> str:
    """The innermost reason: "Connection refused" rather than three layers of wrapping."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error)
