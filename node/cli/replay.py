"""`harmonode rules replay`: what a rule would have selected, before it is switched on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from node.cli.context import JSON, database, out, print_json, uid_column
from node.cli.since import moment
from node.rules import load
from node.rules.model import Rule
from node.rules.replay import Change, Outcome, Replay, on_trial, past_series, replay

_STYLE = {Change.GAINED: "green", Change.LOST: "red", Change.MOVED: "yellow", Change.SAME: "dim"}
_MEANING = {
    Change.GAINED: "no rule selected it then, and it would be selected now",
    Change.LOST: "selected then, and no rule would select it now",
    Change.MOVED: "selected then and now, by different rules",
    Change.SAME: "selected by the same rule then and now",
}


def register(rules: typer.Typer) -> None:
    rules.command("replay", epilog="Example: harmonode rules replay thick.yaml --since 30d")(replay_command)


def replay_command(
    ctx: typer.Context,
    rule: Annotated[
        str, typer.Argument(help="The name of a rule, enabled or not, or a YAML file of rules.", metavar="RULE")
    ],
    since: Annotated[
        str, typer.Option(help="Series that arrived since: 90m, 12h, 30d, 4w or a date.", metavar="WHEN")
    ] = "30d",
    examples: Annotated[int, typer.Option(help="So many series of each change are shown.", min=0)] = 5,
    as_json: JSON = False,
) -> None:
    """What a rule would have selected among past series, against what was selected then. Nothing is changed.

    It asks what the database knows of each series, so it works where the files are deleted.
    """
    start = moment(since)
    with database(ctx) as opened, opened.read() as session:
        tried = _tried(session, rule)
        asked = on_trial(load.in_force(session), tried)
        found = replay(past_series(session, start), asked, [one.name for one in tried])
    if as_json:
        print_json({"since": start.isoformat(), **found.to_json()})
        return
    out.print(f"{_named(found)} over the series that arrived since {start:%Y-%m-%d %H:%M} UTC", highlight=False)
    out.print(_totals(found), highlight=False)
    if found.outcomes:
        out.print(_by_group(found))
    for change in (Change.GAINED, Change.LOST, Change.MOVED):
        of_it = found.of(change)
        if of_it and examples:
            out.print(
                f"\n[{_STYLE[change]}]{change}[/]: {_MEANING[change]}; {min(examples, len(of_it))} of {len(of_it)}"
            )
            out.print(_examples(of_it[:examples]))


def _tried(session: Session, rule: str) -> list[Rule]:
    """The rules on trial: of a file, or the one of that name."""
    file = Path(rule)
    if file.suffix in {".yaml", ".yml"} or file.is_file():
        return load.read_rules(file)
    return [load.loaded(load.find(session, rule)).rule]


def _named(found: Replay) -> str:
    return f"[bold]{'Rule' if len(found.names) == 1 else 'Rules'} {', '.join(found.names)}[/]"


def _totals(found: Replay) -> str:
    counts = ", ".join(f"{found.counts[change]} {change}" for change in Change)
    asides = [
        f"{count} {what}"
        for count, what in (
            (found.lacking, "lack the facts to ask a rule"),
            (found.malformed, "are malformed"),
            (found.never, "can never be a candidate"),
        )
        if count
    ]
    return f"{found.looked_at} past series: {counts}" + (f"; {', '.join(asides)}" if asides else "")


def _by_group(found: Replay) -> Table:
    table = Table("station", "protocol", *map(str, Change), box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for group in found.groups:
        counts = [Text(str(group.counts[one] or "-"), style=_STYLE[one] if group.counts[one] else "") for one in Change]
        table.add_row(Text(group.station), Text(group.protocol or "(no protocol name)"), *counts)
    return table


def _examples(outcomes: list[Outcome]) -> Table:
    table = Table(uid_column(), "arrived (UTC)", "then", "now", "because", box=None, pad_edge=False)
    for one in outcomes:
        at = f"{one.arrived_at:%Y-%m-%d %H:%M}"
        table.add_row(one.series_instance_uid, at, one.then or "-", one.now or "-", Text(one.why))
    return table
