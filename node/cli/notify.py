"""`harmonode notify`: try the ways to a person."""

from __future__ import annotations

from datetime import UTC, datetime

import typer
from rich.markup import escape

from node.cli.context import out, settings


def register(app: typer.Typer) -> None:
    app.command("notify", epilog="Example: harmonode --config /etc/harmonode.yaml notify")(notify)


def notify(ctx: typer.Context) -> None:
    """Send a message to try by every way that notify in the configuration has; exit status 1 where one is not taken."""
    from node.notify import Letter, channels
    from node.notify.channels import FAULTS

    config = settings(ctx)
    ways = channels(config)
    if not ways:
        out.print("Nobody is notified: set notify.mail or notify.webhooks in the configuration.")
    lines = (
        "This is a message to try. Nothing is wrong.",
        "",
        *([config.notify.page_url] if config.notify.page_url else []),
    )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    failed = False
    for way in ways:
        try:
            way.send(Letter("test", "test", "a message to try", 0, lines, at))
        except FAULTS as error:
            failed = True
            out.print(f"[red]✗[/] {escape(way.name)}: {escape(f'{type(error).__name__}: {error}')}")
        else:
            out.print(f"[green]✓[/] {escape(way.name)} took it")
    if failed:
        raise typer.Exit(1)
