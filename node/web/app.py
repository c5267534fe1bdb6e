"""The application: routers in, security headers and clear errors out."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from node.errors import ErrorKind, HarmonodeError
from node.web import audit, destinations, disk, events, health, login, metrics, now, rules, series, viewer
from node.web.auth import Forbidden, Gate, NotAuthenticated, Throttled
from node.web.events import Pulse
from node.web.headers import SecurityHeaders
from node.web.limits import FormLimit
from node.web.pages import render, wants_html
from node.web.site import Site

_ROUTERS = tuple(
    module.router for module in (login, events, now, series, viewer, rules, destinations, disk, audit, health, metrics)
)

_log = structlog.get_logger(__name__)

HERE = Path(__file__).parent

_STATUS = {ErrorKind.TRANSIENT: HTTPStatus.SERVICE_UNAVAILABLE, ErrorKind.OPERATOR: HTTPStatus.SERVICE_UNAVAILABLE}


def create_app(site: Site, routers: Iterable[APIRouter] = ()) -> FastAPI:
    """The web interface of a node. Each router guards its own routes with `node.web.require`."""
    # Its generated documentation would load scripts from elsewhere.
    app = FastAPI(title="harmonode", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site, app.state.gate, app.state.pulse = site, Gate(site), Pulse(site.database)
    app.state.closing, app.state.verifier = threading.Event(), audit.Verifier()
    app.state.metrics, app.state.sizes = metrics.Metrics(site), disk.Sizes(disk.folders_of(site))
    app.add_middleware(FormLimit)
    app.add_middleware(SecurityHeaders)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for router in (*_ROUTERS, *routers):
        app.include_router(router)
    app.add_exception_handler(NotAuthenticated, _log_in)
    app.add_exception_handler(Throttled, _throttled)
    app.add_exception_handler(Forbidden, _forbidden)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(HarmonodeError, _failed)
    for fault in (sa.exc.DBAPIError, sa.exc.TimeoutError):
        app.add_exception_handler(fault, _no_database)
    app.add_exception_handler(Exception, _broken)
    return app


def _log_in(request: Request, _error: Exception) -> Response:
    if wants_html(request) and request.url.path != events.PATH:  # which no person looks at
        path = request.url.path if request.method == "GET" else "/"
        return RedirectResponse(request.url_for("login").include_query_params(next=path), HTTPStatus.SEE_OTHER)
    said = "a token is needed: `harmonode tokens add` makes one; send it as `Authorization: Bearer TOKEN`"
    return JSONResponse({"detail": said}, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Bearer realm="harmonode"'})


def _throttled(request: Request, error: Exception) -> Response:
    response = _told(request, HTTPStatus.TOO_MANY_REQUESTS, str(error))
    response.headers["Retry-After"] = str(int(getattr(error, "wait_s", 0)) + 1)
    return response


def _forbidden(request: Request, error: Exception) -> Response:
    return _told(request, HTTPStatus.FORBIDDEN, str(error))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _told(request, HTTPStatus(error.status_code), str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HarmonodeError)
    return _told(request, _STATUS.get(error.kind, HTTPStatus.CONFLICT), str(error))


def _no_database(request: Request, error: Exception) -> Response:
    _log.warning("the database cannot be used", path=request.url.path, error=str(getattr(error, "orig", None) or error))
    what = "The database cannot be used now. What arrives is received all the same; the log of the node says more."
    return _told(request, HTTPStatus.SERVICE_UNAVAILABLE, what)


def _broken(request: Request, _error: Exception) -> Response:  # where it came from, the server logs
    return _told(request, HTTPStatus.INTERNAL_SERVER_ERROR, "The page has a fault; the log of the node says which.")


def _told(request: Request, status: HTTPStatus, what: str) -> Response:
    if wants_html(request):
        return render(request, "error.html", {"status": int(status), "phrase": status.phrase, "what": what}, status)
    return JSONResponse({"detail": what}, status)
