"""`harmonode rules edit`: change a rule in an editor; what is typed is never lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click
import typer

from node.cli.context import actor, database, err, out
from node.cli.rulebook import print_diff
from node.cli.rules import Name, Why, read_checked
from node.errors import OperatorError, PermanentError, RuleError
from node.rules import load
from node.rules.model import Rule
from node.store.session import Database

_HEAD = """\
# Rule {name}, version {version}. Save the file and leave the editor to put it in force; leave it as it is to change nothing.
# How a rule is written: `harmonode rules show lung` is an example.
"""


def register(rules: typer.Typer) -> None:
    rules.command("edit", epilog="Example: EDITOR=nano harmonode rules edit lung")(edit_command)


def edit_command(ctx: typer.Context, name: Name, why: Why = "") -> None:
    """Open a rule in $VISUAL or $EDITOR and put it in force. What is refused can be mended; what was typed is kept."""
    with database(ctx) as opened:
        with opened.read() as session:
            row = load.find(session, name)
            document, version = row.document, row.version
        path = _draft(name, _HEAD.format(name=name, version=version) + load.as_yaml(document))
        try:
            rule = _edited(ctx, opened, path, name)
            if rule is None or rule.document() == document:
                out.print(f"Rule {name} stays as it is, version {version}.")
                path.unlink()
                return
            print_diff(load.diff(document, rule.document()))
            reason = why or typer.prompt("Why is it changed")
            with opened.write() as session:
                _require_unchanged(load.find(session, name).version, version, name)
                version = load.save(session, rule, author=actor(), why=reason)
        except (PermanentError, OperatorError, typer.Abort, OSError):
            err.print(f"Nothing is changed. What was typed is in {path}", markup=False, highlight=False)
            raise
    path.unlink()
    out.print(f"Rule {name} is {'in force' if rule.enabled else 'kept, and disabled'}, version {version}.")


def _draft(name: str, text: str) -> Path:
    handle, path = tempfile.mkstemp(prefix=f"harmonode-{name}-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


def _edited(ctx: typer.Context, opened: Database, path: Path, name: str) -> Rule | None:
    """The rule as it was typed, once it is sound; None where nothing was typed."""
    before = path.read_bytes()
    while True:
        try:
            click.edit(filename=str(path))
        except click.ClickException as error:
            raise OperatorError(f"{error.message}; VISUAL or EDITOR names the editor") from error
        if path.read_bytes() == before:
            return None
        try:
            return _checked(ctx, opened, path, name)
        except RuleError as error:
            err.print(f"[bold red]refused[/]: {name} stays as it is")
            err.print(str(error), markup=False, highlight=False)
        typer.confirm("Edit it again?", default=True, abort=True)


def _checked(ctx: typer.Context, opened: Database, path: Path, name: str) -> Rule:
    rules = read_checked(ctx, path)
    if len(rules) != 1 or rules[0].name != name:
        raise RuleError(f"{path} must hold one rule, called {name}: `harmonode rules add` takes others")
    with opened.read() as session:
        load.require_reachable(session, rules[0])
    return rules[0]


def _require_unchanged(current: int, version: int, name: str) -> None:
    if current != version:
        raise PermanentError(
            f"rule {name} was changed meanwhile, to version {current}: `harmonode rules diff {name} {version}`"
        )
