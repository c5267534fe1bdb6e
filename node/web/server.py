"""The HTTP server: uvicorn in a thread, on a socket that is bound before anything else is touched."""

from __future__ import annotations

import socket
import threading
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from node.config import Web
from node.errors import OperatorError
from node.tls import server_context

_log = structlog.get_logger(__name__)

_LEAVE_S = 3  # how long a stopping server waits for requests in hand


class Server:
    """Listens from `start` to `stop`.

    Raises:
        OperatorError: the port cannot be opened, or the certificate or its key cannot be used.
    """

    def __init__(self, settings: Web) -> None:
        self._settings = settings
        self._tls = server_context(settings.tls) if settings.tls else None
        self._socket = _bound(settings)
        self._app: FastAPI | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; of use where the configuration says 0."""
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where the page is, as seen from this machine."""
        host = self._settings.host
        return f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether it answers requests."""
        return bool(self._thread and self._thread.is_alive() and self._server and self._server.started)

    def start(self, app: FastAPI) -> None:
        """Serve an application."""
        proxies = list(self._settings.trusted_proxies)
        options: dict[str, Any] = {"proxy_headers": bool(proxies), "forwarded_allow_ips": proxies or None}
        if self._tls is not None:
            context = self._tls
            options["ssl_context_factory"] = lambda _config, _default: context
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # URLs of DICOMweb hold what was searched for, patients' names among it
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_LEAVE_S,
            **options,
        )
        self._app, self._server = app, uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        _log.info("web interface opened", url=self.url)

    def stop(self) -> None:
        """Let requests in hand end, and close the port."""
        if self._server is not None and self._thread is not None and self._app is not None:
            self._app.state.closing.set()  # pages that listen for events would else be waited for
            self._server.should_exit = True
            self._thread.join(_LEAVE_S + 2)
        self._socket.close()

    def _run(self) -> None:
        assert self._server is not None
        try:
            self._server.run(sockets=[self._socket])
        except Exception:  # noqa: BLE001 - the application's own errors are answers
            _log.exception("the web interface ended; the node goes on without it")


def _bound(settings: Web) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        what = error.strerror or str(error)
        raise OperatorError(
            f"the web interface cannot open {settings.host}:{settings.port}: {what}; does another node or program have"
            " the port? Else change web.host or web.port, or set web.enabled: false"
        ) from error
