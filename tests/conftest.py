"""What every test may ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import gdcm  # noqa: F401 - before the node, which hides it from pydicom: the tests decode as any reader does
import pytest

from node.store.session import Database, upgrade

pytest_plugins = [
    "peers",
    "crafted",
    "running",
    "certificates",
    "syslogs",
    "chromium",
    "pacs",
    "proxy",
    "scripted",
    "wallclock",
]  # the modules of tests/support

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real CT series."""
    if not SHARED.is_dir():
        pytest.skip(f"no real CT series at {SHARED}: this test needs them")
    return SHARED


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    import peers  # one of the plugins below, which pytest must see first

    return peers.free_port()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database at the newest migration, to be copied: making one takes many times as long."""
    file = tmp_path_factory.mktemp("migrated") / "harmonode.sqlite3"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def database(tmp_path: Path, migrated: Path) -> Iterator[Database]:
    """An empty SQLite database at the newest migration."""
    opened = Database(f"sqlite:///{shutil.copy(migrated, tmp_path)}")
    yield opened
    opened.close()
