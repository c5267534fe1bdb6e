"""Who asks: a bearer token, or the cookie of a browser that logged in. `require` guards a route by role."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from node.audit import Event, record
from node.store.tables import Token
from node.web import sessions, tokens
from node.web.roles import Role
from node.web.site import Site
from node.web.throttle import FREE, Throttle

_log = structlog.get_logger(__name__)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_TOLD_AGAIN_S = 12 * 3600.0  # a program's use of its token is audited once in so long, by address


@dataclass(frozen=True, slots=True)
class Person:
    """A person or a program that came in by a token."""

    name: str
    role: Role
    by_cookie: bool

    @property
    def actor(self) -> str:
        """For the audit trail."""
        return f"token:{self.name}"


class NotAuthenticated(Exception):
    """Nobody known asks: 401, or the login page."""


class Forbidden(Exception):
    """Who asks may not: 403, with the reason."""


class Throttled(Exception):
    """Too many wrong tokens came from the address: 429."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"too many wrong tokens came from your address: try again in {wait_s:.0f} s")


def require(role: Role) -> Callable[[Request], Awaitable[Person]]:
    """A dependency: the person who asks has at least this role.

    Raises:
        NotAuthenticated, Throttled: no good token.
        Forbidden: a lesser role, or a form that is not ours.
    """

    async def person(request: Request) -> Person:
        found = await identify(request)
        if not found.role.includes(role):
            raise Forbidden(f"{found.name} is {found.role}, and this needs {role}")
        return found

    return person


async def identify(request: Request) -> Person:
    """Who asks, whatever the role. Raises as `require`."""
    site: Site = request.app.state.site
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        gate: Gate = request.app.state.gate
        return await run_in_threadpool(gate.enter_with_token, address_of(request), given.strip())
    person = await run_in_threadpool(_by_cookie, site, request)
    if person is None:
        raise NotAuthenticated
    if request.method not in _SAFE:
        await require_mark(site, request)
    return person


async def require_mark(site: Site, request: Request) -> None:
    """Raises Forbidden where a request that changes something does not come from a page of ours."""
    given = request.headers.get("x-csrf-token")
    if given is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        given = str((await request.form()).get("csrf", ""))
    if not sessions.is_marked(site, request.cookies.get(site.cookie, ""), given or ""):
        raise Forbidden("the form was not one of this page, or is too old: load the page again and repeat")


def address_of(request: Request) -> str:
    """The address that asks; that of the client where a trusted proxy names it."""
    return request.client.host if request.client else "unknown"


class Gate:
    """Checks tokens, throttles who guesses, and has it all in the audit trail."""

    def __init__(self, site: Site) -> None:
        self._site, self._throttle = site, Throttle()
        self._told: dict[tuple[int, str], float] = {}
        self._lock = threading.Lock()

    def check(self, address: str, token: str) -> Token:
        """The row of a good token.

        Raises:
            NotAuthenticated: it is not good; recorded.
            Throttled: too many were not.
        """
        wait = self._throttle.wait_s(address)
        if wait > 0:
            raise Throttled(wait)
        with self._site.database.read() as session:
            row = tokens.recognise(session, token)
        if row is None:
            self._failed(address)
            raise NotAuthenticated
        self._throttle.succeeded(address)
        return row

    def log_in(self, address: str, token: str) -> Token:
        """As `check`; the login of a browser is recorded."""
        row = self.check(address, token)
        self._entered(row, address, f"{row.name} ({row.role}) logged in from {address}")
        return row

    def enter_with_token(self, address: str, token: str) -> Person:
        """As `check`, for a program: its use of the token is recorded now and then."""
        row = self.check(address, token)
        with self._lock:
            last = self._told.get((row.id, address))
            tell = last is None or time.monotonic() - last > _TOLD_AGAIN_S
            if tell:
                self._told[row.id, address] = time.monotonic()
        if tell:
            self._entered(row, address, f"{row.name} ({row.role}) uses its token from {address}")
        elif row.used_at is None or datetime.now(UTC) - row.used_at > tokens.USED_EVERY:
            with self._site.database.write() as session:
                session.get_one(Token, row.id).used_at = datetime.now(UTC)
        return Person(row.name, Role(row.role), by_cookie=False)

    def log_out(self, request: Request) -> None:
        """End every browser session of the token that this one came in by."""
        signed = sessions.read_session(self._site, request)
        if signed is None:
            return
        with self._site.database.write() as session:
            row = session.get(Token, signed.token_id)
            if row is not None:
                row.logged_out_at = datetime.now(UTC)
                address = address_of(request)
                message = f"{row.name} logged out from {address}"
                detail = {"token": row.name, "address": address}
                record(session, Event.AUTHENTICATION, message, actor=f"token:{row.name}", detail=detail)

    def _entered(self, row: Token, address: str, message: str) -> None:
        with self._site.database.write() as session:
            session.get_one(Token, row.id).used_at = datetime.now(UTC)
            detail = {"token": row.name, "role": row.role, "address": address, "success": True}
            record(session, Event.AUTHENTICATION, message, actor=f"token:{row.name}", detail=detail)

    def _failed(self, address: str) -> None:
        """Each failure is recorded until the address must wait, then that it must; what comes meanwhile is not read."""
        failures = self._throttle.failed(address)
        detail = {"address": address, "failures": failures, "success": False}
        event, message = Event.AUTHENTICATION, f"a wrong token came from {address}"
        if failures >= FREE:
            wait = self._throttle.wait_s(address)
            event = Event.ALERT
            message = f"{failures} wrong tokens came from {address}: it must wait {wait:.0f} s before each further try"
        _log.warning("wrong token", address=address, failures=failures)
        with self._site.database.write() as session:
            record(session, event, message, detail=detail)


def _by_cookie(site: Site, request: Request) -> Person | None:
    signed = sessions.read_session(site, request)
    if signed is None:
        return None
    with site.database.read() as session:
        row = session.get(Token, signed.token_id)
    if row is None or not tokens.is_good(row):
        return None
    if row.logged_out_at is not None and signed.since <= row.logged_out_at:
        return None
    if datetime.now(UTC) - signed.since > timedelta(hours=site.config.web.session_hours):
        return None
    return Person(row.name, Role(row.role), by_cookie=True)
