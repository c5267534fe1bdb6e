"""`harmonode rules history`, `diff`, `export` and `import`: the rules over time, and under version control."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from node.cli.context import JSON, actor, database, out, print_json
from node.cli.rules import Name, Why, read_checked
from node.rules import history, transfer


def register(rules: typer.Typer) -> None:
    rules.command("history", epilog="Example: harmonode rules history lung")(history_command)
    rules.command("diff", epilog="Example: harmonode rules diff lung 1 2")(diff_command)
    rules.command("export", epilog="Example: harmonode rules export rules.yaml")(export_command)
    rules.command("import", epilog="Example: harmonode rules import rules.yaml --dry-run")(import_command)


_SAID = {
    "added": "{} added",
    "changed": "{} changed",
    "removed": "{} removed",
    "same": "says the same already",
    "kept": "stays as it is: the file does not name it",
}
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


def export_command(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="Where to, for version control.", metavar="FILE", show_default="standard output"),
    ] = None,
) -> None:
    """All rules as YAML, ordered by name. Over an earlier export, comments on rules that did not change stay."""
    with database(ctx) as opened, opened.read() as session:
        text = transfer.export(session, file.read_text("utf-8") if file is not None and file.exists() else "")
    if file is None:
        typer.echo(text, nl=False)
        return
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, "utf-8")
    part.replace(file)
    out.print(f"The rules are in {file}.", markup=False, highlight=False)


def import_command(  # noqa: PLR0917 - one argument an option
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="YAML: a list of rules.", metavar="FILE")],
    why: Why = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove the rules that the file does not name.")] = False,
    as_json: JSON = False,
) -> None:
    """Put the rules of a file in force: all of them, or none where anything is wrong with one. Shows what changes."""
    rules = read_checked(ctx, file)
    with database(ctx) as opened, opened.write() as session:
        changes = transfer.plan(session, rules, prune=prune)
        if not dry_run:
            transfer.apply(session, changes, author=actor(), why=why)
    if as_json:
        told = [{"name": change.name, "what": change.what, "diff": list(change.lines)} for change in changes]
        print_json({"dry_run": dry_run, "changes": told})
        return
    for change in changes:
        said = _SAID[change.what].format("would be" if dry_run else "is")
        out.print(f"Rule {change.name} {said}.", markup=False, highlight=False)
        print_diff(change.lines, indent="  ")


def print_diff(lines: list[str] | tuple[str, ...], indent: str = "") -> None:
    """The lines of a unified diff, coloured."""
    for line in lines:
        out.print(Text(f"{indent}{line}", style=_STYLE.get(line[:1], "")))
