"""`harmonode retention`: what is due to leave the disk, and let it go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from node import retention
from node.cli.context import JSON, actor, database, out, print_json, settings, uid_column
from node.store import watermark

_SHOWN = 5


def register(app: typer.Typer) -> None:
    app.command("retention", epilog="Example: harmonode retention --dry-run")(retention_command)


def retention_command(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JSON = False,
) -> None:
    """Remove the files of series that are delivered and past their age (`retention` in the configuration), now."""
    config = settings(ctx)
    now = datetime.now(UTC)
    with database(ctx) as opened:
        due = retention.due(config, opened, now)
        stay = retention.unconfirmed(config, opened, now)
        gone = [] if dry_run else [one for one in due if retention.remove(config, opened, one, actor())]
    listed = due if dry_run else gone
    space = watermark.look(config)
    if as_json:
        print_json(
            {
                "removed": not dry_run,
                "series": [
                    {
                        "series_instance_uid": one.series_instance_uid,
                        "state": one.state,
                        "since": one.since.isoformat(),
                        "instances": one.instances,
                        "size_bytes": one.size_bytes,
                        "why": one.why,
                    }
                    for one in listed
                ],
                "unconfirmed": stay,
                "disk": {"level": space.level, "free_mb": space.free_mb},
            }
        )
        return
    table = Table(uid_column(), "state", "at rest since", "slices", "MB", "why", box=None, pad_edge=False)
    for one in listed:
        megabytes = f"{one.size_bytes / 1e6:.1f}"
        row = one.series_instance_uid, one.state, f"{one.since:%Y-%m-%d %H:%M}", str(one.instances), megabytes, one.why
        table.add_row(*row)
    if listed:
        out.print(table)
    total = sum(one.size_bytes for one in listed) / 1e6
    said = "would leave" if dry_run else "left"
    out.print(f"{len(listed)} series {said} the disk, {total:.1f} MB received. {space.message}.", highlight=False)
    if stay:
        shown = ", ".join(stay[:_SHOWN]) + (", …" if len(stay) > _SHOWN else "")
        out.print(
            f"{len(stay)} delivered series past their age stay, for no destination, or not every one, said that it "
            f"holds them: {shown}",
            highlight=False,
        )
