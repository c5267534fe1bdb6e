"""Storage commitment as data sets, PS3.4 annex J: what is asked for (N-ACTION), and what became of it (N-EVENT-REPORT)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from node.dicom.uids import is_valid
from node.dicom.values import items, number, text
from node.errors import InvalidObject

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")  # the one instance of it that there is, PS3.4 section J.3.5
REQUEST = 1  # Action Type ID, PS3.4 Table J.3-1
ALL_HELD, SOME_FAILED = 1, 2  # Event Type IDs, PS3.4 Table J.3-3

PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT, NOT_MENTIONED = 0x0110, 0x0112, 0x0119, 0
FAILURE_REASONS = {  # PS3.3 section C.14.1.1
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "SOP class not supported",
    CLASS_CONFLICT: "class and instance conflict",
    0x0131: "duplicate transaction UID",
    NOT_MENTIONED: "not mentioned in the report",
}
MENDED_BY_SENDING = frozenset({PROCESSING_FAILURE, NO_SUCH_INSTANCE, 0x0213, NOT_MENTIONED})


@dataclass(frozen=True, slots=True)
class Request:
    """A request for commitment: SOP Instance UID -> SOP Class UID."""

    transaction_uid: str
    instances: Mapping[str, str]

    def encode(self, *, implicit: bool) -> bytes:
        return _encode(self.transaction_uid, self.instances, {}, implicit=implicit)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a request: instances that are committed to, and those that are not with the reason."""

    transaction_uid: str
    held: Mapping[str, str]  # SOP Instance UID -> SOP Class UID
    failed: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # -> SOP Class UID, Failure Reason (0008,1197)

    @property
    def event_type(self) -> int:
        return SOME_FAILED if self.failed else ALL_HELD

    def encode(self, *, implicit: bool) -> bytes:
        return _encode(self.transaction_uid, self.held, self.failed, implicit=implicit)

    def failures(self, asked: Iterable[str]) -> dict[str, int]:
        """SOP Instance UID -> reason, of what was asked for and is not committed to."""
        reasons = {uid: self.failed[uid][1] if uid in self.failed else NOT_MENTIONED for uid in asked}
        return {uid: reason for uid, reason in reasons.items() if uid in self.failed or uid not in self.held}


def decode_request(data: bytes, *, implicit: bool) -> Request:
    """Raises InvalidObject where it lacks a UID or cannot be read."""
    data_set = _decode(data, implicit=implicit)
    request = Request(_uid(data_set, "TransactionUID"), dict(_references(data_set, "ReferencedSOPSequence")))
    if not request.instances:
        raise InvalidObject("the request for commitment names no instance")
    return request


def decode_report(data: bytes, *, implicit: bool) -> Report:
    """Raises InvalidObject where it lacks a UID or cannot be read."""
    data_set = _decode(data, implicit=implicit)
    failed = {
        _uid(item, "ReferencedSOPInstanceUID"): (
            _uid(item, "ReferencedSOPClassUID"),
            int(number(item, "FailureReason") or PROCESSING_FAILURE),
        )
        for item in items(data_set, "FailedSOPSequence")
    }
    return Report(_uid(data_set, "TransactionUID"), dict(_references(data_set, "ReferencedSOPSequence")), failed)


def told(failures: Mapping[str, int], most: int = 3) -> str:
    """Failures for the end of a sentence: the first UIDs with their reasons."""
    shown = [f"{uid} (0x{reason:04X}, {FAILURE_REASONS.get(reason, 'unknown')})" for uid, reason in failures.items()]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _encode(
    transaction_uid: str, held: Mapping[str, str], failed: Mapping[str, tuple[str, int]], *, implicit: bool
) -> bytes:
    data_set = Dataset()
    data_set.TransactionUID = transaction_uid
    if held:
        data_set.ReferencedSOPSequence = [_reference(uid, sop_class) for uid, sop_class in held.items()]
    if failed:
        data_set.FailedSOPSequence = [_reference(uid, sop_class, reason) for uid, (sop_class, reason) in failed.items()]
    encoded = encode(data_set, implicit, True)
    if encoded is None:  # pynetdicom logs why, and goes on
        raise InvalidObject(f"the storage commitment transaction {transaction_uid} cannot be encoded")
    return encoded


def _reference(uid: str, sop_class: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    if reason is not None:
        item.FailureReason = reason
    return item


def _references(data_set: Dataset, keyword: str) -> Sequence[tuple[str, str]]:
    return [
        (_uid(item, "ReferencedSOPInstanceUID"), _uid(item, "ReferencedSOPClassUID"))
        for item in items(data_set, keyword)
    ]


def _decode(data: bytes, *, implicit: bool) -> Dataset:
    try:
        return decode(BytesIO(data), implicit, True)
    except Exception as error:  # a malformed data set makes pydicom raise nearly anything
        raise InvalidObject(f"the data set cannot be read: {error}") from error


def _uid(data_set: Dataset, keyword: str) -> str:
    found = text(data_set, keyword)
    if not is_valid(found):
        raise InvalidObject(f"{keyword} is {found!r}, which is no UID")
    return found
