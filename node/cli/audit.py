"""`harmonode audit`: the audit trail."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from node.atna import standing
from node.audit import Event, verify
from node.cli.context import JSON, database, err, out, print_json, settings
from node.cli.since import moment
from node.store.pages import audit_page
from node.store.tables import AuditRecord

audit_app = typer.Typer(no_args_is_help=True, help="The audit trail: read it, and verify its chain.")


def register(app: typer.Typer) -> None:
    app.add_typer(audit_app, name="audit")


@audit_app.command("list", epilog="Example: harmonode audit list --text 'no destination' --since 7d --limit 20")
def list_command(  # noqa: PLR0917 - one argument an option
    ctx: typer.Context,
    series: Annotated[str | None, typer.Option(help="Only this Series Instance UID.", metavar="UID")] = None,
    event: Annotated[Event | None, typer.Option(help="Only this event.")] = None,
    since: Annotated[str, typer.Option(help="Only since then: 90m, 12h, 7d or a date.", metavar="WHEN")] = "",
    text: Annotated[
        str, typer.Option(help="Only with these words, each whole or its beginning.", metavar="WORDS")
    ] = "",
    limit: Annotated[int, typer.Option(help="The newest so many records.", min=1)] = 50,
    as_json: JSON = False,
) -> None:
    """The newest audit records, oldest first."""
    with database(ctx) as opened, opened.read() as session:
        page = audit_page(
            session,
            series_instance_uid=series,
            event=event,
            since=moment(since) if since else None,
            text=text,
            limit=limit,
        )
        rows = page.rows[::-1]
    if as_json:
        print_json([_as_dict(row) for row in rows])
        return
    table = Table("seq", "time (UTC)", "event", "actor", "what happened", box=None, pad_edge=False)
    for row in rows:
        table.add_row(str(row.seq), f"{row.at:%Y-%m-%d %H:%M:%S}", row.event, row.actor, escape(row.message))
    out.print(table)


@audit_app.command("verify", epilog="Example: harmonode audit verify")
def verify_command(ctx: typer.Context, as_json: JSON = False) -> None:
    """Walk the whole chain; exit status 1 where a record was changed, is missing or was reordered."""
    # Of a trail of years it takes minutes; a terminal sees how far it is.
    columns = (TextColumn("verifying the trail"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with database(ctx) as opened, opened.read() as session, Progress(*columns, console=err, transient=True) as shown:
        task = shown.add_task("", total=None)
        count, flaws = verify(session, lambda done, of: shown.update(task, completed=done, total=of))
    if as_json:
        print_json({"records": count, "intact": not flaws, "flaws": [{"seq": f.seq, "what": f.what} for f in flaws]})
    elif flaws:
        for flaw in flaws:
            out.print(f"[red]✗[/] {flaw.what}")
    else:
        out.print(f"[green]✓[/] {count} records, each follows the one before it; none changed, missing or reordered.")
    if flaws:
        raise typer.Exit(1)


@audit_app.command("servers", epilog="Example: harmonode audit servers")
def servers_command(ctx: typer.Context, as_json: JSON = False) -> None:
    """How far the trail has come at each audit server."""
    with database(ctx) as opened, opened.read() as session:
        found = standing(session, settings(ctx))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        out.print("No audit server is configured: messages go nowhere (audit.servers in the configuration).")
        return
    table = Table("server", "waiting", "last delivered (UTC)", "state", box=None, pad_edge=False)
    for one in found:
        state = "[green]takes messages[/]"
        if one.down_since:
            state = f"[red]down since {one.down_since:%Y-%m-%d %H:%M:%S}[/]: {escape(one.reason or '')}"
        last = f"{one.delivered_at:%Y-%m-%d %H:%M:%S}" if one.delivered_at else "never"
        table.add_row(escape(one.server), str(one.waiting), last, state)
    out.print(table)


def _as_dict(row: AuditRecord) -> dict[str, object]:
    return {
        "seq": row.seq,
        "at": row.at.isoformat(),
        "event": row.event,
        "actor": row.actor,
        "study_instance_uid": row.study_instance_uid,
        "series_instance_uid": row.series_instance_uid,
        "message": row.message,
        "detail": row.detail,
        "hash": row.hash,
    }
