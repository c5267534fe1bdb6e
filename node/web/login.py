"""Logging in with a token, and out."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from node.web import sessions
from node.web.auth import Forbidden, Gate, NotAuthenticated, Throttled, address_of, require_mark
from node.web.pages import render
from node.web.site import Site

router = APIRouter()

_BEFORE = "harmonode-login"  # the cookie that the form's mark belongs to while nobody is logged in


@router.get("/login", name="login")
def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the URL
    """The form."""
    return _form(request, next)


@router.post("/login")
async def log_in(
    request: Request, token: Annotated[str, Form()] = "", csrf: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/"  # noqa: A002
) -> Response:  # fmt: skip
    """Take a token, give a cookie."""
    site: Site = request.app.state.site
    gate: Gate = request.app.state.gate
    if not sessions.is_marked(site, request.cookies.get(_BEFORE, ""), csrf):
        raise Forbidden("the form was not one of this page, or cookies are off: load the login page again")
    try:
        row = await run_in_threadpool(gate.log_in, address_of(request), token.strip())
    except NotAuthenticated:
        return _form(request, next, "This token is not known, has expired or was revoked.", HTTPStatus.UNAUTHORIZED)
    except Throttled as error:
        response = _form(request, next, f"{str(error).capitalize()}.", HTTPStatus.TOO_MANY_REQUESTS)
        response.headers["Retry-After"] = str(int(error.wait_s) + 1)
        return response
    response = RedirectResponse(_inside(next), HTTPStatus.SEE_OTHER)
    sessions.open_session(site, request, response, row.id)
    response.delete_cookie(_BEFORE, path="/login")
    return response


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Out, in every browser that came in by the same token."""
    site: Site = request.app.state.site
    gate: Gate = request.app.state.gate
    await require_mark(site, request)
    await run_in_threadpool(gate.log_out, request)
    response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    sessions.close_session(site, response)
    return response


def _form(request: Request, next_path: str, problem: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
    site: Site = request.app.state.site
    secret = request.cookies.get(_BEFORE) or secrets.token_hex(16)
    context = {"csrf": sessions.form_mark(site, secret), "next": _inside(next_path), "problem": problem}
    response = render(request, "login.html", context, status)
    secure = request.url.scheme == "https"
    response.set_cookie(_BEFORE, secret, httponly=True, samesite="strict", secure=secure, path="/login")
    return response


def _inside(path: str) -> str:
    """A path of this site; the root where it leads elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"
