"""The node's DICOMweb over a spool of its own, and clients that ask it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
import sqlalchemy as sa
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session

from node import catalogue
from node.config import Config
from node.receive import Indexer, Intake
from node.store.spool import Spool
from node.store.tables import Instance
from node.web import dicomweb
from node.web.roles import Role


@dataclass
class Service:
    """DICOMweb that runs."""

    web: Any
    config: Config
    spool: Spool

    def __post_init__(self) -> None:
        self.token = self.web.token(Role.OPERATOR, "scanner")
        self.url = f"{self.web.server.url}/dicom-web"
        self.client = self.web.client(self.token)
        self.client.base_url = self.url

    def store(self, paths: Sequence[Path | bytes], path: str = "studies", **headers: str) -> httpx.Response:
        bodies = [one if isinstance(one, bytes) else one.read_bytes() for one in paths]
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        content = b"".join(head + body + b"\r\n" for body in bodies) + f"--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        return self.client.post(path, content=content, headers={"Content-Type": kind, **headers})

    def hold(self, paths: Sequence[Path]) -> None:
        """Store, and wait until it can be found."""
        before = self.indexed()
        answer = self.store(paths)
        assert answer.status_code == 200, answer.text
        self.settle(before + len(paths))

    def settle(self, count: int, table: type = Instance) -> None:
        """Wait until the database has so many rows."""
        deadline = time.monotonic() + 30
        while self.indexed(table) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        catalogue.sweep(self.config, self.web.database)

    def indexed(self, table: type = Instance) -> int:
        with self.web.database.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    def get(self, path: str, accept: str = "application/dicom+json", **parameters: Any) -> httpx.Response:
        return self.client.get(path, params=parameters, headers={"Accept": accept})

    def viewer(self) -> DICOMwebClient:
        """A client of others' making."""
        session = create_session()
        session.headers["Authorization"] = f"Bearer {self.token}"
        return DICOMwebClient(self.url, session=session)


@pytest.fixture
def start_dicomweb(start_web: Callable[..., Any], database: Any, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts DICOMweb with its section of the configuration given."""
    indexer = Indexer(database)
    indexer.start()

    def start(reserve_mb: int = 1, **settings: Any) -> Service:
        config = Config.model_validate({"data_dir": tmp_path, "database_url": database.url, "dicomweb": settings})
        spool = Spool(config.spool_dir, reserve_mb << 20)
        return Service(start_web(dicomweb.router(config, Intake(spool, indexer.put))), config, spool)

    yield start
    indexer.stop()


@pytest.fixture
def service(start_dicomweb: Callable[..., Service]) -> Service:
    return start_dicomweb()


class Slices:
    """Some slices of a real series."""

    def __init__(self, folder: Path, count: int) -> None:
        self.paths = sorted(path for path in folder.glob("*.dcm") if path.stat().st_size > 500_000)[:count]
        self.headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in self.paths]
        self.study, self.series = str(self.headers[0].StudyInstanceUID), str(self.headers[0].SeriesInstanceUID)
        self.uids = [str(header.SOPInstanceUID) for header in self.headers]
        self.path = f"studies/{self.study}/series/{self.series}"


@pytest.fixture
def chest(data: Path) -> Slices:
    return Slices(data / "chest" / "lung-dx-a0002-b40f", 4)


@pytest.fixture
def sharp(data: Path) -> Slices:
    """Of the same study."""
    return Slices(data / "chest" / "lung-dx-a0002-b70f", 3)


@pytest.fixture
def other(data: Path) -> Slices:
    """Of another patient."""
    return Slices(data / "chest" / "lidc-0001", 2)
