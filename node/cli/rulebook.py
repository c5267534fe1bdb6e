"""`harmonode rules history` and `rules diff`: what was changed, by whom, when and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from node.cli.context import JSON, database, out, print_json
from node.cli.rules import Name
from node.rules import history


def register(rules: typer.Typer) -> None:
    rules.command("history", epilog="Example: harmonode rules history lung")(history_command)
    rules.command("diff", epilog="Example: harmonode rules diff lung 1 2")(diff_command)


_STYLE = {"+": "green", "-": "red", "@": "dim"}


def history_command(ctx: typer.Context, name: Name, as_json: JSON = False) -> None:
    """Every version of a rule, the newest first: who changed it, when, why, and what."""
    with database(ctx) as opened, opened.read() as session:
        versions = history.history(session, name)
    if as_json:
        print_json([one.to_json() for one in versions])
        return
    for one in versions:
        out.print(f"[bold]version {one.version}[/], {one.at:%Y-%m-%d %H:%M} UTC, {one.state} by ", end="")
        out.print(f"{one.author}{f': {one.why}' if one.why else ''}", markup=False, highlight=False)
        print_diff(one.changes, indent="  ")


def diff_command(
    ctx: typer.Context,
    name: Name,
    first: Annotated[int, typer.Argument(help="The version to start from.", metavar="V1", min=1)],
    second: Annotated[
        int | None, typer.Argument(help="The version to compare with.", metavar="V2", min=1, show_default="the newest")
    ] = None,
) -> None:
    """What differs between two versions of a rule."""
    with database(ctx) as opened, opened.read() as session:
        before = history.version(session, name, first)
        after = history.version(session, name, second) if second else history.history(session, name)[0]
    lines = history.compare(before, after)
    if not lines:
        out.print(f"Rule {name} says the same in version {before.version} and in version {after.version}.")
    print_diff(lines)


def print_diff(lines: list[str] | tuple[str, ...], indent: str = "") -> None:
    """The lines of a unified diff, coloured."""
    for line in lines:
        out.print(Text(f"{indent}{line}", style=_STYLE.get(line[:1], "")))
