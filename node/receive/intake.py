"""What happens to one object, however it came: it is durable in the spool, or refused with a status and kept aside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from io import BytesIO
from typing import Protocol

import structlog

from node.audit import Event
from node.dicom import part10
from node.dicom.associations import CT_STORAGE
from node.dicom.elements import Identity, InvalidDataSet
from node.dicom.part10 import FileMeta
from node.dicom.uids import is_valid
from node.errors import InvalidObject
from node.receive.index import Item, Refusal
from node.series import Sender
from node.store.incoming import Incoming, SpoolFull
from node.store.spool import Placement, Spool, arrival, sender_of

_log = structlog.get_logger(__name__)

_PIECE = 1 << 18
_TELL_FULL_EVERY_S = 60.0
_COMMENT_LENGTH = 64  # Error Comment (0000,0902) is LO
_HEAD_BYTES = 1 << 17  # more than any File Meta Information has
_MOST_KEPT_BYTES = 16 << 20  # of what is no DICOM file


class Status(IntEnum):
    """Status (0000,0900) of a C-STORE response: PS3.4 Table B.2-1, PS3.7 section 9.1.1.1.9."""

    SUCCESS = 0x0000
    INVALID_INSTANCE = 0x0117  # what stands for the SOP Instance UID is not a UID
    CLASS_NOT_SUPPORTED = 0x0122
    OUT_OF_RESOURCES = 0xA700
    CLASS_MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    CONFLICT = 0xC111  # "cannot understand" too; 0111H would let a sender believe that we have what it has
    OTHER_STUDY = 0xC409  # "cannot understand": it is not of the study that the sender names


class Readable(Protocol):
    """Where bytes come from; it need not be a file, and is read once."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, at least one, and none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to the sender."""

    status: Status
    comment: str = ""
    identity: Identity | None = field(default=None, compare=False)  # as far as the object told it

    @property
    def error_comment(self) -> str:
        """As much as fits into Error Comment (0000,0902)."""
        return self.comment.encode("ascii", "replace").decode()[:_COMMENT_LENGTH]


