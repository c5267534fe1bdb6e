"""Killed without warning, and objects larger than anyone would keep in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from node.dicom import part10
from node.receive import reconcile
from node.store.session import Database, upgrade
from node.store.tables import Instance, Series

COUNT = 200

SERVE = """
    import sys, time
    from pathlib import Path
    from node.config import Config, Receive
    from node.receive import Receiver
    from node.store.session import Database
    config = Config(data_dir=Path(sys.argv[1]), receive=Receive(port=0, disk_reserve_mb=1))
    receiver = Receiver(config, Database(config.url))
    receiver.start()
    print("port", receiver.port, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def served(tmp_path):
    """A receiver in a process of its own; `.start()` starts it, again after it was killed."""
    processes = []
    folder = tmp_path / "served"
    upgrade(f"sqlite:///{folder / 'harmonode.sqlite3'}")

    def start() -> SimpleNamespace:
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SERVE), folder], stdout=subprocess.PIPE)
        processes.append(process)
        for line in process.stdout:
            if line.startswith(b"port"):
                return SimpleNamespace(port=int(line.split()[1]), process=process)
        raise AssertionError("the receiver did not start")

    yield SimpleNamespace(start=start, folder=folder)
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_killed_while_receiving_everything_acknowledged_is_there(served, associate, slice_path, wait, monkeypatch):
    from pynetdicom import _config

    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    paths = [slice_path(number=number, PixelData=os.urandom(100_000)) for number in range(COUNT)]
    acknowledged: list[str] = []
    running = served.start()

    def send() -> None:
        with associate(running) as association:
            for path in paths:
                if "Status" not in (response := association.send_c_store(path)):
                    break  # the connection is gone
                assert response.Status == 0
                with path.open("rb") as file:
                    acknowledged.append(part10.read(file).sop_instance_uid)
            association.let_go()
            association.abort()

    sender = threading.Thread(target=send)
    sender.start()
    wait(lambda: len(acknowledged) >= 30, "some were acknowledged")
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    sender.join(60)
    assert 30 <= len(acknowledged) < COUNT
    (served.folder / "spool" / "incoming" / "half.part").write_bytes(b"half an object")

    again = served.start()
    database = Database(f"sqlite:///{served.folder / 'harmonode.sqlite3'}")
    with database.read() as session:
        known = set(session.scalars(sa.select(Instance.sop_instance_uid)))
        (series,) = session.scalars(sa.select(Series))
    assert known >= set(acknowledged)
    assert len(known) <= len(acknowledged) + 1  # one may have become durable while its answer was lost
    assert (series.instance_count, series.state) == (len(known), "receiving")
    assert not list((served.folder / "spool" / "incoming").iterdir())

    with associate(again) as association:  # the sender begins anew
        assert {association.send_c_store(path).Status for path in paths} == {0}

    def all_indexed() -> bool:
        with database.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(Instance)) == COUNT

    wait(all_indexed, "all are there once")
    database.close()


MEASURE = """
    import ctypes, os, sys, threading, time
    from pathlib import Path
    from node.config import Config, Receive
    from node.receive import Receiver
    from node.store.session import Database

    def resident_mb():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    config = Config(data_dir=Path(sys.argv[1]), receive=Receive(port=0, disk_reserve_mb=1))
    receiver = Receiver(config, Database(config.url))
    receiver.start()
    before = highest = resident_mb()
    print("port", receiver.port, flush=True)
    while not list(receiver.spool.walk()):
        highest = max(highest, resident_mb())
        time.sleep(0.005)
    print("grown", highest - before, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to look at the memory of a process")
def test_an_object_of_200_mb_is_never_in_memory(served, slice_path, tmp_path, monkeypatch):
    large = slice_path()
    size = 200 << 20
    head = large.read_bytes()[:-524]  # 512 bytes of Pixel Data behind a header of 12
    large.write_bytes(head + b"\xe0\x7f\x10\x00OW\x00\x00" + size.to_bytes(4, "little"))
    os.truncate(large, large.stat().st_size + size)  # sparse
    monkeypatch.setattr(sys.modules[__name__], "SERVE", MEASURE)
    running = served.start()
    profile = tmp_path / "send.py"
    profile.write_text(
        textwrap.dedent("""
        import sys
        from pynetdicom import AE, _config
        _config.STORE_SEND_CHUNKED_DATASET = True
        ae = AE("TESTER")
        ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
        ae.dimse_timeout = 120
        association = ae.associate("127.0.0.1", int(sys.argv[1]), ae_title="HARMONODE")
        status = association.send_c_store(sys.argv[2])
        association.release()
        print(f"{status.Status:04X}")
        """)
    )
    start = time.monotonic()
    sent = subprocess.run(
        [sys.executable, profile, str(running.port), large], check=True, capture_output=True, text=True, timeout=200
    )
    seconds = time.monotonic() - start
    assert sent.stdout.strip() == "0000"
    grown_mb = float(next(line for line in running.process.stdout if line.startswith(b"grown")).split()[1])
    print(f"200 MB in {seconds:.1f} s, memory grew by {grown_mb:.1f} MB")
    assert grown_mb < 40


def test_reconciling_five_thousand_known_files_takes_a_walk_not_a_read(tmp_path, database, slice_path):
    from node.receive import Intake
    from node.receive.index import index
    from node.series import Sender
    from node.store.spool import Spool

    spool, told = Spool(tmp_path / "spool", 0), []
    with slice_path().open("rb") as file:
        Intake(spool, told.append).accept(file, Sender("A", "B", "127.0.0.1"))
    first = spool.root / told[0].path
    with database.write() as session:
        index(session, told)
        (row,) = session.scalars(sa.select(Instance))
        columns = {
            column.name: getattr(row, column.name) for column in Instance.__table__.columns if column.name != "id"
        }
        made = []
        for number in range(5000):
            path = first.with_name(f"{number:032x}.dcm")
            os.link(first, path)
            made.append({**columns, "sop_instance_uid": f"1.2.{number}", "path": str(path.relative_to(spool.root))})
        session.execute(sa.insert(Instance), made)
    start = time.perf_counter()
    found = reconcile(database, spool)
    assert (found.indexed, found.vanished, found.damaged) == (0, 0, 0)
    assert time.perf_counter() - start < 1
