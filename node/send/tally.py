"""What the routes share: the count of accepted instances, what a destination holds, and a refusal in words."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from node.dicom.statuses import StoreStatus
from node.errors import ErrorKind, HarmonodeError, OperatorError, PermanentError, TransientError

ERRORS: dict[ErrorKind, type[HarmonodeError]] = {
    ErrorKind.TRANSIENT: TransientError,
    ErrorKind.PERMANENT: PermanentError,
    ErrorKind.OPERATOR: OperatorError,
}


@dataclass(frozen=True, slots=True)
class Held:
    """What a destination says that it holds of a series."""

    count: int
    uids: frozenset[str] | None  # SOP Instance UIDs; None where it tells no more than their number

    @classmethod
    def these(cls, uids: Collection[str]) -> Held:
        return cls(len(uids), frozenset(uids))

    def of(self, among: Collection[str] | None) -> int:
        """How many of these; of all where none are named."""
        if among is None:
            return self.count
        return min(self.count, len(among)) if self.uids is None else len(self.uids.intersection(among))


class Tally:
    """How many instances the destination has accepted; each tells the caller."""

    def __init__(self, total: int, progress: Callable[[int], None]) -> None:
        self.total = total
        self.count = 0
        self._progress = progress

    def accepted(self, instances: int = 1) -> None:
        self.count += instances
        self._progress(self.count)


def refusal(status: StoreStatus, sop_instance_uid: str, comment: str = "", *, others: int = 0) -> HarmonodeError:
    """The error for an instance that a destination has refused with this status."""
    said = f": {comment}" if comment else ""
    more = f", and {others} more" if others else ""
    text = f"SOP Instance UID {sop_instance_uid}{more} refused with status {status}{said}"
    return ERRORS[ErrorKind(status.outcome)](text)
