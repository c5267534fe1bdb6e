"""The session of a browser: a signed cookie, and the mark that forms carry against forged requests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from node.web.site import Site

_SALT = "session"


@dataclass(frozen=True, slots=True)
class Signed:
    """What a good cookie says."""

    token_id: int
    since: datetime


def open_session(site: Site, request: Request, response: Response, token_id: int) -> None:
    """Give the browser a cookie that no script reads and no other site sends."""
    value = _serializer(site).dumps([token_id, secrets.token_hex(8), datetime.now(UTC).timestamp()])
    response.set_cookie(
        site.cookie,
        value if isinstance(value, str) else value.decode(),
        max_age=int(site.config.web.session_hours * 3600),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )


def close_session(site: Site, response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(site.cookie, path="/", httponly=True, samesite="strict")


def read_session(site: Site, request: Request) -> Signed | None:
    """The session of a request; None where it has none, or an old or forged one."""
    cookie = request.cookies.get(site.cookie)
    if not cookie:
        return None
    try:
        token_id, _nonce, since = _serializer(site).loads(cookie, max_age=int(site.config.web.session_hours * 3600))
        return Signed(int(token_id), datetime.fromtimestamp(since, UTC))
    except (BadSignature, TypeError, ValueError):
        return None


def form_mark(site: Site, secret: str) -> str:
    """What a form must carry: only a page of ours, read with this cookie, can know it."""
    return hmac.new(site.key, b"form\0" + secret.encode(), hashlib.sha256).hexdigest()


def mark_of(site: Site, request: Request) -> str:
    """The mark for the forms of a page that this request reads."""
    return form_mark(site, request.cookies.get(site.cookie, ""))


def is_marked(site: Site, secret: str, given: str) -> bool:
    """Whether a form carries the mark of that cookie."""
    return bool(secret) and hmac.compare_digest(form_mark(site, secret).encode(), given.encode())


def _serializer(site: Site) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(site.key, salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256})
