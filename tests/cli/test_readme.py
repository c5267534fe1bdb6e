"""The README's commands are executed; every command has help with an example."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import documents
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def documented() -> list[str]:
    blocks = re.findall(r"<!-- executed by tests/cli/test_readme.py[^\n]*-->\n```sh\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


COMMANDS = dict(documents.commands())


@pytest.mark.slow
def test_the_readme_tells_the_truth(data: Path, tmp_path: Path):
    (tmp_path / "chest").symlink_to(data / "chest" / "lung-dx-a0002-b40f")
    (tmp_path / "config.yaml").symlink_to(ROOT / "config.yaml")
    lines = documented()
    assert len(lines) >= 10
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "harmonode"
        done = subprocess.run(
            [sys.executable, "-m", "node.cli", *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), line
    assert len(list((tmp_path / "harmonized").rglob("*.dcm"))) == 30


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_an_example(name: str):
    command = COMMANDS[name]
    assert command.help
    assert f"harmonode {name}" in re.sub(r"--config \S+ ", "", command.epilog or ""), command.epilog


def test_the_commands_are_the_promised_ones():
    promised = """serve demo send pull harmonize mtf evaluate config doctor worker top retention notify
        rules list|rules show|rules add|rules remove|rules enable|rules disable|rules test|rules explain
        |rules history|rules diff|rules replay|rules export|rules import|rules edit
        |series list|series show|series retry|series start-now|series cancel|audit list|audit verify|audit servers|db upgrade
        |tokens add|tokens list|tokens revoke"""
    first, rest = promised.split("\n", 1)
    assert set(COMMANDS) == {*first.split(), *(name.strip() for name in rest.replace("\n", "").split("|"))}


@pytest.mark.parametrize(
    "words", [["series", "show", "1.2.3"], ["--config", "none.yaml", "doctor"], ["send", ".", "--to", "nonsense"]]
)
def test_an_error_is_one_clear_message(words: list[str], tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "node.cli", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error (")
    assert "Traceback" not in done.stderr
