"""`harmonode config`: what is in force, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli import app


def told(*words: str, file: Path) -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["--config", str(file), "config", *words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return {row["key"]: row for row in json.loads(done.stdout)}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMONODE_PROCESS__RETRY__ATTEMPTS", "2")
    path = tmp_path / "config.yaml"
    path.write_text(
        "receive: {ae_title: NODE1, port: 11112}\n"
        "database_url: postgresql+psycopg://node:open-sesame@db/harmonode\n"
        "destinations:\n  - {kind: orthanc, name: pacs, url: 'http://pacs:8042', password: open-sesame}\n"
    )
    return path


def test_each_value_is_told_with_where_it_comes_from(file: Path):
    rows = told(file=file)
    assert (rows["receive.ae_title"]["value"], rows["receive.ae_title"]["from"]) == ("NODE1", str(file))
    assert rows["process.retry.attempts"]["from"] == "HARMONODE_PROCESS__RETRY__ATTEMPTS"
    assert rows["process.retry.attempts"]["value"] == "2"
    assert rows["log.level"]["from"] == "default"
    assert rows["destinations"]["value"] == "pacs"
    assert rows["log.level"]["meaning"]


def test_only_what_differs_from_the_default_where_that_is_asked_for(file: Path):
    assert set(told("--changed", file=file)) == {
        "receive.ae_title", "database_url", "destinations", "process.retry.attempts",
    }  # fmt: skip


def test_no_password_is_shown(file: Path):
    for words in ([], ["--json"], ["--markdown"]):
        done = CliRunner().invoke(app, ["--config", str(file), "config", *words], catch_exceptions=False)
        assert done.exit_code == 0
        assert "open-sesame" not in done.output


def test_a_table_for_people(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("")
    done = CliRunner().invoke(app, ["--config", str(tmp_path / "config.yaml"), "config", "--changed"])
    assert done.stdout.strip() == "Every key has its default."
