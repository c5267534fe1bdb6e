"""Errors, each of a kind that decides what the node does next.

    HarmonodeError
    ├── TransientError       tried again by the node, with backoff
    ├── PermanentError       never tried again: the same input gives the same answer
    │   ├── InvalidObject    an instance that is malformed; kept in quarantine
    │   ├── SeriesRefused    a series that must not be processed, with the reason
    │   ├── RuleError        a rule that cannot be loaded; names the clause
    │   └── ConfigError      a configuration that cannot be used; names the key
    └── OperatorError        waits for a person: `harmonode series retry`

A message says what happened, to which UID, and what the node does next.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorKind(StrEnum):
    """What an error asks of the workflow."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    OPERATOR = "operator"


class HarmonodeError(Exception):
    """Something the node understands went wrong."""

    kind: ClassVar[ErrorKind] = ErrorKind.PERMANENT


class TransientError(HarmonodeError):
    """A fault that passes by itself: a destination that is down, a lock, a full network buffer."""

    kind = ErrorKind.TRANSIENT


class PermanentError(HarmonodeError):
    """A fault that stays: the same input would fail the same way."""


class InvalidObject(PermanentError):
    """An instance that is malformed; its bytes are kept in quarantine."""

    def __init__(self, reason: str, *, sop_instance_uid: str | None = None) -> None:
        self.reason = reason
        self.sop_instance_uid = sop_instance_uid
        super().__init__(f"{reason} (SOP Instance UID {sop_instance_uid or 'unknown'})")


class SeriesRefused(PermanentError):
    """A series that must not be processed, with the reason."""


class RuleError(PermanentError):
    """A rule that cannot be loaded; the message names the clause."""


class ConfigError(PermanentError):
    """A configuration that cannot be used; the message names the key."""


class OperatorError(HarmonodeError):
    """A fault that only a person can mend: a wrong password, a full archive, a refused AE title."""

    kind = ErrorKind.OPERATOR
