"""`harmonode evaluate`: how well a plugin's ways to harmonize do on virtual patients whose truth is known."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from node.cli.context import err, out
from node.errors import ConfigError


def register(app: typer.Typer) -> None:
    app.command("evaluate", epilog="Example: harmonode evaluate --phantoms 8 --out evaluation")(evaluate)


def evaluate(  # noqa: PLR0917 - typer calls it by name
    output: Annotated[Path, typer.Option("--out", help="Folder of the report; what it holds is not measured again.")],
    phantoms: Annotated[int, typer.Option(min=1, help="Virtual patients: minutes of a core each.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the first patient.")] = 910_001,
    slices: Annotated[int, typer.Option(min=2, help="Of each chest.")] = 2,
    matrix: Annotated[int, typer.Option(min=64, help="Pixels along a side; even.")] = 512,
    nodules: Annotated[bool, typer.Option("--nodules/--no-nodules", help="Study nodules too.")] = True,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    plugin: Annotated[str, typer.Option(help="The plugin to evaluate.")] = "ct_harmonizer",
) -> None:
    """Compare ways to harmonize on virtual patients, judge them by the acceptance bars, and write a report with tables and pictures."""
    found = entry_points(group="harmonode.evaluate", name=plugin)
    if not found:
        known = ", ".join(sorted(entry_points(group="harmonode.evaluate").names)) or "none"
        raise ConfigError(f"no evaluation of a plugin {plugin!r} is installed; there are: {known}")
    if matrix % 2:
        raise ConfigError(f"a matrix of {matrix} pixels is odd: give an even number")
    run = next(iter(found)).load()
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("evaluating virtual patients", total=phantoms)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        try:
            table, page = run(
                output, told, phantoms=phantoms, seed=seed, slices=slices, matrix=matrix, nodules=nodules, jobs=jobs
            )
        except ValueError as error:  # the folder holds another study
            raise ConfigError(str(error)) from error
    out.print(table, markup=False, highlight=False)
    err.print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)
