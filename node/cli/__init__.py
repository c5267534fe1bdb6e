"""The command line: `harmonode --help` lists the commands, one module each, imported when its command is called."""

from __future__ import annotations

import logging
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import sqlalchemy as sa
import structlog
import typer
from typer.core import TyperGroup

import node
from node.cli.context import err
from node.errors import ErrorKind, HarmonodeError

if TYPE_CHECKING:
    from typer._click import Command, Context

_MODULES = {  # command -> the module of this package that has it, as the help lists them
    "serve": "serve",
    "worker": "serve",
    "demo": "demo",
    "send": "send",
    "pull": "pull",
    "harmonize": "folder",
    "mtf": "folder",
    "evaluate": "evaluate",
    "retention": "retention",
    "config": "config",
    "doctor": "doctor",
    "notify": "notify",
    "top": "top",
    "rules": "rules",
    "series": "series",
    "audit": "audit",
    "tokens": "tokens",
    "db": "database",
}


@cache
def _command(name: str) -> Command:
    part = typer.Typer(rich_markup_mode="rich")
    import_module(f"node.cli.{_MODULES[name]}").register(part)
    return typer.main.get_group(part).commands[name]


class _Commands(TyperGroup):
    """Commands that are imported one by one, so that none waits for what another needs."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - click's own
        return list(_MODULES)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        # All of them where there is none of that name: it is then said which are like it.
        for name in [cmd_name] if cmd_name in _MODULES else _MODULES:
            self.commands.setdefault(name, _command(name))
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_Commands,
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
