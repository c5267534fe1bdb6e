"""`harmonode rules`: which series are harmonized, and why one is or is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from node import plugin
from node.cli.context import JSON, actor, database, out, print_json, settings
from node.errors import PermanentError, RuleError
from node.rules import load
from node.rules.explain import Decision, text
from node.rules.match import InForce, decide
from node.rules.model import Rule
from node.rules.replay import ask_again
from node.series import SeriesFacts
from node.store import tables
from node.store.session import sqlite_file

rules_app = typer.Typer(
    no_args_is_help=True, help="The rules: which series are harmonized, by what, and where they go."
)

Name = Annotated[str, typer.Argument(help="The rule's name.", metavar="NAME")]
Why = Annotated[str, typer.Option(help="The reason, for the audit trail.", metavar="TEXT")]


def register(app: typer.Typer) -> None:
    from node.cli import edit, replay, rulebook  # which need this module

    for part in (rulebook, edit, replay):
        part.register(rules_app)
    app.add_typer(rules_app, name="rules")


@rules_app.command("list", epilog="Example: harmonode rules list")
def list_command(ctx: typer.Context, as_json: JSON = False) -> None:
    """Every rule, in the order in which they are asked."""
    with database(ctx) as opened, opened.read() as session:
        rows = sorted(load.stored(session), key=lambda row: (-row.document.get("priority", 0), row.name))
        shown = [_as_dict(row) for row in rows]
    if as_json:
        print_json(shown)
        return
    table = Table("name", "enabled", "priority", "version", "plugin", "destinations", "description", box=None)
    for row in shown:
        rule = row["rule"]
        table.add_row(
            Text(row["name"]),
            "[green]yes[/]" if row["enabled"] else "[dim]no[/]",
            str(rule.get("priority", 0)),
            str(row["version"]),
            Text(str(rule.get("plugin", ""))),
            Text(", ".join(rule.get("destinations") or ["all configured"])),
            Text(row["error"] or rule.get("description", ""), style="red" if row["error"] else ""),
        )
    out.print(table)


@rules_app.command("show", epilog="Example: harmonode rules show lung > lung.yaml")
def show_command(ctx: typer.Context, name: Name, as_json: JSON = False) -> None:
    """One rule as YAML, which `rules add` takes back, and every version of it."""
    with database(ctx) as opened, opened.read() as session:
        row = load.find(session, name)
        shown = _as_dict(row)
        versions = session.scalars(sa.select(tables.Rule).where(tables.Rule.name == name).order_by(tables.Rule.version))
        shown["versions"] = [
            {
                "version": one.version,
                "at": one.at.isoformat(),
                "author": one.author,
                "why": one.why,
                "enabled": one.enabled,
                "removed": one.removed,
            }
            for one in versions
        ]
    if as_json:
        print_json(shown)
        return
    for one in shown["versions"]:
        state = "removed" if one["removed"] else "enabled" if one["enabled"] else "disabled"
        why = f": {one['why']}" if one["why"] else ""
        typer.echo(f"# version {one['version']}, {one['at'][:19]} UTC, {state} by {one['author']}{why}")
    typer.echo(load.as_yaml(shown["rule"]), nl=False)


@rules_app.command("add", epilog="Example: harmonode rules add lung.yaml --why 'thick slices too'")
def add_command(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="YAML: one rule, or a list of them.", metavar="FILE")],
    why: Why = "",
) -> None:
    """Put rules in force; one that exists already gets a new version."""
    rules = read_checked(ctx, file)
    with database(ctx) as opened, opened.write() as session:
        for rule in rules:
            _add(session, rule, why)


def _add(session: Session, rule: Any, why: str) -> None:
    before = next((row for row in load.stored(session) if row.name == rule.name), None)
    version = load.save(session, rule, author=actor(), why=why)
    if before is not None and before.version == version:
        out.print(f"Rule {rule.name} is in force already, as version {version}: nothing changed.")
        return
    state = "in force" if rule.enabled else "kept, and disabled"
    out.print(f"Rule {rule.name} is {state}, version {version}.")
    for line in load.diff(before.document, rule.document()) if before is not None else ():
        out.print(f"  {line}", markup=False, highlight=False)
    for hidden in load.hidden_by(session, rule.name):
        out.print(f"[yellow]Rule {hidden} is never reached now:[/] {rule.name} is asked before it and selects as much.")


@rules_app.command("remove", epilog="Example: harmonode rules remove lung --why 'replaced by chest'")
def remove_command(ctx: typer.Context, name: Name, why: Why = "") -> None:
    """Take a rule out of force for good. Its versions are kept, for the jobs that name them."""
    with database(ctx) as opened, opened.write() as session:
        load.remove(session, name, author=actor(), why=why)
    out.print(f"Rule {name} is removed; series that are queued already are still processed.")


@rules_app.command("enable", epilog="Example: harmonode rules enable lung")
def enable_command(ctx: typer.Context, name: Name, why: Why = "") -> None:
    """Ask a rule again that was disabled."""
    with database(ctx) as opened, opened.write() as session:
        version = load.set_enabled(session, name, enabled=True, author=actor(), why=why)
    out.print(f"Rule {name} is enabled, version {version}.")


@rules_app.command("disable", epilog="Example: harmonode rules disable lung --why 'scanner service on Monday'")
def disable_command(ctx: typer.Context, name: Name, why: Why = "") -> None:
    """Ask a rule no longer, and keep it."""
    with database(ctx) as opened, opened.write() as session:
        version = load.set_enabled(session, name, enabled=False, author=actor(), why=why)
    out.print(f"Rule {name} is disabled, version {version}; series that are queued already are still processed.")


@rules_app.command("test", epilog="Example: harmonode rules test /data/chest-ct --rules lung.yaml")
def try_command(  # noqa: PLR0917 - one argument an option
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="A folder of DICOM files.", metavar="DIR", exists=True, file_okay=False)
    ],
    rules: Annotated[
        Path | None,
        typer.Option(help="Ask the rules of this YAML file alone.", metavar="FILE", show_default="those in force"),
    ] = None,
    calling: Annotated[str, typer.Option(help="As if sent by this AE title.", metavar="TITLE")] = "",
    called: Annotated[str, typer.Option(help="As if sent to this AE title.", metavar="TITLE")] = "",
    as_json: JSON = False,
) -> None:
    """What each rule and clause says of the series in a folder, and why. Nothing is stored; no node is needed."""
    source, asked = _rules_to_ask(ctx, rules)
    found = [(facts, decide(asked, facts)) for facts in _series_in(folder, calling, called)]
    if not found:
        raise PermanentError(f"{folder} holds no DICOM series")
    if as_json:
        print_json([_tested(facts, decision, source) for facts, decision in found])
        return
    out.print(f"Rules: {source}", markup=False, highlight=False)
    for facts, decision in found:
        out.print(f"\n[bold]Series {facts.series_instance_uid}[/], instances: {facts.number_of_slices}")
        _print(decision, facts.malformed)


@rules_app.command("explain", epilog="Example: harmonode rules explain 1.3.6.1.4.1.14519.5.2.1.6655.2359.3")
def explain_command(
    ctx: typer.Context,
    series_uid: Annotated[str, typer.Argument(help="The Series Instance UID.", metavar="SERIES_UID")],
    now: Annotated[
        bool, typer.Option("--now", help="What the rules in force now would say, from what is known of the series.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """What the rules said of a series that the node received, clause by clause, when it was decided on."""
    from node.cli.series import find

    with database(ctx) as opened, opened.read() as session:
        series = find(session, series_uid)
        decision = Decision.from_json(series.explanation) if series.explanation is not None else None
        if now:
            decision = ask_again(session, series)
    reason = decision.reason if now and decision else series.reason
    if as_json:
        print_json(
            {
                "series_instance_uid": series.series_instance_uid,
                "state": series.state,
                "rule": decision.chosen if decision else None,
                "reason": reason,
                "explanation": decision.to_json() if decision else None,
            }
        )
        return
    said = "by the rules in force now" if now else f"is {series.state}"
    out.print(f"[bold]Series {series.series_instance_uid}[/] {said}: ", end="")
    out.print(reason or "it has not met the rules yet", markup=False, highlight=False)
    if decision is not None:
        _print(decision)


def read_checked(ctx: typer.Context, file: Path) -> list[Rule]:
    """The rules of a file, all of whose plugins, parameters and destinations there are.

    Raises:
        RuleError: names every flaw with its line.
    """
    written = load.read_file(file)
    load.check_file(written, [one.name for one in settings(ctx).destinations], _check_plugin)
    return [one.rule for one in written]


def _check_plugin(name: str, given: Mapping[str, Any]) -> None:
    plugin.parameters(plugin.load(name), given)


def _as_dict(row: tables.Rule) -> dict[str, Any]:
    """A stored rule; one that this release cannot load any more is shown with the reason, so that it can be mended."""
    try:
        load.loaded(row)
        error = None
    except RuleError as unsound:
        error = str(unsound)
    return {
        "name": row.name,
        "version": row.version,
        "enabled": row.enabled,
        "author": row.author,
        "why": row.why,
        "at": row.at.isoformat(),
        "error": error,
        "rule": row.document,
    }


def _rules_to_ask(ctx: typer.Context, file: Path | None) -> tuple[str, list[InForce]]:
    """The rules to test with, and where they come from."""
    if file is not None:
        return str(file), [InForce(rule, 0, enabled=True) for rule in load.read_rules(file)]
    file = sqlite_file(settings(ctx).url)
    if file is not None and not file.is_file():  # no node was ever started here
        return "as shipped, for there is no database yet", [
            InForce(rule, 0, rule.enabled) for rule in load.read_rules(load.SHIPPED)
        ]
    with database(ctx) as opened, opened.read() as session:
        return "in force", load.in_force(session)


def _series_in(folder: Path, calling: str, called: str) -> Iterator[SeriesFacts]:
    from node.dicom.facts import series_facts
    from node.dicom.headers import read_header
    from node.dicom.volume import load_folder

    for paths in load_folder(folder).values():
        yield series_facts([read_header(path) for path in paths], calling, called, lambda _uid: False)


def _tested(facts: SeriesFacts, decision: Decision, source: str) -> dict[str, Any]:
    return {
        "series_instance_uid": facts.series_instance_uid,
        "number_of_slices": facts.number_of_slices,
        "malformed": list(facts.malformed),
        "rules": source,
        **decision.to_json(),
    }


def _print(decision: Decision, malformed: tuple[str, ...] = ()) -> None:
    for flaw in malformed:
        out.print(Text(f"malformed, so it would be refused: {flaw}", style="red"))
    for reason in decision.never:
        out.print(Text(f"never a candidate, whatever a rule says: {reason}", style="yellow"))
    for answer in decision.answers:
        selected = "selects it" if answer.rule == decision.chosen else "does not select it"
        if answer.matched and answer.rule != decision.chosen:
            selected = f"would select it, but {decision.chosen} is asked before"
        version = f", version {answer.version}" if answer.version else ""
        out.print(f"[bold]rule {answer.rule}[/]{version}, priority {answer.priority}: {selected}")
        if answer.near_miss:
            out.print(Text(f"  near miss, but for one clause: {answer.near_miss}", style="yellow"))
        for line in text(answer.explanation, indent=1).splitlines():
            out.print(Text(line, style="green" if line.lstrip().startswith("✓") else "red"))
    if not decision.answers and not decision.never:
        out.print("no rule is enabled")
