"""What an HTTP status means to a sender, and how a URL is written where people read it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from node.errors import HarmonodeError, OperatorError, PermanentError, TransientError

_COMMENT_LENGTH = 300
_TRANSIENT = frozenset({408, 425, 429, 507})
_OPERATOR = {
    401: "it wants a user and password, or a token, that it knows",
    403: "this user may not do that",
    404: "the URL is not there",
    405: "the URL does not take this method",
    407: "a proxy wants a password",
    413: "the instance is larger than it allows",
    415: "it does not take this media type or transfer syntax",
    501: "it does not know this service",
}


def http_error(status: int, where: str, comment: str = "") -> HarmonodeError:
    """The error for an HTTP answer other than success, RFC 9110 section 15."""
    said = f": {' '.join(comment.split())[:_COMMENT_LENGTH]}" if comment.strip() else ""
    text = f"{where} answers with HTTP status {status}"
    if status in _OPERATOR:
        return OperatorError(f"{text} ({_OPERATOR[status]}){said}")
    if 300 <= status < 400:
        return OperatorError(f"{text}: it has moved, put the new URL into the configuration")
    if status in _TRANSIENT or status >= 500:
        return TransientError(f"{text}{said}")
    return PermanentError(f"{text}{said}")


def public_url(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    if not parts.netloc:  # no URL at all: the password may stand anywhere before the @
        return url.rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
