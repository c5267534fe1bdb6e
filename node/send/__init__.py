"""Sending derived instances, and asking the destination what it holds. One file a route.

Sending an instance again does no harm at any destination, so that a step that died is simply repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from node.config import Destination, DimseDestination, FolderDestination, OrthancDestination, StowDestination
from node.dicom.commitment import Report, Request
from node.errors import HarmonodeError
from node.send import dimse
from node.send.dimse import count_instances
from node.send.tally import ERRORS, Held, Tally

__all__ = ["commit", "confirm", "count_instances", "echo", "send"]

_ROUTES: dict[type, str] = {
    DimseDestination: "node.send.dimse",
    StowDestination: "node.send.stow",
    OrthancDestination: "node.send.orthanc",
    FolderDestination: "node.send.folder",
}


def _route(destination: Destination) -> ModuleType:
    """Imported when the first destination of its kind is used: HTTP takes the node 8 MB that receiving has no use for."""
    return import_module(_ROUTES[type(destination)])


def send(destination: Destination, paths: Sequence[Path], progress: Callable[[int], None]) -> int:
    """Send Part 10 files; returns how many instances the destination has accepted, which is all of them.

    `progress` is told, after each instance or batch, how many have been accepted so far.

    Raises:
        TransientError: the destination is down, slow, or out of resources.
        PermanentError: it understands an instance and refuses it.
        OperatorError: it does not know or trust us, or does not take such objects.
    """
    tally = Tally(len(paths), progress)
    try:
        _route(destination).send(destination, paths, tally)
    except HarmonodeError as error:
        raise ERRORS[error.kind](
            f"destination {destination.name!r}: {error}; "
            f"it had accepted {tally.count} of {tally.total} instances by then"
        ) from error
    return tally.count


def confirm(
    destination: Destination, study_instance_uid: str, series_instance_uid: str, among: Collection[str] | None = None
) -> int | None:
    """How many instances of the series the destination says it holds; None where it cannot be asked.

    With `among`, SOP Instance UIDs, how many of those: others do not count, unless it tells no more than their number.

    Raises:
        TransientError, OperatorError: it did not answer; as `send`.
    """
    route = _route(destination)
    try:
        held: Held | None = route.confirm(destination, study_instance_uid, series_instance_uid, enough=len(among or ()))
    except HarmonodeError as error:
        raise ERRORS[error.kind](
            f"destination {destination.name!r} cannot say what it holds of series {series_instance_uid}: {error}"
        ) from error
    return None if held is None else held.of(among)


def commit(destination: DimseDestination, request: Request) -> Report | None:
    """Ask a destination to commit itself to the storage of instances (PS3.4 annex J); its report, if it comes at once.

    Raises:
        TransientError: it did not answer, or is busy.
        OperatorError: it does not do storage commitment, or refuses the request.
    """
    try:
        return dimse.commit(destination, request)
    except HarmonodeError as error:
        raise ERRORS[error.kind](f"destination {destination.name!r}: {error}") from error


def echo(destination: Destination) -> str:
    """Whether the destination can be reached, in a sentence: C-ECHO, QIDO-RS, /system, or a file written.

    Raises:
        TransientError, OperatorError: it cannot, and why.
    """
    try:
        answer: str = _route(destination).echo(destination)
    except HarmonodeError as error:
        raise ERRORS[error.kind](f"destination {destination.name!r}: {error}") from error
    return answer
