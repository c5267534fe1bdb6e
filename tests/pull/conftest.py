"""A pull into a folder of its own, without a running node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa

from node.config import Config, Receive
from node.dicom import part10
from node.pull import Pulled, pull
from node.store.session import Database
from node.store.tables import AuditRecord, Instance, Series

SLICES = 10


class Puller:
    """Pulls, and what is here afterwards."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database

    def config(self, **source: Any) -> Config:
        receive = Receive.model_validate({"disk_reserve_mb": 1, **source.pop("receive", {})})
        return Config(data_dir=self.folder, receive=receive, sources=[{"name": "archive", **source}])  # type: ignore[list-item]

    def pull(
        self, study: str, series: str = "", progress: Callable[..., None] = lambda *_: None, **source: Any
    ) -> list[Pulled]:
        return list(
            pull(self.config(**source), self.database, "archive", study, series, actor="user:test", progress=progress)
        )

    def rows(self) -> list[Series]:
        with self.database.read() as session:
            return list(session.scalars(sa.select(Series)))

    def instances(self) -> list[Instance]:
        with self.database.read() as session:
            return list(session.scalars(sa.select(Instance)))

    def records(self, event: str) -> list[AuditRecord]:
        with self.database.read() as session:
            return list(session.scalars(sa.select(AuditRecord).where(AuditRecord.event == event)))

    def files(self) -> dict[str, bytes]:
        """SOP Instance UID -> the data set's bytes of each file in the spool."""
        found = {}
        for path in (self.folder / "spool").glob("*/*/*.dcm"):
            with path.open("rb") as file:
                uid = part10.read(file).sop_instance_uid
                found[uid] = file.read()
        return found


@pytest.fixture
def puller(tmp_path: Path, database: Database) -> Iterator[Puller]:
    return Puller(tmp_path / "node", database)


class Chest:
    """Slices of a real series: its UIDs and its files' data sets."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.dcm"))[:SLICES]
        header = pydicom.dcmread(self.paths[0], stop_before_pixels=True)
        self.study, self.series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        self.data_sets = {}
        for path in self.paths:
            with path.open("rb") as file:
                uid = part10.read(file).sop_instance_uid
                self.data_sets[uid] = file.read()


@pytest.fixture
def chest(data: Path) -> Chest:
    """Ten slices."""
    return Chest(data / "chest" / "lung-dx-a0002-b40f")


@pytest.fixture
def sharp(data: Path) -> Chest:
    """Ten slices of another kernel in the same study."""
    return Chest(data / "chest" / "lung-dx-a0002-b70f")
