"""`harmonode pull`: fetch a study or a series from an archive."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from node.cli.context import actor, database, err, out, settings


def register(app: typer.Typer) -> None:
    app.command("pull", epilog="Example: harmonode pull --from pacs --study 1.3.6.1.4.1.14519.5.2.1.6655.2359.1")(
        pull_command
    )


def pull_command(
    ctx: typer.Context,
    source: Annotated[str, typer.Option("--from", help="One of the configuration's sources.", metavar="SOURCE")],
    study: Annotated[str, typer.Option(help="The Study Instance UID.", metavar="UID")],
    series: Annotated[
        str, typer.Option(help="A Series Instance UID; without it, every CT series of the study.", metavar="UID")
    ] = "",
) -> None:
    """Fetch a study, or a series of it, from an archive; the node receives it as if it had been stored.

    The node may run or not. What is here already is not asked for again, so a pull that broke off is repeated at no
    cost. Exit status 1 where an instance is missing in the end.
    """
    from node.pull import pull

    short = False
    with database(ctx) as opened, Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(uid: str, here: int, total: int) -> None:
            if uid not in tasks:
                tasks[uid] = bar.add_task(uid, total=total)
            bar.update(tasks[uid], completed=here)

        for done in pull(settings(ctx), opened, source, study, series, actor=actor(), progress=progress):
            short |= bool(done.missing)
            out.print(str(done), markup=False, highlight=False)
    if short:
        raise typer.Exit(1)
