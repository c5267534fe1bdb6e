"""HTTP to an archive: a client whose failures are ours, and what it sends turned into objects."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from node.config import DicomwebSource, OrthancSource
from node.errors import OperatorError, TransientError
from node.send.http import http_error, public_url
from node.series import Sender

_PIECE = 1 << 18
_AE_TITLE_LENGTH = 16


@contextmanager
def client(source: DicomwebSource | OrthancSource) -> Iterator[httpx.Client]:
    """It follows no redirect: the credentials are meant for this server.

    Raises:
        TransientError: the server cannot be reached, or does not answer in time.
        OperatorError: its URL or its certificate cannot be used.
    """
    where = public_url(source.url)
    headers: dict[str, str] = {}
    auth: tuple[str, str] | None = None
    if isinstance(source, DicomwebSource) and (token := source.token.get_secret_value()):
        headers["Authorization"] = f"Bearer {token}"
    elif source.username:
        auth = (source.username, source.password.get_secret_value())
    try:
        with httpx.Client(base_url=source.url, headers=headers, auth=auth, timeout=source.timeout_s) as opened:
            yield opened
    except httpx.TimeoutException as error:
        raise TransientError(f"{where} has not answered for {source.timeout_s:g} s") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise OperatorError(f"{where} is no URL that can be used: {error}") from error
    except httpx.TransportError as error:
        if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in str(error):
            raise OperatorError(f"{where}: its certificate is not trusted: {error}") from error
        raise TransientError(f"the connection to {where} failed: {error or type(error).__name__}") from error


def json_list(response: httpx.Response, where: str) -> list[dict[str, Any]]:
    """The list of objects that an answer must be.

    Raises:
        HarmonodeError: it is an HTTP error, or no such list.
    """
    if not response.is_success:
        raise http_error(response.status_code, where, response.text)
    try:
        answer = response.json()
    except ValueError as error:
        raise OperatorError(f"{where} does not answer in JSON: is the URL right?") from error
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        raise OperatorError(f"{where} does not answer with a list: is the URL right?")
    return answer


def sender(source: DicomwebSource | OrthancSource, called_ae_title: str) -> Sender:
    """Who brings what comes over HTTP: the source by its name, for it has no AE title here."""
    return Sender(source.name[:_AE_TITLE_LENGTH], called_ae_title, (urlsplit(source.url).hostname or "http")[:64])


class Body:
    """The bytes of an answer, read as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self._pieces = response.iter_bytes(_PIECE)
        self._held = b""

    def read(self, size: int, /) -> bytes:
        if not self._held:
            self._held = next(self._pieces, b"")
        piece, self._held = self._held[:size], self._held[size:]
        return piece
