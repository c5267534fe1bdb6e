"""What an error asks of the workflow."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from node.errors import ErrorKind, HarmonodeError

_BY_A_PERSON = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_BY_ITSELF = (OSError, sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
_WORST = (ErrorKind.TRANSIENT, ErrorKind.OPERATOR, ErrorKind.PERMANENT)


def classify(error: Exception) -> ErrorKind:
    """The node's own errors say so themselves; the system's are told by their type; any other is a fault that stays."""
    if isinstance(error, HarmonodeError):
        return error.kind
    if isinstance(error, _BY_A_PERSON):
        return ErrorKind.OPERATOR
    if isinstance(error, _BY_ITSELF):  # a full disk, a lost connection, a locked database
        return ErrorKind.TRANSIENT
    return ErrorKind.PERMANENT


def first_to_mend(errors: Sequence[Exception]) -> Exception:
    """Of the errors of several destinations the one that decides: as long as one may pass by itself, try again."""
    return min(errors, key=lambda error: _WORST.index(classify(error)))
