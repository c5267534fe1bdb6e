"""`harmonode top`: one frame for logs, and a live view that ends with q."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from node.cli import app
from node.cli.top import frame
from node.config import Config
from node.journey import State
from node.overview import overview
from node.store import leases
from node.store.session import Database, upgrade
from node.store.tables import Job, Series

UID = "1.3.6.1.4.1.14519.5.2.1.6655.2359.987654321098765432109876"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data")}))
    return file


@pytest.fixture
def busy(tmp_path: Path, config_file: Path) -> Database:
    """A node with one series in each place."""
    url = f"sqlite:///{tmp_path / 'data' / 'harmonode.sqlite3'}"
    upgrade(url)
    database = Database(url)
    now = datetime.now(UTC)
    with database.write() as session:
        leases.renew(session, "worker-0", now, 600)
        leases.renew(session, "worker-1", now - timedelta(minutes=5), 60)
        for number, (state, why) in enumerate(
            [
                (State.RECEIVING, None),
                (State.QUEUED, None),
                (State.HARMONIZING, None),
                (State.WAITING, "sending needs a person: PACS refuses [HARMONODE]. Mend that, then retry"),
                (State.REFUSED, "two patients in one series"),
            ]
        ):
            series = Series(
                study_instance_uid="1.2", series_instance_uid=f"{UID}.{number}", state=str(state), reason=why,
                state_since=now, first_arrival_at=now, last_arrival_at=now, instance_count=30 + number,
                calling_ae_title="CT1", called_ae_title="NODE", address="127.0.0.1",
            )  # fmt: skip
            session.add(series)
            session.flush()
            if state in {State.QUEUED, State.HARMONIZING}:
                session.add(
                    Job(
                        id=uuid4().hex, series_id=series.id, round=1, rule_name="lung", rule_version=1, plugin="p",
                        parameters={}, destinations=[], created_at=now, started_at=now, executor_id="worker-0",
                        progress_done=12, progress_total=32,
                    )
                )  # fmt: skip
    return database


def test_one_frame_shows_every_place(busy: Database, config_file: Path):
    shown = CliRunner().invoke(app, ["--config", str(config_file), "top", "--once"]).output
    for told in (
        "Arriving 1", "30 instances", "from CT1", "Queue 1", "lung", "Running 1", "12 of 32", "harmonizing",
        "Trouble 2", "PACS refuses [HARMONODE]", "two patients in one series", "workers 1 alive, 1 lost (worker-1)",
        f"{UID}.0", "today: 0 done, 5 series and 0 instances arrived", "GB free",
    ):  # fmt: skip
        assert told in shown, told
    busy.close()


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_terminal(busy: Database, config_file: Path, width: int):
    with busy.read() as session:
        seen = overview(session, Config(data_dir=config_file.parent / "data"))
    console = Console(width=width, file=open(os.devnull, "w"), record=True)  # noqa: PTH123, SIM115
    console.print(frame(seen, width))
    console.file.close()
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    narrow = [line for line in lines if f"{UID}.3"[-15:] in line]
    assert len(narrow) == 1
    assert "sending needs a person" in narrow[0]
    busy.close()


def test_the_live_view_ends_with_q(busy: Database, config_file: Path):
    busy.close()
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "node.cli", "--config", str(config_file), "top", "--interval", "0.3"],
        stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )  # fmt: skip
    os.close(slave)
    shown, deadline = b"", time.monotonic() + 60
    while shown.count(b"workers") < 2:  # the second frame: it is alive
        assert time.monotonic() < deadline, shown.decode(errors="replace")
        if select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 65536)
    os.write(master, b"xq")  # any other key only hurries the next look
    with suppress(OSError):  # the other end closes when the process ends
        while os.read(master, 65536):
            assert time.monotonic() < deadline
    os.close(master)
    assert process.wait(30) == 0
    assert b"12 of 32" in shown
