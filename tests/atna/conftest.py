"""A node with one series in its spool, and a trail to write to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crafted import slice_of
from pydicom import dcmwrite

from node import audit
from node.audit import Event
from node.config import Config
from node.store.session import Database
from node.store.tables import Instance, Series


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "data_dir": str(tmp_path),
            "audit": {"source_id": "node@ct", "enterprise_site_id": "St. Ánna"},
            "destinations": [
                {"kind": "dimse", "name": "pacs", "ae_title": "PACS", "host": "10.0.0.5", "port": 104},
                {"kind": "stow", "name": "web", "url": "https://me:secret@pacs.example/dicom-web"},
                {"kind": "folder", "name": "out", "path": "/srv/out"},
            ],
        }
    )


@pytest.fixture
def series(database: Database, config: Config) -> Series:
    """A series of one CT image of Doe^Jane, SECRET-1, received from CT1."""
    now = datetime.now(UTC)
    config.spool_dir.mkdir(parents=True)
    image = slice_of(0)
    image.PatientName = "Doe^Jäne"
    dcmwrite(config.spool_dir / "one.dcm", image)
    with database.write() as session:
        row = Series(
            study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", state="receiving", state_since=now,
            first_arrival_at=now, last_arrival_at=now, calling_ae_title="CT1", called_ae_title="NODE",
            address="10.0.0.9", instance_count=1,
        )  # fmt: skip
        session.add(row)
        session.flush()
        session.add(
            Instance(
                series_id=row.id, sop_instance_uid="1.2.3.4.0", sop_class_uid=image.SOPClassUID,
                transfer_syntax_uid="1.2", path="one.dcm", size_bytes=1, sha256="", received_at=now,
                calling_ae_title="CT1",
            )
        )  # fmt: skip
    return row


@pytest.fixture
def happen(database: Database) -> Callable[..., int]:
    """Write a record of the trail; returns its number."""

    def write(event: Event | str, message: str = "it happened", **about: Any) -> int:
        with database.write() as session:
            row = audit.record(session, Event(event), message, **about)
            return row.seq

    return write
