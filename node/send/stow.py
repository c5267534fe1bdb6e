"""Sending by STOW-RS (PS3.18 section 10.5), and asking by QIDO-RS (section 10.6).

Written on httpx rather than dicomweb-client, which encodes each data set anew, repeats POST, and drops the list of
failed instances where the server adds a charset to its media type.
"""

from __future__ import annotations

import json
import os
import ssl
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import structlog

from node.config import StowDestination
from node.dicom.outgoing import Outgoing, examine
from node.dicom.statuses import store_status
from node.errors import OperatorError, TransientError
from node.send.http import http_error, public_url
from node.send.tally import Held, Tally, refusal

log = structlog.get_logger(__name__)

_BATCH = 10  # instances a request: 300 is hardly faster, and loses more when it fails
_CHUNK_BYTES = 1 << 20
_PAGE = 200
_JSON = "application/dicom+json"

# Tags as QIDO-RS and STOW-RS write them, PS3.18 Annex F.2.2
_SOP_INSTANCE_UID = "00080018"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_REFERENCED_SOP_SEQUENCE = "00081199"
_FAILED_SOP_SEQUENCE = "00081198"
_FAILURE_REASON = "00081197"
_WARNING_REASON = "00081196"


def send(destination: StowDestination, paths: Sequence[Path], tally: Tally) -> None:
    """Store every file, some in each request; a request that is too large for the server is halved."""
    instances = [examine(path, destination.compression) for path in paths]
    waiting = deque(instances[start : start + _BATCH] for start in range(0, len(instances), _BATCH))
    with _client(destination) as client:
        while waiting:
            batch = waiting.popleft()
            with ExitStack() as stack:
                files = [stack.enter_context(instance.open_as_sent()) for instance in batch]
                response = client.post("studies", **_request(files))
            if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE and len(batch) > 1:
                half = len(batch) // 2
                waiting.extendleft((batch[half:], batch[:half]))
                continue
            _judge(destination, batch, response, tally)


