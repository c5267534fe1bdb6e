"""`harmonode evaluate`: what it refuses, and that it hands everything on to the plugin's evaluation."""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app, evaluate
from node.errors import ConfigError

SMALL = ["evaluate", "--phantoms", "3", "--seed", "7", "--matrix", "128", "--no-nodules", "--jobs", "1"]


class Installed:
    """An evaluation that takes what the shipped one takes."""

    def __init__(self) -> None:
        self.asked: dict = {}

    def load(self):
        return self

    def __call__(self, folder, progress, **asked):
        inspect.signature(entry_points(group="harmonode.evaluate")["ct_harmonizer"].load()).bind(
            folder, progress, **asked
        )
        self.asked = {"folder": folder, **asked}
        progress(3, 3)
        if folder.name == "taken":
            raise ValueError("taken holds rows of another plan; choose another folder")
        return "| quantity | must |", folder / "report.html"


@pytest.fixture
def installed(monkeypatch) -> Installed:
    one = Installed()
    monkeypatch.setattr(evaluate, "entry_points", lambda **_asked: [one])
    return one


def test_the_table_is_printed_and_the_report_is_told(installed: Installed, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*SMALL, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.stdout == "| quantity | must |\n"
    assert "report.html" in done.stderr.replace("\n", "")
    wanted = {"phantoms": 3, "seed": 7, "slices": 2, "matrix": 128, "nodules": False, "jobs": 1}
    assert installed.asked == {"folder": tmp_path, **wanted}


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--out", "taken"], "choose another folder"), (["--out", "new", "--matrix", "129"], "even")],
)
def test_what_cannot_be_studied_is_refused_with_the_reason(installed: Installed, words, reason) -> None:
    done = CliRunner().invoke(app, [*SMALL, *words])
    assert isinstance(done.exception, ConfigError)
    assert reason in str(done.exception)


def test_a_plugin_without_an_evaluation_is_named_beside_those_that_have_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--plugin", "identity", "--out", str(tmp_path)])
    assert "'identity'" in str(done.exception)
    assert "ct_harmonizer" in str(done.exception)
