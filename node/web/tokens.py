"""API tokens in the database: made, listed, revoked, recognised.

A token is 256 random bits. It is kept as its SHA-256 alone: a slow hash such as scrypt protects secrets that people
choose, from guessing; nobody guesses 256 bits, and a fast hash lets every request be checked.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.audit import Event, record
from node.errors import PermanentError
from node.store.tables import Token
from node.web.roles import Role

PREFIX = "harmonode_"  # so that scanners for leaked secrets know one
USED_EVERY = timedelta(minutes=10)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,47}")


def add(session: Session, name: str, role: Role, *, expires_at: datetime | None = None, actor: str) -> str:
    """Make a token in the caller's write transaction; returns it, for this one time.

    Raises:
        PermanentError: the name is taken, or cannot be one; or the token would have expired already.
    """
    if not _NAME.fullmatch(name):
        raise PermanentError(f"a token's name has up to 48 letters, digits or . _ @ -, and {name!r} is no such name")
    if session.scalar(sa.select(Token.id).where(Token.name == name)) is not None:
        raise PermanentError(f"there is or was a token {name!r}, and the audit trail names tokens: choose another name")
    now = datetime.now(UTC)
    if expires_at is not None and expires_at <= now:
        raise PermanentError(f"the token would have expired already, at {expires_at:%Y-%m-%d %H:%M} UTC")
    token = PREFIX + secrets.token_urlsafe(32)
    session.add(
        Token(
            name=name, role=str(role), sha256=_digest(token), created_at=now, created_by=actor, expires_at=expires_at
        )
    )  # fmt: skip
    until = f", valid until {expires_at:%Y-%m-%d %H:%M} UTC" if expires_at else ""
    detail = {"token": name, "role": str(role), "expires_at": expires_at.isoformat() if expires_at else None}
    record(session, Event.ALERT, f"{actor} made the token {name} with role {role}{until}", actor=actor, detail=detail)
    return token


def revoke(session: Session, name: str, *, actor: str) -> None:
    """Let a token be of no use from now on, and end the browser sessions that began with it.

    Raises:
        PermanentError: there is none of that name, or it is revoked already.
    """
    row = session.scalar(sa.select(Token).where(Token.name == name))
    if row is None:
        known = ", ".join(session.scalars(sa.select(Token.name).order_by(Token.name))) or "none"
        raise PermanentError(f"no token {name!r}; there are: {known}")
    if row.revoked_at is not None:
        raise PermanentError(f"token {name!r} was revoked at {row.revoked_at:%Y-%m-%d %H:%M} UTC already")
    row.revoked_at = datetime.now(UTC)
    record(session, Event.ALERT, f"{actor} revoked the token {name}", actor=actor, detail={"token": name})


def listed(session: Session) -> list[Token]:
    """Every token there is or was, by name."""
    return list(session.scalars(sa.select(Token).order_by(Token.name)))


def recognise(session: Session, token: str) -> Token | None:
    """The row of a token that is good now; None where it is unknown, expired or revoked."""
    row = session.scalar(sa.select(Token).where(Token.sha256 == _digest(token)))
    return row if row is not None and is_good(row) else None


def is_good(row: Token) -> bool:
    """Whether a token is neither revoked nor expired."""
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > datetime.now(UTC))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
