"""The command line: `harmonode --help` lists the commands, one module each."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import sqlalchemy as sa
import structlog
import typer

import node
from node.cli import (
    audit,
    database,
    demo,
    doctor,
    edit,
    evaluate,
    folder,
    notify,
    pull,
    replay,
    retention,
    rulebook,
    rules,
    send,
    series,
    serve,
    tokens,
    top,
)
from node.cli import config as configuration
from node.cli.context import err
from node.errors import ErrorKind, HarmonodeError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="A DICOM node that harmonizes chest CT and returns it to the PACS as derived series.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harmonode {node.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    config: Annotated[
        Path | None,
        typer.Option(help="The configuration file.", show_default="$HARMONODE_CONFIG or ./config.yaml", metavar="FILE"),
    ] = None,
    version: Annotated[  # noqa: ARG001 - acts in its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    del config  # read by node.cli.context.settings


for module in (serve, demo, send, pull, folder, evaluate, retention, configuration, doctor, notify, top):
    module.register(app)
for part in (rulebook, edit, replay):
    part.register(rules.rules_app)
app.add_typer(rules.rules_app, name="rules")
app.add_typer(series.series_app, name="series")
app.add_typer(audit.audit_app, name="audit")
app.add_typer(tokens.tokens_app, name="tokens")
app.add_typer(database.db_app, name="db")


def main() -> None:
    """Run a command; an error the node understands ends in one clear message and exit status 1."""
    # Standard output is for what was asked, which a program may read; what happens on the way goes to standard error.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    try:
        app()
    except HarmonodeError as error:
        _fail(error.kind, str(error))
    except (sa.exc.DatabaseError, sa.exc.InterfaceError, sa.exc.TimeoutError, sa.exc.ArgumentError) as error:
        what = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        _fail(ErrorKind.OPERATOR, f"the database cannot be used: {what}; `harmonode doctor` looks closer")
    except OSError as error:  # of the disk or the network, as a person can mend it
        _fail(ErrorKind.OPERATOR, str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(kind: ErrorKind, message: str) -> NoReturn:
    err.print(f"[bold red]error[/] ({kind}): ", end="")
    err.print(message, markup=False, highlight=False)
    sys.exit(1)
