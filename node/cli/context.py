"""What every command shares: the configuration, the database, who acts, and how things are printed."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column

from node.config import Config, load
from node.errors import OperatorError
from node.store.session import Database, require_current, sqlite_file

# A terminal has its width; a file or a pipe has room enough that no UID is broken.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 250)
err = Console(stderr=True, soft_wrap=True)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def settings(ctx: typer.Context) -> Config:
    """The configuration the command was given; read once."""
    root = ctx.find_root()
    if "config" not in root.meta:
        path: Path | None = root.params.get("config")
        root.meta["config"] = load(path)
    config: Config = root.meta["config"]
    return config


@contextmanager
def database(ctx: typer.Context) -> Iterator[Database]:
    """The node's database, at the newest migration.

    Raises:
        OperatorError: there is none, or it must be upgraded first.
    """
    url = settings(ctx).url
    file = sqlite_file(url)
    if file is not None and not file.is_file():  # opening it would make an empty one, wherever one happens to stand
        raise OperatorError(
            f"there is no database at {file}: `harmonode serve` or `harmonode db upgrade` makes it; if there should be "
            "one, is this the right configuration (--config)?"
        )
    opened = Database(url)
    try:
        require_current(opened)
        yield opened
    finally:
        opened.close()


def uid_column(header: str = "series") -> Column:
    """A column of UIDs, whole on every width, so that one can be copied."""
    return Column(header, no_wrap=True, overflow="fold", min_width=20)


def actor() -> str:
    """Who acts, for the audit trail."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run as a user that has no name
        return f"user:{os.getuid()}"


def print_json(data: Any) -> None:
    """One JSON document on standard output, and nothing else."""
    typer.echo(json.dumps(data, indent=2, default=str, ensure_ascii=False))
