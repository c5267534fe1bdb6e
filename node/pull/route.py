"""What a way of pulling must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from node.dicom.part10 import FileMeta
from node.dicom.retrieve import Sink
from node.receive import Outcome
from node.receive.intake import Readable
from node.series import Sender


@dataclass(frozen=True, slots=True)
class Offered:
    """A series as the source tells of it."""

    series_instance_uid: str
    modality: str  # "" where it does not say
    count: int | None  # Number of Series Related Instances (0020,1209), where it says


class Hands(Protocol):
    """What takes the objects that a route fetches."""

    def file(self, file: Readable, sender: Sender) -> Outcome:
        """Take a Part 10 file."""
        ...

    def open(self, meta: FileMeta) -> Sink:
        """Begin to take an object whose data set comes without its file meta information."""
        ...

    def arrived(self) -> None:
        """Objects may have come another way."""
        ...


class Route(Protocol):
    """An archive, asked and fetched from. Every method may raise TransientError, PermanentError and OperatorError."""

    def series(self, study_instance_uid: str) -> Sequence[Offered]:
        """The series of a study; none where the source does not have it."""
        ...

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> Sequence[str]:
        """The SOP Instance UIDs of a series."""
        ...

    def fetch(
        self, study_instance_uid: str, series_instance_uid: str, missing: Sequence[str], *, whole: bool, hands: Hands
    ) -> None:
        """Bring what is missing of a series; `whole` where that is all of it. What does not come is noticed later."""
        ...


OpenRoute = Callable[[], AbstractContextManager[Route]]
