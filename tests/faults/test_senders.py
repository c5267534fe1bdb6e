"""Senders that crowd, lie, fall silent and send the same series at once, at one node: one derived series, each told."""

from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path

import crafted_pdus as craft
import pytest
from peers import NO_DELAY, free_port
from pydicom import dcmread

from node.dicom import pdu
from node.dicom.pdu import PDUType
from node.journey import State

STORESCU = Path("/usr/bin/storescu")
SLICES, CROWD, PLACES = 12, 200, 24
LIES = {
    "without a presentation data value": pdu.encode(PDUType.DATA, b""),
    "a PDU of 4294967295 bytes is announced": b"\x04\x00\xff\xff\xff\xff",
    "a PDU had begun, and": b"\x04\x00\x00\x00\x10\x00" + bytes(100),
}


@pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)")
def test_all_at_once(start_node, pacs, crafted):
    node = start_node(
        complete={"quiet_s": 2},
        receive={"port": free_port(), "max_associations": PLACES, "idle_timeout_s": 4, "disk_reserve_mb": 10},
        destinations=[pacs.destination()],
    )
    node.only_rule(plugin="identity")
    port, paths = node.config.receive.port, crafted.series(SLICES)
    with ExitStack() as stack:

        def call(sent: bytes = b"") -> tuple[socket.socket, int]:
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            caller.sendall(craft.associate_request())
            kind, length = struct.unpack(">BxL", caller.recv(6, socket.MSG_WAITALL))
            caller.recv(length, socket.MSG_WAITALL)
            caller.sendall(sent if kind == PDUType.ASSOCIATE_AC else b"")
            return caller, kind

        liars = [call(lie)[0] for lie in LIES.values()]
        for liar in liars:  # the last one when its time is out; nobody is told where the node closes at once
            assert liar.recv(1) in {b"\x07", b""}
        crowd = [call()[1] for _ in range(CROWD)]
        assert (crowd.count(PDUType.ASSOCIATE_AC), crowd.count(PDUType.ASSOCIATE_RJ)) == (PLACES, CROWD - PLACES)
        # They stay open, and silent: their places are free when their time is out.
        node.wait(lambda: call()[1] == PDUType.ASSOCIATE_AC, "the silent lose their places", 60)
    senders = [subprocess.Popen(storescu(port, name, paths), env=NO_DELAY) for name in ("CT1", "CT2")]
    assert [sender.wait(120) for sender in senders] == [0, 0]
    assert subprocess.run(storescu(port, "CT1", [other_bytes(paths[0])]), env=NO_DELAY, check=False).returncode != 0

    (series,) = node.wait_for_rest()
    assert (series.state, series.instance_count) == (State.DONE, SLICES), series.reason
    assert len(pacs.held) == SLICES
    assert len(pacs.series_seen) == 1
    (kept,) = node.quarantined()
    assert "other bytes" in kept.reason
    told = "\n".join(row.message for row in node.events("refusal"))
    for why in (*LIES, f"{PLACES} associations are open (receive.max_associations)", "nothing came in time (4 s)"):
        assert why in told, told
    assert "other bytes" in node.events("conflict")[0].message
    node.verify_audit()


def storescu(port: int, ae_title: str, paths: list[Path]) -> list[str]:
    return [str(STORESCU), "-aet", ae_title, "-aec", "HARMONODE", "127.0.0.1", str(port), *map(str, paths)]


def other_bytes(path: Path) -> Path:
    made = dcmread(path)
    made.PixelData = bytes(len(made.PixelData))
    made.save_as(changed := path.with_suffix(".other"))
    return changed
