"""The database locked, deleted, read-only, restored from before, or a server that stops: the spool has what was received."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import Postgres

from node.journey import State
from node.store.tables import DerivedInstance, Instance, Job

SLICES = 6


@pytest.fixture
def settings(pacs):
    return {
        "complete": {"quiet_s": 0.5},
        "process": {"retry": {"first_delay_s": 0.2, "max_delay_s": 1}},
        "destinations": [pacs.destination()],
    }


@pytest.fixture
def node(start_node, settings, crafted):
    running = start_node(**settings)
    # Its port is open before it has taken up what there was, for which it needs the database.
    running.wait(lambda: "node started" in running.log, "the node has started")
    running.only_rule(plugin="slow", parameters={"seconds_a_slice": 0})
    running.paths = crafted.series(SLICES)
    return running


def delivered(node, pacs, slices: int = SLICES) -> None:
    """One derived series, whole, at the PACS, of everything that was received."""
    whole = [(State.DONE, slices)]
    node.wait(lambda: [(row.state, row.instance_count) for row in node.series()] == whole, "the series is done")
    assert len(pacs.held) == slices
    assert len(pacs.series_seen) == 1
    node.verify_audit()


def test_locked_by_another_program(node, pacs):
    lock = sqlite3.connect(node.config.data_dir / "harmonode.sqlite3", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    assert node.store(node.paths) == SLICES, "durable in the spool, whatever the database does"
    time.sleep(6)
    assert node.series() == []
    lock.execute("ROLLBACK")
    node.wait(lambda: [row for row in node.series() if row.state == State.CONFIRMING or pacs.held], "it is worked on")
    lock.execute("BEGIN IMMEDIATE")
    time.sleep(3)
    lock.execute("ROLLBACK")
    lock.close()
    delivered(node, pacs)


def test_deleted_under_the_running_node(node, pacs):
    node.store(node.paths[:3])
    delivered(node, pacs, 3)
    node.database.close()
    for file in node.config.data_dir.glob("harmonode.sqlite3*"):
        file.unlink()
    assert node.process.wait(200) == 1
    assert "was deleted under the running node, which ends now" in node.log
    assert not (node.config.data_dir / "harmonode.sqlite3").exists(), "nobody makes an empty one in its place"
    node.database = None
    node.start()
    node.wait(lambda: node.series() and node.series()[0].instance_count == 3, "arrivals are rebuilt from the spool")
    node.verify_audit()


def restore(node, copy: Path) -> None:
    """Put a copy in the place of the database of a stopped node, and start the node."""
    node.database.close()
    for file in node.config.data_dir.glob("harmonode.sqlite3*"):
        file.unlink()
    shutil.copy(copy, node.config.data_dir / "harmonode.sqlite3")
    node.database = None
    node.start()


def test_restored_from_yesterday(node, pacs):
    """The spool wins: what came since is indexed and harmonized anew, to the same UIDs."""
    node.store(node.paths[:3])
    delivered(node, pacs, 3)
    assert node.stop() == 0
    node.database.close()
    yesterday = node.folder / "yesterday.sqlite3"
    shutil.copy(node.config.data_dir / "harmonode.sqlite3", yesterday)
    node.start()
    node.store(node.paths[3:])
    delivered(node, pacs)
    assert node.stop() == 0
    node.database.close()
    sent = dict(pacs.held)
    restore(node, yesterday)
    node.wait(lambda: node.series()[0].instance_count == SLICES, "the spool tells what came since")
    delivered(node, pacs)
    assert pacs.held == sent, "no instance under a new UID"
    assert node.one(sa.select(sa.func.count()).select_from(DerivedInstance)) == SLICES


def test_restored_from_before_the_work_was_done(node, pacs):
    """The copy was made while the series was worked on: the job is resumed from there, to the same objects."""
    node.only_rule(plugin="slow", parameters={"seconds_to_check": 2})
    node.store(node.paths)
    node.wait(lambda: node.series() and node.series()[0].state == State.CHECKING, "checking")
    source = sqlite3.connect(node.config.data_dir / "harmonode.sqlite3")
    copy = sqlite3.connect(node.folder / "copy.sqlite3")
    source.backup(copy)
    source.close()
    copy.close()
    delivered(node, pacs)
    sent = dict(pacs.held)
    assert node.stop() == 0
    restore(node, node.folder / "copy.sqlite3")
    delivered(node, pacs)
    assert pacs.held == sent


@pytest.fixture
def tmpfs(tmp_path: Path):
    """Mounts a small file system of its own; unmounted when the test ends."""
    mounted: list[Path] = []

    def mount(size_mb: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_read_only_and_full(start_node, settings, pacs, crafted, tmpfs):
    """The database on a disk of its own, that is full for a while, then read-only at a start."""
    disk = tmpfs(12)
    node = start_node(**settings, database_url=f"sqlite:///{disk}/node.sqlite3")
    node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0})
    fill(disk)
    paths = crafted.series(SLICES)
    assert node.store(paths) == SLICES, "durable in the spool, whatever the database does"
    node.wait(lambda: "the database takes no arrivals" in node.log, "the log says so")
    (disk / "ballast").unlink()
    delivered(node, pacs)

    node.stop()
    node.database.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = node.cli("serve", check=False)
    assert refused.returncode == 1
    assert re.search("the database cannot be used: (unable to open database file|.*readonly)", refused.stderr)
    assert "Traceback" not in refused.stderr
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    node.start()
    node.store([crafted.one(SLICES)])
    delivered(node, pacs, SLICES + 1)


def fill(disk: Path) -> None:
    """Not a byte is left."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue


