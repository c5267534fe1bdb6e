"""Senders that crowd, lie, fall silent and send the same series at once: one derived series, each told, no patient named."""

from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import ExitStack, suppress
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
        log={"level": "DEBUG"},
    )
    node.only_rule(plugin="identity")
    port, paths = node.config.receive.port, crafted.series(SLICES)
    with ExitStack() as stack:

        def call() -> socket.socket:
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            caller.sendall(craft.associate_request())
            return caller

        def heard(caller: socket.socket) -> int:
            kind, length = struct.unpack(">BxL", caller.recv(6, socket.MSG_WAITALL))
            caller.recv(length, socket.MSG_WAITALL)
            return int(kind)

        def free() -> bool:
            with call() as caller, suppress(OSError, struct.error):  # an address with too many connections is not heard
                return heard(caller) == PDUType.ASSOCIATE_AC
            return False

        liars = [call() for _ in LIES]
        for liar, lie in zip(liars, LIES.values(), strict=True):
            assert heard(liar) == PDUType.ASSOCIATE_AC
            liar.sendall(lie)
        for liar in liars:  # the last one when its time is out
            assert heard(liar) == PDUType.ABORT
            liar.close()
        answers = [heard(caller) for caller in [call() for _ in range(CROWD)]]
        assert answers.count(PDUType.ASSOCIATE_AC) >= PLACES - len(LIES)  # whose places may be about to be free
        assert answers.count(PDUType.ASSOCIATE_RJ) == CROWD - answers.count(PDUType.ASSOCIATE_AC) > 0
        # They stay open, and silent: their places are free when their time is out.
        node.wait(free, "the silent lose their places", 60)
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
    told_of = (node.folder / "node.log").read_text() + "".join(f"{row.message}{row.detail}" for row in node.events())
    patient = dcmread(paths[0])
    for identity in (str(patient.PatientName.family_name), patient.PatientID, patient.AccessionNumber):
        assert identity not in told_of, "neither the log nor the trail names a patient"


def storescu(port: int, ae_title: str, paths: list[Path]) -> list[str]:
    return [str(STORESCU), "-aet", ae_title, "-aec", "HARMONODE", "127.0.0.1", str(port), *map(str, paths)]


def other_bytes(path: Path) -> Path:
    made = dcmread(path)
    made.PixelData = bytes(len(made.PixelData))
    made.save_as(changed := path.with_suffix(".other"))
    return changed
