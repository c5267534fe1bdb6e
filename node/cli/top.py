"""`harmonode top`: a live view in the terminal of what the node does."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import node
from node.cli.context import database, settings
from node.journey import ACTIVE, TROUBLE, State
from node.overview import Overview, overview

_STYLE = {State.FAILED: "red", State.REFUSED: "red", State.WAITING: "yellow"}
_WIDE = 150  # columns from which on a UID is shown whole
_QUIT = ("q", "Q", "\x1b")
_FIXED_LINES = 14  # header, titles, blank lines


def register(app: typer.Typer) -> None:
    app.command("top", epilog="Example: harmonode top --once")(top)


def top(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and stop; for logs and scripts.")] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", help="Seconds between two looks.", min=0.2, metavar="S")
    ] = 1.0,
) -> None:
    """What the node does now: arriving, queue, running, trouble, disk, workers, rates. q ends it."""
    config = settings(ctx)
    live = not once and sys.stdout.isatty() and sys.stdin.isatty()
    console = Console(width=None if sys.stdout.isatty() else 200)

    with database(ctx) as opened:

        def look() -> RenderableType:
            room = max(console.height - _FIXED_LINES, 8) if live else 60
            with opened.read() as session:
                return frame(overview(session, config, limit=room), console.width, room)

        if not live:
            console.print(look())
            return
        with _keys() as pressed, Live(look(), console=console, screen=True, auto_refresh=False) as shown:
            while pressed(interval_s) not in _QUIT:
                shown.update(look(), refresh=True)


def frame(seen: Overview, width: int, room: int = 40) -> RenderableType:
    """One picture of the node: `width` columns, and about `room` lines of series."""
    share = max(room // 4, 2)
    return Group(
        _header(seen),
        Text(),
        *_section("Arriving", seen.total(State.RECEIVING, State.COMPLETE), _arriving(seen, width, share)),
        *_section("Queue", seen.total(State.QUEUED), _queue(seen, width, share)),
        *_section("Running", seen.total(*ACTIVE) - seen.total(State.QUEUED), _running(seen, width, share)),
        *_section("Trouble", seen.total(*TROUBLE), _trouble(seen, width, share)),
    )


def _header(seen: Overview) -> RenderableType:
    alive = [worker for worker in seen.workers if worker.alive]
    gone = [worker.name for worker in seen.workers if not worker.alive]
    disk, today, rates = seen.disk, seen.today, seen.rates
    workers = f"[green]{len(alive)} alive[/]" if alive else "[red]none alive[/]"
    if gone:
        workers += f", [red]{len(gone)} lost ({escape(', '.join(gone))})[/]"
    free = f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.0f} GB free"
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        f"[bold]harmonode {node.__version__}[/]",
        f"{seen.at.astimezone():%Y-%m-%d %H:%M:%S}",
        f"workers {workers}",
        f"disk {'[red]' if disk.full else ''}{free}{', stores are refused[/]' if disk.full else ''}",
    )
    lines: list[RenderableType] = [
        grid,
        Text.from_markup(
            f"today: [green]{today.done} done[/], {today.arrived} series and {today.instances} instances arrived, "
            f"{today.refused} refused, {today.failed} failed"
        ),
        Text.from_markup(
            f"rates: {rates.instances_per_min:.0f} instances/min and {rates.mb_per_s:.1f} MB/s (5 min), "
            f"{rates.series_done_last_hour} series done (1 h)"
        ),
    ]
    if seen.destinations:
        told = ", ".join(
            f"{escape(one.name)} {_ago(seen.at, one.last_confirmed_at, 'never confirmed', 'confirmed ')}"
            + (f" [yellow]({one.unfinished} under way)[/]" if one.unfinished else "")
            for one in seen.destinations
        )
        lines.append(Text.from_markup(f"destinations: {told}", overflow="ellipsis"))
    return Group(*lines)


def _section(title: str, count: int, lines: Table) -> Iterator[RenderableType]:
    more = f", {count - lines.row_count} more" if count > lines.row_count else ""
    yield Text.from_markup(f"[bold]{title}[/] [dim]{count}{more if lines.row_count else ''}[/]")
    if lines.row_count:
        yield lines
    yield Text()


def _table(*columns: str) -> Table:
    """Columns that keep their width; a last one that is called "why" takes what is left."""
    table = Table.grid(padding=(0, 2))
    for name in columns:
        table.add_column(name, no_wrap=True, ratio=1 if name == "why" else None)
    table.expand = "why" in columns
    return table


def _arriving(seen: Overview, width: int, room: int) -> Table:
    table = _table("series", "state", "instances", "from", "last")
    for one in seen.arriving[:room]:
        count = f"{one.instances} of {one.expected}" if one.expected else str(one.instances)
        table.add_row(
            _uid(one.series_instance_uid, width), f"[cyan]{one.state}[/]", f"{count} instances",
            f"from {escape(one.calling_ae_title)}", _ago(seen.at, one.last_arrival_at),
        )  # fmt: skip
    return table


def _queue(seen: Overview, width: int, room: int) -> Table:
    table = _table("series", "instances", "rule", "since", "why")
    for one in seen.queued[:room]:
        again = f"[yellow]{escape(one.reason or '')}[/]" if one.tries else ""
        table.add_row(
            _uid(one.series_instance_uid, width), f"{one.instances} instances",
            f"{escape(one.rule)}{f', priority {one.priority}' if one.priority else ''}",
            _ago(seen.at, one.since), again,
        )  # fmt: skip
    return table


def _running(seen: Overview, width: int, room: int) -> Table:
    table = _table("series", "state", "bar", "count", "worker", "since")
    long = 24 if width >= _WIDE else 8
    for one in seen.running[:room]:
        bar: RenderableType = ProgressBar(one.total, one.done, width=long) if one.total else Text("·" * long, "dim")
        count = f"{one.done} of {one.total}" if one.total else ""
        table.add_row(
            _uid(one.series_instance_uid, width), f"[cyan]{one.state}[/]", bar, count,
            escape(one.worker) if one.worker else "[yellow]between two tries[/]", _ago(seen.at, one.started_at),
        )  # fmt: skip
    return table


def _trouble(seen: Overview, width: int, room: int) -> Table:
    table = _table("series", "state", "since", "why")
    table.columns[-1].no_wrap = False  # the reason is what a person came for
    for one in seen.trouble[:room]:
        table.add_row(
            _uid(one.series_instance_uid, width), f"[{_STYLE[one.state]}]{one.state}[/]", _ago(seen.at, one.since),
            escape(" ".join(one.reason.split())),
        )  # fmt: skip
    return table


def _uid(uid: str, width: int) -> str:
    """A UID whole where there is room; else its end, which tells it from its neighbours and which commands take."""
    return uid if width >= _WIDE or len(uid) <= 16 else f"…{uid[-15:]}"


def _ago(now: datetime, then: datetime | None, never: str = "", said: str = "") -> str:
    if then is None:
        return never
    seconds = max((now - then).total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{said}{seconds / size:.0f} {unit} ago"
    return f"{said}{seconds:.0f} s ago"


@contextmanager
def _keys() -> Iterator[Any]:
    """Gives a function that waits so many seconds for a key and returns it, empty where none came."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)

    def pressed(seconds: float) -> str:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([stdin], [], [], left)[0]:
                read = os.read(stdin, 1)
                return read.decode("ascii", "replace") or "q"  # the terminal is gone
        return ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
