"""`harmonode rules edit`: refused with the clause's name, mended, kept."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import typer

from node.errors import OperatorError, PermanentError
from node.rules import load


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An editor that replaces texts, one pair each time it is opened, and `opened()`: how often that was."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script, log = tmp_path / "editor.py", tmp_path / "opened"
    monkeypatch.delenv("VISUAL", raising=False)

    def use(*replaced: tuple[str, str]):
        script.write_text(
            "import pathlib, sys\n"
            f"log = pathlib.Path({str(log)!r}); count = len(log.read_text()) if log.exists() else 0\n"
            "log.write_text('x' * (count + 1))\n"
            f"was, becomes = {replaced!r}[count]\n"
            "file = pathlib.Path(sys.argv[1]); file.write_text(file.read_text().replace(was, becomes))\n"
        )
        monkeypatch.setenv("EDITOR", shlex.join([sys.executable, str(script)]))
        return lambda: len(log.read_text())

    return use


def drafts(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("harmonode-lung-*.yaml"))


def test_a_change_asks_why_and_is_in_force(rules, editor, tmp_path):
    editor(("[null, 5]", "[null, 6]"))
    shown = rules("edit", "lung", input="thicker ones too\n").output
    assert "+    between: [null, 6]" in shown
    assert "Rule lung is in force, version 2." in shown
    (newest, _first) = json.loads(rules("history", "lung", "--json").output)
    assert newest["why"] == "thicker ones too"
    assert drafts(tmp_path) == []


def test_what_is_refused_is_mended_in_what_was_typed(rules, editor, tmp_path):
    opened = editor(("SliceThickness", "SliceThicknes"), ("SliceThicknes", "SpacingBetweenSlices"))
    done = rules("edit", "lung", "--why", "by spacing", input="y\n")
    assert opened() == 2
    assert "match.all[4] (tag SliceThicknes): no such DICOM keyword" in done.stderr.replace("\n", " ")
    assert "version 2" in done.stdout
    assert drafts(tmp_path) == []


def test_who_gives_up_keeps_what_was_typed(rules, editor, tmp_path):
    editor(("SliceThickness", "SliceThicknes"))
    done = rules("edit", "lung", input="n\n")
    assert done.exit_code == 1
    (draft,) = drafts(tmp_path)
    assert f"What was typed is in {draft}" in done.stderr.replace("\n", "")
    assert "tag: SliceThicknes\n" in draft.read_text()
    assert json.loads(rules("list", "--json").output)[0]["version"] == 1


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("name: lung", "name: lungs", "must hold one rule, called lung"),
        ("ct_harmonizer", "ct_harmoniser", "no plugin 'ct_harmoniser' is installed"),
        ("destinations: []", "destinations: [pcas]", "no destination pcas in the configuration"),
        ("parameters: {}", "parameters: {strenght: 1}", "strenght"),
    ],
)
def test_what_cannot_be_put_in_force(rules, editor, was, becomes, said):
    editor((was, becomes))
    assert said in rules("edit", "lung", input="n\n").stderr.replace("\n", " ")


def test_nothing_typed_changes_nothing(rules, editor, tmp_path):
    editor(("x x x", ""))
    assert "stays as it is, version 1" in rules("edit", "lung").output
    assert drafts(tmp_path) == []


def test_a_change_by_another_meanwhile_is_not_overwritten(rules, editor, database, monkeypatch, tmp_path):
    editor(("[null, 5]", "[null, 6]"))

    def prompt(_text: str) -> str:
        with database.write() as session:
            load.set_enabled(session, "lung", enabled=False, author="user:bob")
        return "thicker"

    monkeypatch.setattr(typer, "prompt", prompt)
    with pytest.raises(PermanentError, match="rule lung was changed meanwhile, to version 2"):
        rules("edit", "lung")
    assert len(drafts(tmp_path)) == 1


def test_an_editor_that_is_not_there(rules, editor, monkeypatch, tmp_path):
    editor()
    monkeypatch.setenv("EDITOR", str(tmp_path / "none"))
    with pytest.raises(OperatorError, match="VISUAL or EDITOR names the editor"):
        rules("edit", "lung")
