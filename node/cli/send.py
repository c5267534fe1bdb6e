"""`harmonode send`: store a folder into any storage SCP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from node.cli.context import err, out, settings
from node.config import DimseDestination
from node.dicom.volume import load_folder
from node.errors import ConfigError

_PEER = re.compile(r"^(?P<ae_title>[^@]{1,16})@(?P<host>.+):(?P<port>\d{1,5})$")


def register(app: typer.Typer) -> None:
    app.command("send", epilog="Example: harmonode send ./chest --to HARMONODE@127.0.0.1:11112")(send_command)


def send_command(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files, searched to its depth.", metavar="DIR")],
    to: Annotated[str, typer.Option(help="Whom to send to.", metavar="AET@HOST:PORT")],
) -> None:
    """Store every DICOM file of a folder by C-STORE."""
    from node.send import send

    match = _PEER.match(to)
    if not match:
        raise ConfigError(f"--to {to!r} is not of the form AET@HOST:PORT")
    destination = DimseDestination(
        name=to,
        ae_title=match["ae_title"],
        host=match["host"],
        port=int(match["port"]),
        calling_ae_title=settings(ctx).receive.ae_title,
    )
    for uid, paths in load_folder(folder).items():
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task(uid, total=len(paths))
            accepted = send(destination, paths, lambda done, task=task: progress.update(task, completed=done))  # type: ignore[misc]
        out.print(f"Series {uid}: {accepted} of {len(paths)} instances accepted by {to}.")
