"""`harmonode tokens`: made, listed, revoked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from node.cli import app
from node.errors import HarmonodeError

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data")}))

    def invoke(*words: str) -> Result:
        result = CliRunner().invoke(app, ["--config", str(file), *words])
        if isinstance(result.exception, HarmonodeError):
            raise result.exception
        return result

    invoke("db", "upgrade")
    return invoke


def test_a_token_is_printed_once_and_alone(run: Run):
    made = run("tokens", "add", "eli", "--role", "operator", "--expires", "90d")
    assert made.stdout.startswith("harmonode_")
    assert len(made.stdout.split()) == 1
    assert "eli, role operator, good until" in made.stderr
    listed = run("tokens", "list", "--json").stdout
    assert made.stdout.strip() not in listed
    (row,) = json.loads(listed)
    assert (row["name"], row["role"], row["good"], row["used_at"]) == ("eli", "operator", True, None)
    assert made.stdout.strip() not in run("audit", "list", "--json").stdout
    run("tokens", "revoke", "eli")
    assert json.loads(run("tokens", "list", "--json").stdout)[0]["good"] is False
    assert "revoked" in run("tokens", "list").stdout


def test_what_cannot_be_is_told(run: Run):
    with pytest.raises(HarmonodeError, match="such as 12h, 90d or 52w"):
        run("tokens", "add", "eli", "--role", "viewer", "--expires", "soon")
    with pytest.raises(HarmonodeError, match="no token 'nobody'; there are: none"):
        run("tokens", "revoke", "nobody")
    assert run("tokens", "add", "eli", "--role", "king").exit_code == 2
    assert "There is no token yet" in run("tokens", "list").stdout
