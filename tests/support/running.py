"""A whole node in processes of its own, as `harmonode serve` starts it, with a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from peers import listens

from node import audit
from node.config import Config, DimseDestination, load
from node.journey import State
from node.rules.load import parse_rule, save, set_enabled
from node.send import send
from node.store.session import Database
from node.store.tables import AuditRecord, Quarantined, Series

AT_REST = {State.DONE, State.PASSED, State.REFUSED, State.FAILED, State.WAITING, State.CANCELLED}

SLOW_PLUGIN = '''
import time
from pydantic import BaseModel
from node.plugin import Measurement, Method, Report, Verdict

class Slow:
    """Doubles nothing, changes nothing, takes its time: a tenth of a second a slice."""
    name, version = "slow", "1"
    class Parameters(BaseModel):
        seconds_a_slice: float = 0.1
        seconds_to_measure: float = 0.0
        seconds_to_check: float = 0.0
    def measure(self, volume, parameters):
        time.sleep(parameters.seconds_to_measure)
        return Measurement()
    def method(self, measurement, parameters):
        return Method("slow", "1", "unchanged, slowly", "00")
    def harmonize(self, volume, measurement, parameters):
        for hu in volume.hu:
            time.sleep(parameters.seconds_a_slice)
            yield hu
    def check(self, volume, harmonized, measurement, parameters):
        time.sleep(parameters.seconds_to_check)
        return Verdict(True)
    def report(self, volume, harmonized, measurement, parameters, verdict):
        return Report()
'''


class RunningNode:
    """`harmonode serve` on a free port; killed or stopped and started again at will."""

    def __init__(self, folder: Path, port: int, environment: dict[str, str], settings: dict[str, Any]) -> None:
        folder.mkdir()
        self.folder, self.environment = folder, environment
        self.file = folder / "config.yaml"
        everything: dict[str, Any] = {
            "data_dir": str(folder / "data"),
            "complete": {"quiet_s": 1.5},
            "process": {"retry": {"first_delay_s": 0.5, "max_delay_s": 1}},
            "web": {"port": 0, "echo_every_s": 0},  # the peers of tests count who calls
            **settings,
        }
        everything["receive"] = {"port": port, "disk_reserve_mb": 10, **settings.get("receive", {})}
        self.file.write_text(yaml.safe_dump(everything))
        self.config: Config = load(self.file)
        self.process: subprocess.Popen[bytes] | None = None
        self.database: Database | None = None

    @property
    def door(self) -> DimseDestination:
        return DimseDestination(name="node", ae_title="HARMONODE", host="127.0.0.1", port=self.config.receive.port)

    def start(self) -> None:
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "--config", str(self.file), "serve"],
                stdout=log, stderr=log, env=self.environment,
            )  # fmt: skip
        while not listens(self.config.receive.port):
            assert self.process.poll() is None, self.log
            time.sleep(0.05)
        self.database = self.database or Database(self.config.url)

    def kill(self) -> None:
        """As kill -9 does; the workers notice by themselves."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")[-6000:]

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "node.cli", "--config", str(self.file), *arguments],
            capture_output=True, text=True, env=self.environment, timeout=120, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def only_rule(self, **rule: Any) -> None:
        """Put one rule in force in place of the shipped ones."""
        document = {
            "name": "test",
            "match": {"all": [{"tag": "Modality", "equals": "CT"}, {"fact": "orientation", "equals": "axial"}]},
            **rule,
        }
        assert self.database
        with self.database.write() as session:
            set_enabled(session, "lung", enabled=False, author="test", why="the test brings its own")
            save(session, parse_rule(document), author="test", why="the test's own")

    def store(self, folder_or_paths: Path | Sequence[Path]) -> int:
        paths = sorted(folder_or_paths.glob("*.dcm")) if isinstance(folder_or_paths, Path) else folder_or_paths
        return send(self.door, paths, lambda _: None)

    def series(self) -> list[Series]:
        assert self.database
        with self.database.read() as session:
            return list(session.scalars(sa.select(Series).order_by(Series.id)))

    def one(self, query: Any) -> Any:
        assert self.database
        with self.database.read() as session:
            return session.scalars(query).one()

    def events(self, event: str | None = None) -> list[AuditRecord]:
        assert self.database
        query = sa.select(AuditRecord).order_by(AuditRecord.seq)
        with self.database.read() as session:
            return list(session.scalars(query.where(AuditRecord.event == event) if event else query))

    def quarantined(self) -> list[Quarantined]:
        assert self.database
        with self.database.read() as session:
            return list(session.scalars(sa.select(Quarantined)))

    def wait(self, until: Callable[[], Any], what: str, seconds: float = 200) -> Any:
        """Wait until a condition holds; fails with the node's own words."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = until()
            if found:
                return found
            time.sleep(0.02)
        states = [(series.state, series.reason) for series in self.series()]
        pytest.fail(f"{what} did not happen in {seconds} s; series: {states}; log:\n{self.log}")

    def wait_for_rest(self, count: int = 1, seconds: float = 200) -> list[Series]:
        def rested() -> list[Series] | None:
            series = self.series()
            return series if len(series) >= count and all(State(row.state) in AT_REST for row in series) else None

        found: list[Series] = self.wait(rested, f"{count} series at rest", seconds)
        return found

    def verify_audit(self) -> None:
        assert self.database
        with self.database.read() as session:
            count, flaws = audit.verify(session)
        assert count
        assert flaws == []


def install_plugin(site: Path, name: str, class_name: str, code: str) -> None:
    """Put a plugin where a process with `site` in its PYTHONPATH finds it as any other."""
    info = site / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}_plugin.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[harmonode.plugins]\n{name} = {name}_plugin:{class_name}\n")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The processes' environment: a plugin that takes its time is installed."""
    install_plugin(tmp_path / "site", "slow", "Slow", SLOW_PLUGIN)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site")}


@pytest.fixture
def start_node(tmp_path: Path, free_port: int, environment: dict[str, str]) -> Iterator[Callable[..., RunningNode]]:
    """Starts a node with any part of its configuration given."""
    with ExitStack() as stack:

        def start(**settings: Any) -> RunningNode:
            running = RunningNode(tmp_path / "node", free_port, environment, settings)
            running.start()
            stack.callback(lambda: running.database and running.database.close())
            stack.callback(running.stop)
            return running

        yield start
