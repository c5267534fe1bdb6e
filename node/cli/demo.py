"""`harmonode demo`: the main job end to end, on this machine alone, and what happened shown."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
import yaml
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from node.audit import verify
from node.cli.context import err, out
from node.cli.demo_pacs import Kind, Pacs, free_port, pacs
from node.cli.series import summary
from node.config import Config, DimseDestination, load
from node.dicom.volume import load_folder
from node.errors import ConfigError, PermanentError
from node.journey import State
from node.plugin import Quantity
from node.rules.load import parse_rule, save
from node.send import echo, send
from node.store.session import Database, upgrade
from node.store.tables import AuditRecord, DerivedInstance, Job, Series

_RULE = {
    "name": "demo",
    "description": "Every original axial CT that the shipped rule leaves, so that the demo shows your own series.",
    "priority": -100,
    "match": {"all": [{"tag": "Modality", "equals": "CT"}, {"fact": "orientation", "equals": "axial"}]},
    "plugin": "ct_harmonizer",
}
_AT_REST = (State.DONE, State.PASSED, State.REFUSED, State.FAILED, State.WAITING, State.CANCELLED)
_PATIENCE_S = 1800.0  # for a long series of one's own on a slow machine


def register(app: typer.Typer) -> None:
    app.command("demo", epilog="Example: harmonode demo --dir ./chest")(demo)


def demo(
    folder: Annotated[Path | None, typer.Option("--dir", help="Your own series; a virtual chest without.")] = None,
    output: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo-output"),
    kind: Annotated[Kind, typer.Option("--pacs", help="auto: Orthanc where it is installed.")] = Kind.AUTO,
) -> None:
    """Start a node and a PACS, store a chest CT series, wait for the derived series, and show what happened."""
    here = output / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    here.mkdir(parents=True)
    source = folder or _virtual_chest(here / "source")
    found = load_folder(source)
    if not found:
        raise ConfigError(f"no DICOM file under {source}")
    with pacs(here / "pacs", kind) as archive:
        out.print(f"PACS: {archive.what}, AE title {archive.destination.ae_title}, port {archive.destination.port}")
        config_file, config = _configure(here, archive)
        with _node(config_file, config, here / "node.log") as door:
            for uid, paths in found.items():
                send(archive.destination, paths, lambda _: None)
                send(door, paths, lambda _: None)
                out.print(f"Stored {len(paths)} instances of series {uid} into the PACS and into the node by C-STORE.")
            _wait(config, len(found))
            done = _show(config, here, archive)
    if not done:
        raise PermanentError("no series was harmonized; the reason stands above, and in `node.log`")


def _virtual_chest(folder: Path) -> Path:
    writers = entry_points(group="harmonode.demo", name="virtual_chest")
    if not writers:
        raise ConfigError("no virtual chest is installed: give a series of your own with --dir")
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("Making a virtual chest CT (no patient)")
        next(iter(writers)).load()(folder, lambda done, total: progress.update(task, completed=done, total=total))
    out.print(f"Made a virtual chest CT in {folder}")
    return folder


def _configure(here: Path, archive: Pacs) -> tuple[Path, Config]:
    """A configuration of its own, and the shipped rule with the demo's behind it."""
    file = here / "config.yaml"
    settings = {
        "data_dir": str((here / "data").resolve()),
        "receive": {"port": free_port()},
        "complete": {"quiet_s": 3},
        "destinations": [archive.destination.model_dump(mode="json")],
        "web": {"port": free_port()},
    }
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    config = load(file)
    upgrade(config.url)
    return file, config


@contextmanager
def _node(config_file: Path, config: Config, log: Path) -> Iterator[DimseDestination]:
    """A node as `harmonode serve` starts it; yields its door."""
    command = [sys.executable, "-m", "node.cli", "--config", str(config_file), "serve"]
    door = DimseDestination(
        name="node", ae_title=config.receive.ae_title, host=config.receive.host, port=config.receive.port
    )
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:  # noqa: S603
        try:
            _wait_until_open(door, process, log)
            _add_demo_rule(config)
            out.print(f"Node: AE title {door.ae_title}, port {door.port}, log {log}")
            yield door
        finally:
            process.terminate()


def _add_demo_rule(config: Config) -> None:
    database = Database(config.url)
    with database.write() as session:
        save(session, parse_rule(_RULE), author="demo", why="the demo shows any axial CT")
    database.close()


def _wait_until_open(door: DimseDestination, process: subprocess.Popen[bytes], log: Path) -> None:
    from node.errors import HarmonodeError

    for _ in range(300):
        try:
            echo(door)
        except HarmonodeError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
        else:
            return
    raise PermanentError(f"the node did not start; see {log}")


def _wait(config: Config, expected: int) -> None:
    """Until every series has come to rest, with its progress shown."""
    database = Database(config.url)
    until = time.monotonic() + _PATIENCE_S
    with Progress(console=err, transient=True) as progress:
        tasks: dict[int, Any] = {}
        while time.monotonic() < until:
            with database.read() as session:
                # Derived series may come back from the PACS; they are passed over and not waited for.
                series = session.scalars(sa.select(Series).order_by(Series.id)).all()
                for row in series:
                    task = tasks.setdefault(row.id, progress.add_task("arriving", total=None))
                    job = session.scalars(sa.select(Job).where(Job.series_id == row.id)).first()
                    progress.update(
                        task, description=row.state,
                        completed=job.progress_done if job else 0, total=(job.progress_total or None) if job else None,
                    )  # fmt: skip
                if len(series) >= expected and all(State(row.state) in _AT_REST for row in series):
                    break
            time.sleep(0.3)
    database.close()


def _show(config: Config, here: Path, archive: Pacs) -> bool:
    """What happened: states, paths, figures, picture, audit trail. True where a series was harmonized."""
    database = Database(config.url)
    try:
        with database.read() as session:
            done = False
            for series in session.scalars(sa.select(Series).order_by(Series.id)):
                row = summary(session, series)
                out.print(
                    f"\n[bold]Series {row['series_instance_uid']}[/] is {row['state']}: {escape(row['reason'] or '')}"
                )
                if series.state == State.DONE:
                    done = True
                    _show_job(session, config, here, archive, series.jobs[-1])
            out.print("\n[bold]Audit trail[/]")
            for record in session.scalars(sa.select(AuditRecord).order_by(AuditRecord.seq)):
                line = Text(f"  {record.at.astimezone():%H:%M:%S}  {record.event:14} {record.message}")
                line.truncate(out.width, overflow="ellipsis")
                out.print(line)
            count, flaws = verify(session)
            out.print(f"The chain of {count} audit records is {'broken' if flaws else 'intact'}.")
            return done
    finally:
        database.close()


def _show_job(session: Any, config: Config, here: Path, archive: Pacs, job: Job) -> None:
    files = config.derived_dir / job.id
    count = session.scalar(sa.select(sa.func.count()).where(DerivedInstance.job_id == job.id))
    out.print(f"Derived series {job.derived_series_uid}: {count} instances, confirmed by the PACS ({archive.what}).")
    out.print(f"  files: {files}")
    for picture in sorted(files.glob("*.png")):
        copy = here / picture.name
        shutil.copyfile(picture, copy)
        out.print(f"  picture: {copy}")
    report = job.report or {}
    table = Table("", "before", "after", box=None, pad_edge=False)
    for name, before in report.get("before", {}).items():
        after = report.get("after", {}).get(name)
        table.add_row(name, str(Quantity(**before)), str(Quantity(**after)) if after else "")
    out.print(table)
