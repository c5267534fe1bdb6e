"""`harmonode` beside a database of its own, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from node.cli import app
from node.rules import load
from node.store.session import Database

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with one destination, `out`."""
    path = tmp_path / "config.yaml"
    destinations = [{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}]
    path.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data"), "destinations": destinations}))
    return path


@pytest.fixture
def harmonode(config: Path) -> Run:
    """Runs `harmonode ...`; an error the node understands is raised."""

    def run(*words: str, **options) -> Result:
        return CliRunner().invoke(app, ["--config", str(config), *words], catch_exceptions=False, **options)

    return run


@pytest.fixture
def bare(harmonode: Run) -> Run:
    """Runs `harmonode rules ...` where no node was ever started."""
    return lambda *words, **options: harmonode("rules", *words, **options)


@pytest.fixture
def database(tmp_path: Path, migrated: Path):
    """The database of that configuration, with the shipped rules in it."""
    (tmp_path / "data").mkdir()
    opened = Database(f"sqlite:///{shutil.copy(migrated, tmp_path / 'data')}")
    with opened.write() as session:
        load.seed(session)
    yield opened
    opened.close()


@pytest.fixture
def rules(bare: Run, database: Database) -> Run:
    """The same beside a node's database."""
    return bare