class Intake:
    """The only way into the spool. `tell` hears of everything that the database must learn, and never fails."""

    def __init__(self, spool: Spool, tell: Callable[[Item], None]) -> None:
        self._spool, self._tell = spool, tell
        self._told_full_at = -_TELL_FULL_EVERY_S

    def open(self, meta: FileMeta) -> Incoming:
        """Begin to receive an object; write its data set to what is returned, then `finish` it.

        Raises:
            SpoolFull: there is no space.
        """
        return self._spool.open(meta)

    def require_space(self) -> None:
        """Raises SpoolFull where there is no space for another object."""
        self._spool.require_space()

    def finish(self, incoming: Incoming, of_study: str = "") -> Outcome:
        """Judge a whole object, and make it durable. SUCCESS is returned only when it outlives a power cut.

        `of_study` is the Study Instance UID that it must have; "" for any.
        """
        try:
            outcome = self._judge(incoming, of_study)
        except SpoolFull as error:
            outcome = self.full(error, incoming.meta)
        except OSError as error:
            incoming.discard()
            outcome = self.full(SpoolFull(f"the disk refuses: {error.strerror}"), incoming.meta)
        return outcome

    def accept(self, file: Readable, sender: Sender, of_study: str = "") -> Outcome:
        """Take a Part 10 file from anywhere: the same checks and the same durability as by C-STORE.

        Raises whatever `file` raises while it is read; of that object nothing is left.
        """
        head = BytesIO(_read(file, _HEAD_BYTES))
        try:
            given = part10.read(head)
        except InvalidObject as error:
            return self._no_file(head.getvalue(), file, sender, error.reason)
        meta = FileMeta(
            sop_class_uid=given.sop_class_uid if is_valid(given.sop_class_uid) else "",
            sop_instance_uid=given.sop_instance_uid if is_valid(given.sop_instance_uid) else "",
            transfer_syntax_uid=given.transfer_syntax_uid,
            sending_ae=sender.calling_ae_title,
            receiving_ae=sender.called_ae_title,
            address=sender.address,
        )
        try:
            incoming = self.open(meta)
        except SpoolFull as error:
            return self.full(error, meta)
        try:
            incoming.write(head.read())
            while piece := file.read(_PIECE):
                incoming.write(piece)
        except BaseException:
            incoming.discard()
            raise
        return self.finish(incoming, of_study)

    def _no_file(self, head: bytes, file: Readable, sender: Sender, reason: str) -> Outcome:
        """Keep aside what is no DICOM file, unless it is very large: its sender, who is told, has it still."""
        content = head + _read(file, _MOST_KEPT_BYTES - len(head))
        if not file.read(1):
            return self._keep(content, sender, Status.CANNOT_UNDERSTAND, reason)
        while file.read(_PIECE):
            pass
        reason = f"{reason}; it is larger than {_MOST_KEPT_BYTES >> 20} MiB and is not kept"
        self._tell(Refusal(f"an object from {sender.calling_ae_title} at {sender.address} was refused: {reason}"))
        return Outcome(Status.CANNOT_UNDERSTAND, reason)

    def full(self, error: SpoolFull, meta: FileMeta) -> Outcome:
        """Refuse for want of space; the sender keeps the object and tries again."""
        _log.error("no space for an object", sop_instance_uid=meta.sop_instance_uid, reason=str(error))
        now = time.monotonic()
        if (
            now - self._told_full_at >= _TELL_FULL_EVERY_S
        ):  # a row for each of a thousand slices would fill the disk too
            self._told_full_at = now
            message = f"objects are refused, the first is instance {meta.sop_instance_uid}: {error}"
            self._tell(Refusal(message, {"sop_instance_uid": meta.sop_instance_uid, "status": "A700"}))
        known = Identity(meta.sop_class_uid, meta.sop_instance_uid, "", "")
        return Outcome(Status.OUT_OF_RESOURCES, "no space in the spool", known)

    def refuse_whole(self, incoming: Incoming, reason: str) -> None:
        """Keep aside an object that is whole but whose request cannot be answered."""
        try:
            incoming.finish()
            self._keep(incoming, sender_of(incoming.meta), Status.CANNOT_UNDERSTAND, reason)
        except (SpoolFull, OSError) as error:
            _log.error("an object could not be kept aside", reason=reason, error=str(error))
            incoming.discard()

    def _judge(self, incoming: Incoming, of_study: str) -> Outcome:
        incoming.finish()
        meta = incoming.meta
        try:
            identity = incoming.identify()
        except InvalidDataSet as error:
            known = Identity(
                meta.sop_class_uid,
                error.sop_instance_uid or meta.sop_instance_uid,
                error.study_instance_uid or "",
                error.series_instance_uid or "",
            )
            return self._keep(incoming, sender_of(meta), Status.CANNOT_UNDERSTAND, error.reason, known)
        if wrong := _mismatch(meta, identity):
            return self._keep(incoming, sender_of(meta), *wrong, identity)
        if of_study and identity.study_instance_uid != of_study:
            reason = f"it is of study {identity.study_instance_uid}, and was sent as of study {of_study}"
            return self._keep(incoming, sender_of(meta), Status.OTHER_STUDY, reason, identity)
        sha256 = incoming.sha256
        placed = self._spool.place(incoming, identity)
        if placed.placement is Placement.OTHER:
            reason = "this SOP Instance UID was received before with other bytes"
            return self._keep(incoming, sender_of(meta), Status.CONFLICT, reason, identity)
        again = placed.placement is Placement.SAME
        # Told even then: whoever stored it first may have failed between the name and the answer.
        size, at = placed.size_bytes, placed.at
        self._tell(arrival(meta, identity, placed.path, size_bytes=size, sha256=sha256, at=at, again=again))
        if again:
            _log.info("an instance came again, unchanged", sop_instance_uid=identity.sop_instance_uid)
        return Outcome(Status.SUCCESS, identity=identity)

    def _keep(
        self, what: Incoming | bytes, sender: Sender, status: Status, reason: str, identity: Identity | None = None
    ) -> Outcome:
        uid = identity.sop_instance_uid if identity else None
        kept = self._spool.quarantine.keep_aside(
            what if isinstance(what, bytes) else what.path,
            reason,
            sender,
            event=str(Event.CONFLICT if status is Status.CONFLICT else Event.QUARANTINE),
            study_instance_uid=(identity.study_instance_uid or None) if identity else None,
            series_instance_uid=(identity.series_instance_uid or None) if identity else None,
            sop_instance_uid=uid or None,
        )
        if isinstance(what, Incoming):
            what.discard()
        self._tell(kept)
        _log.warning(
            "an object was refused and kept aside",
            sop_instance_uid=uid,
            calling_ae_title=sender.calling_ae_title,
            address=sender.address,
            status=f"{status:04X}",
            reason=reason,
            quarantine=kept.path,
        )
        return Outcome(status, reason, identity)


def _mismatch(meta: FileMeta, identity: Identity) -> tuple[Status, str] | None:
    """Where the request and the data set disagree (PS3.4 section B.2.3), or are not what the node stores."""
    if identity.sop_class_uid != meta.sop_class_uid:
        what = f"SOP Class UID {identity.sop_class_uid} in the data set, {meta.sop_class_uid or 'none'} in the request"
        return Status.CLASS_MISMATCH, what
    if identity.sop_class_uid not in CT_STORAGE:
        return Status.CLASS_NOT_SUPPORTED, f"SOP class {identity.sop_class_uid} is not stored here"
    if not is_valid(meta.sop_instance_uid):
        return Status.INVALID_INSTANCE, f"SOP Instance UID of the request is not a UID: {meta.sop_instance_uid!r}"
    if identity.sop_instance_uid != meta.sop_instance_uid:
        what = f"{identity.sop_instance_uid} in the data set, {meta.sop_instance_uid} in the request"
        return Status.CANNOT_UNDERSTAND, f"SOP Instance UID differs: {what}"
    return None


def _read(file: Readable, size: int) -> bytes:
    """So many bytes, fewer only at the end."""
    pieces = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