def confirm(destination: StowDestination, study_instance_uid: str, series_instance_uid: str, enough: int = 0) -> Held:
    """The instances of the series that the server lists, page by page: servers cut long answers short."""
    del enough
    held: set[str] = set()
    path = f"studies/{study_instance_uid}/series/{series_instance_uid}/instances"
    with _client(destination) as client:
        while True:
            response = client.get(path, params={"limit": _PAGE, "offset": len(held)}, headers={"Accept": _JSON})
            if response.status_code in (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
                return Held.these(held)
            page = {str(_value(match, _SOP_INSTANCE_UID)) for match in _json_list(destination, response)}
            if page <= held:
                return Held.these(held)
            held |= page


def echo(destination: StowDestination) -> str:
    """A QIDO-RS query for one study."""
    with _client(destination) as client:
        response = client.get("studies", params={"limit": 1}, headers={"Accept": _JSON})
        if response.status_code != httpx.codes.NO_CONTENT:
            _json_list(destination, response)
    return f"{public_url(destination.url)} answers QIDO-RS"


def _request(files: Sequence[BinaryIO]) -> dict[str, Any]:
    """A multipart/related body, PS3.18 section 8.6.1.2, read from the files as it is sent."""
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"--{boundary}--\r\n".encode()
    sizes = [file.seek(0, os.SEEK_END) for file in files]

    def body() -> Iterator[bytes]:
        for file in files:
            yield head
            file.seek(0)
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
            yield b"\r\n"
        yield tail

    return {
        "content": body(),
        "headers": {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(sum(sizes) + len(files) * (len(head) + 2) + len(tail)),
            "Accept": _JSON,
        },
    }


def _judge(destination: StowDestination, batch: Sequence[Outgoing], response: httpx.Response, tally: Tally) -> None:
    """Count what the server says it stored, PS3.18 section 10.5.3: a status of 200 or 202 does not speak for each.

    Raises:
        HarmonodeError: it refuses an instance, or does not mention it.
    """
    where = public_url(destination.url)
    answer = _store_response(response)
    if answer is None:
        if response.is_success and response.status_code != httpx.codes.OK:
            raise OperatorError(
                f"{where} answers with HTTP status {response.status_code} and does not say which instances it stored"
            )
        if not response.is_success:
            raise http_error(response.status_code, where, response.text)
        log.warning("the server says no more than 200: it is asked what it holds", destination=destination.name)
        tally.accepted(len(batch))
        return
    stored = {_value(item, _REFERENCED_SOP_INSTANCE_UID): item for item in _items(answer, _REFERENCED_SOP_SEQUENCE)}
    failed = {_value(item, _REFERENCED_SOP_INSTANCE_UID): item for item in _items(answer, _FAILED_SOP_SEQUENCE)}
    refused = []
    for instance in batch:
        uid = instance.sop_instance_uid
        if uid in failed:
            status = store_status(int(_value(failed[uid], _FAILURE_REASON) or 0x0110))
            if not status.stored:
                refused.append((uid, status))
                continue
        elif uid not in stored:
            raise TransientError(f"{where} does not say what became of SOP Instance UID {uid}")
        elif warning := _value(stored[uid], _WARNING_REASON):
            log.warning(
                "the destination stored an instance with a warning",
                destination=destination.name,
                sop_instance_uid=uid,
                status=str(store_status(int(warning))),
            )
        tally.accepted()
    if refused:
        uid, status = refused[0]
        raise refusal(status, uid, others=len(refused) - 1)


def _store_response(response: httpx.Response) -> dict[str, Any] | None:
    """The Store Instances Response Module, PS3.18 Annex I.2; None where the answer holds none that can be read."""
    if response.status_code not in (httpx.codes.OK, httpx.codes.ACCEPTED, httpx.codes.CONFLICT):
        return None
    try:
        answer = json.loads(response.content)
    except ValueError:
        return None
    if isinstance(answer, list) and len(answer) == 1:  # some servers wrap it
        answer = answer[0]
    known = isinstance(answer, dict) and (_REFERENCED_SOP_SEQUENCE in answer or _FAILED_SOP_SEQUENCE in answer)
    return answer if known else None


def _items(answer: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return answer.get(tag, {}).get("Value") or []


def _value(item: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute in the DICOM JSON model; None where it has none."""
    values = item.get(tag, {}).get("Value") or [None]
    return values[0]


def _json_list(destination: StowDestination, response: httpx.Response) -> list[dict[str, Any]]:
    where = public_url(destination.url)
    if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise http_error(response.status_code, where, response.text)
    try:
        answer = json.loads(response.content)
    except ValueError as error:
        raise OperatorError(
            f"{where} does not answer QIDO-RS in JSON: is the URL that of its DICOMweb root?"
        ) from error
    if not isinstance(answer, list):
        raise OperatorError(f"{where} does not answer QIDO-RS with a list: is the URL that of its DICOMweb root?")
    return answer


@contextmanager
def _client(destination: StowDestination) -> Iterator[httpx.Client]:
    """A client whose failures are ours. It follows no redirect: the credentials are meant for this server."""
    where = public_url(destination.url)
    headers, auth = {}, None
    if token := destination.token.get_secret_value():
        headers["Authorization"] = f"Bearer {token}"
    elif destination.username:
        auth = (destination.username, destination.password.get_secret_value())
    try:
        with httpx.Client(
            base_url=destination.url, headers=headers, auth=auth, timeout=destination.timeout_s
        ) as client:
            yield client
    except httpx.TimeoutException as error:
        raise TransientError(f"{where} has not answered for {destination.timeout_s:g} s") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise OperatorError(f"{where} is no URL that can be used: {error}") from error
    except httpx.TransportError as error:
        if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in str(error):
            raise OperatorError(f"{where}: its certificate is not trusted: {error}") from error
        raise TransientError(f"{where} cannot be reached: {error or type(error).__name__}") from error
    except OSError as error:
        raise TransientError(f"a file to be sent cannot be read: {error}") from error
