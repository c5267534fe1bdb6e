"""`harmonode serve` and `harmonode worker`: the running node."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from typing import Annotated, Any

import structlog
import typer

from node.cli.context import settings
from node.config import Log
from node.errors import OperatorError


def register(app: typer.Typer) -> None:
    app.command("serve", epilog="Example: harmonode --config /etc/harmonode.yaml serve")(serve)
    app.command("worker", epilog="Example: harmonode worker --id gpu-0")(worker)


def serve(ctx: typer.Context) -> None:
    """Run the node until it is told to stop (Ctrl-C or SIGTERM), or its database is deleted under it (exit status 1)."""
    from node.service import Node

    config = settings(ctx)
    configure_logging(config.log)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    node = Node(config, ctx.find_root().params.get("config"), give_up=stopping.set)
    node.start()
    gc.freeze()  # what stays to the end: looking through it again and again stalled every thread for 100 ms
    try:
        stopping.wait()
    finally:
        node.stop()
    if node.fault:
        raise OperatorError(node.fault)


def worker(
    ctx: typer.Context,
    executor_id: Annotated[str, typer.Option("--id", help="A name that no other worker has.", metavar="NAME")],
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="Exit when standard input closes; for a supervisor.")
    ] = False,
) -> None:
    """Run one worker: it takes jobs from the queue and harmonizes them. `harmonode serve` starts its own."""
    from node.service import work

    config = settings(ctx)
    configure_logging(config.log)
    work(config, executor_id, exit_with_parent=exit_with_parent)


def configure_logging(log: Log) -> None:
    """Everything, the libraries' included, goes to standard error in one format."""
    level = logging.getLevelNamesMapping()[log.level]
    logging.basicConfig(level=max(level, logging.WARNING), format="%(levelname)s %(name)s: %(message)s")
    if level > logging.DEBUG:
        # What pynetdicom calls errors, a peer that hangs up say, the stages tell in their own words.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    if log.format == "json":
        rendering: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # Not rich's traceback: it takes seconds and prints the values of variables, patients' among them.
        plain = structlog.dev.plain_traceback
        rendering = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