def test_disk_full_and_emptied(start_node, settings, pacs, crafted, tmpfs, data: Path):
    """The disk of everything: stores are refused before it is full; what was being derived is, once there is room."""
    disk = tmpfs(96)
    (disk / "data").mkdir()
    node = start_node(**settings, data_dir=str(disk / "data"), receive={"disk_reserve_mb": 20})
    node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0, "seconds_to_check": 2})
    paths = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))[:SLICES]
    node.store(paths)
    node.wait(lambda: node.series() and node.series()[0].state == State.CHECKING, "checking")
    fill(disk)
    with pytest.raises(Exception, match="A700"):
        node.store(crafted.series(1))
    node.wait(lambda: "tried again" in node.log or "trying again" in node.log, "the log says that something waits")
    assert node.series()[0].state in {State.CHECKING, State.DERIVING}
    (disk / "ballast").unlink()
    node.wait(lambda: [row.state for row in node.series()] == [State.DONE], "the series is done")
    assert len(pacs.held) == SLICES
    assert len(pacs.series_seen) == 1

    stored = 0
    with pytest.raises(Exception, match="A700"):
        for path in many(crafted):
            stored += node.store([path])
    free_mb = shutil.disk_usage(disk).free >> 20
    assert 10 <= free_mb <= 21, "before it is full"
    assert stored > 5
    ours = sa.select(sa.func.count()).select_from(Instance).where(Instance.sop_instance_uid.like("1.2.3.9%"))
    node.wait(lambda: node.one(ours) >= stored, "what was answered with success is there")
    assert node.one(ours) == stored, "and nothing else"
    levels = [row.detail["level"] for row in node.events("disk")]
    assert levels[-1:] != ["ok"]
    node.verify_audit()


def many(crafted):
    """Slices of 2 MB without end."""

    def change(made, index: int) -> None:
        made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.4", "1.2.4.1"
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.9.{index}"

    index = 0
    while True:
        yield crafted.one(index, change, side=1024)
        index += 1


@pytest.fixture
def postgres():
    """A Postgres of our own that can be stopped and started; its URL as `.url`."""
    server = Postgres("node")
    yield server
    server.close()


def test_a_server_that_stops_and_starts_again(start_node, settings, pacs, crafted, postgres):
    node = start_node(**settings, database_url=postgres.url)
    node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0.2})
    node.store(crafted.series(3))
    node.wait(lambda: node.series() and node.series()[0].state == State.HARMONIZING, "harmonizing")
    postgres.stop()
    assert node.store([crafted.one(index) for index in range(3, SLICES)]) == 3, "durable in the spool"
    node.wait(lambda: "the database takes no arrivals" in node.log, "the log says so")
    postgres.start()
    delivered(node, pacs)
    assert node.one(sa.select(sa.func.count(sa.distinct(Job.derived_series_uid)))) == 1
