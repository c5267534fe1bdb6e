"""`harmonode db`: the database and its migrations."""

from __future__ import annotations

import typer

from node.cli.context import out, settings
from node.queue import prepare
from node.rules import load as rules
from node.store.session import Database, revision, upgrade

db_app = typer.Typer(no_args_is_help=True, help="The database and its migrations.")


def register(app: typer.Typer) -> None:
    app.add_typer(db_app, name="db")


@db_app.command("upgrade", epilog="Example: harmonode db upgrade")
def upgrade_command(ctx: typer.Context) -> None:
    """Create the database with the shipped rules, or bring it to the newest migration."""
    config = settings(ctx)
    upgrade(config.url)
    prepare(config.url)
    opened = Database(config.url)
    with opened.write() as session:
        rules.seed(session)
    current, _ = revision(opened)
    opened.close()
    out.print(f"The database is at migration {current}.")
