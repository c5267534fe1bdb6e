"""Bytes that could not be accepted, kept aside with the reason beside them, never dropped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from node.series import Sender
from node.store.durable import PRIVATE, sync_file, sync_folder, write_whole
from node.store.tables import Quarantined


@dataclass(frozen=True, slots=True)
class Kept:
    """One object in the quarantine. A UID is None where it is not known or not one."""

    path: str  # relative to the quarantine
    reason: str
    event: str  # audit.Event: "quarantine" or "conflict"
    at: datetime
    sender: Sender
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "at": self.at.isoformat()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Kept:
        stored = json.loads(text)
        return cls(
            **{**stored, "at": datetime.fromisoformat(stored["at"]), "sender": Sender(**stored["sender"])},
        )


class Quarantine:
    """The folder of objects kept aside: `<2 hex>/<sha256 of the file>.dcm`, each with a `.json` that says why."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep_aside(
        self,
        source: Path | bytes,
        reason: str,
        sender: Sender,
        *,
        event: str = "quarantine",
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> Kept:
        """Keep a file (which is moved) or bytes, durable. The same bytes again are kept once, with their first reason.

        Raises:
            OSError: there is no space.
        """
        digest = _digest(source)
        path = self.root / digest[:2] / f"{digest}.dcm"
        kept = Kept(
            path=path.relative_to(self.root).as_posix(),
            reason=reason,
            event=event,
            at=datetime.now(UTC),
            sender=sender,
            study_instance_uid=study_instance_uid,
            series_instance_uid=series_instance_uid,
            sop_instance_uid=sop_instance_uid,
        )
        self.root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        if isinstance(source, Path):
            _move(source, path)
        elif not path.exists():
            write_whole(path, source, sync_name=False)
        note = path.with_suffix(".json")
        if not note.exists():
            write_whole(note, kept.to_json().encode(), sync_name=False)
        sync_folder(path.parent)
        sync_folder(self.root)
        return kept

    def walk(self) -> Iterator[Kept]:
        """Everything that is kept aside with its reason."""
        for note in sorted(self.root.glob("*/*.json")):
            yield Kept.from_json(note.read_text())


def note(session: Session, kept: Kept) -> bool:
    """Write the row of what was kept aside, once; False where it is there already."""
    if session.scalar(sa.select(Quarantined.id).where(Quarantined.path == kept.path)) is not None:
        return False
    session.add(
        Quarantined(
            at=kept.at,
            path=kept.path,
            reason=kept.reason,
            study_instance_uid=kept.study_instance_uid,
            series_instance_uid=kept.series_instance_uid,
            sop_instance_uid=kept.sop_instance_uid,
            calling_ae_title=kept.sender.calling_ae_title,
            address=kept.sender.address,
        )
    )
    return True


def _digest(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move(source: Path, path: Path) -> None:
    if path.exists():
        source.unlink()
        return
    try:
        source.replace(path)
    except OSError:  # the quarantine lies on another disk
        part = path.with_suffix(".part")
        shutil.copyfile(source, part)
        sync_file(part)
        part.replace(path)
        source.unlink()
    else:
        sync_file(path)
