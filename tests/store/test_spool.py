"""Files are whole and durable, or not there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from node.dicom import part10
from node.dicom.elements import Identity
from node.dicom.part10 import FileMeta
from node.errors import ErrorKind, InvalidObject
from node.store.durable import write_out
from node.store.incoming import SpoolFull
from node.store.spool import Placement, Spool, data_set_sha256

META = FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", "CT1", "HARMONODE", "10.1.2.3")
IDENTITY = Identity("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2", "1.2.3")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


def bring(spool: Spool, data: bytes = b"data set", identity: Identity = IDENTITY):
    incoming = spool.open(META)
    incoming.write(data)
    return incoming, spool.place(incoming, identity)


def whole_data_set() -> bytes:
    """The UIDs of IDENTITY, and a value of some length."""
    uids = {
        (0x0008, 0x0016): META.sop_class_uid,
        (0x0008, 0x0018): "1.2.3.4",
        (0x0020, 0x000D): "1.2",
        (0x0020, 0x000E): "1.2.3",
    }
    made = b""
    for (group, element), uid in uids.items():
        value = uid.encode() + b"\0" * (len(uid) % 2)
        made += struct.pack("<HH2sH", group, element, b"UI", len(value)) + value
    return made + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 512) + b"\1" * 512


def incoming_files(spool: Spool) -> list[Path]:
    return list((spool.root / "incoming").iterdir())


def test_a_placed_file_is_whole_and_says_what_it_is(spool):
    incoming, placed = bring(spool, b"some" + b"thing" * 1000)
    path = spool.root / placed.path
    assert placed.placement is Placement.NEW
    assert placed.size_bytes == path.stat().st_size
    with path.open("rb") as file:
        assert part10.read(file) == META
        assert file.read() == b"some" + b"thing" * 1000
    assert incoming.sha256 == data_set_sha256(path) == hashlib.sha256(b"some" + b"thing" * 1000).hexdigest()
    assert list(spool.walk()) == [placed.path]
    assert incoming_files(spool) == []


def test_a_large_object_goes_to_the_disk_while_it_comes(spool, monkeypatch):
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "node.store.incoming.write_out",
        lambda handle, start, size: (told.append((start, size)), write_out(handle, start, size)),
    )
    data = bytes(range(256)) * 4096
    incoming = spool.open(META)
    for start in range(0, len(data), 131_060):  # as pieces come of PDUs of 128 KiB
        incoming.write(data[start : start + 131_060])
    placed = spool.place(incoming, IDENTITY)
    assert len(told) == 4
    assert all(start + size == following for (start, size), (following, _) in pairwise(told))
    assert told[0][0] == incoming.size_bytes - len(data)  # the data set, from its first byte on
    assert (spool.root / placed.path).read_bytes()[-len(data) :] == data


def test_names_hold_nothing_a_peer_sent(spool):
    evil = Identity("../../etc/passwd", "a/b\0c", "..", "~root")
    path = spool.path_of(evil).relative_to(spool.root)
    assert re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{32}/[0-9a-f]{32}\.dcm", path.as_posix())


def test_the_name_depends_on_study_series_and_instance(spool):
    paths = {
        spool.path_of(identity)
        for identity in (
            IDENTITY,
            Identity("1", "1.2.3.4", "1.2", "1.2.9"),
            Identity("1", "1.2.3.4", "1.9", "1.2.3"),
            Identity("1", "1.2.3.9", "1.2", "1.2.3"),
        )
    }
    assert len(paths) == 4


def test_bytes_and_names_are_synced_before_an_object_counts_as_placed(spool, monkeypatch):
    order: list[str] = []
    fsync, link = os.fsync, os.link

    def record_fsync(handle: int) -> None:
        target = Path(f"/proc/self/fd/{handle}").readlink()
        fsync(handle)
        order.append("file" if target.suffix == ".part" else target.name)

    def record_link(source, target) -> None:
        order.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "link", record_link)
    _, placed = bring(spool)
    group, series, _ = Path(placed.path).parts
    assert order == [group, spool.root.name, "link", "file", series]  # the names of the new folders come first


def test_a_file_that_a_power_cut_tore_is_known_by_its_seal(spool):
    _, placed = bring(spool, whole_data_set())
    assert spool.read(placed.path).sop_instance_uid == IDENTITY.sop_instance_uid
    path = spool.root / placed.path
    torn = bytearray(path.read_bytes())
    torn[-10:] = bytes(10)  # a block that was not written yet; the header is all there
    path.write_bytes(torn)
    with pytest.raises(InvalidObject, match="not those that it was sealed with"):
        spool.read(placed.path)


def test_the_same_bytes_again(spool):
    bring(spool)
    _, placed = bring(spool)
    assert placed.placement is Placement.SAME
    assert len(list(spool.walk())) == 1
    assert incoming_files(spool) == []


def test_other_bytes_stay_with_the_caller(spool):
    _, first = bring(spool)
    incoming, placed = bring(spool, b"other data set")
    assert placed.placement is Placement.OTHER
    assert incoming.path.exists()
    assert (spool.root / first.path).read_bytes().endswith(b"data set")
    incoming.discard()
    assert incoming_files(spool) == []


@pytest.mark.parametrize(("versions", "loser"), [(1, Placement.SAME), (8, Placement.OTHER)])
def test_of_many_at_once_one_wins(spool, versions, loser):
    placements: list[Placement] = []
    start = threading.Barrier(8)

    def store(number: int) -> None:
        incoming = spool.open(META)
        incoming.write(b"version %d" % (number % versions))
        start.wait()
        placements.append(spool.place(incoming, IDENTITY).placement)
        incoming.discard()

    threads = [threading.Thread(target=store, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(placements, key=str) == sorted([Placement.NEW, *[loser] * 7], key=str)
    assert len(list(spool.walk())) == 1


def test_a_folder_removed_behind_our_back_is_made_again(spool):
    _, placed = bring(spool)
    shutil.rmtree(spool.root / placed.path[:2])
    assert bring(spool)[1].placement is Placement.NEW


def test_a_damaged_file_is_not_overwritten(spool):
    _, placed = bring(spool)
    (spool.root / placed.path).write_bytes(b"damaged")
    incoming, again = bring(spool)
    assert again.placement is Placement.OTHER
    incoming.discard()
    with pytest.raises(InvalidObject, match="no DICOM file"):
        spool.read(placed.path)


def test_less_than_the_reserve_is_refused_as_something_that_passes(tmp_path):
    spool = Spool(tmp_path / "spool", 1 << 60)
    with pytest.raises(SpoolFull, match=r"MiB free on the disk of .*, \d+ are kept free") as caught:
        spool.open(META)
    assert caught.value.kind is ErrorKind.TRANSIENT
    assert incoming_files(spool) == []


def test_the_reserve_is_looked_at_while_an_object_arrives(spool):
    incoming = spool.open(META)
    incoming.write(bytes(1 << 20))
    spool.reserve_bytes = 1 << 60
    for _ in range(20):
        incoming.write(bytes(1 << 20))
    assert "are kept free" in incoming.failure
    assert incoming_files(spool) == []
    with pytest.raises(SpoolFull):
        spool.place(incoming, IDENTITY)


def test_a_disk_that_is_full_leaves_nothing(spool):
    incoming = spool.open(META)
    incoming._file.close()
    incoming._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed by the failure
    incoming.write(b"data set")
    assert incoming.failure.endswith("cannot be written: No space left on device")
    assert incoming_files(spool) == []
    with pytest.raises(SpoolFull, match="No space left"):
        spool.place(incoming, IDENTITY)


def test_a_disk_that_cannot_sync_acknowledges_nothing(spool, monkeypatch):
    incoming = spool.open(META)
    incoming.write(b"data set")

    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpoolFull, match="Input/output error"):
        spool.place(incoming, IDENTITY)
    assert incoming_files(spool) == list(spool.walk()) == []


def test_what_a_killed_process_left_is_swept_and_what_was_placed_stays(spool):
    _, placed = bring(spool)
    (spool.root / "incoming" / "left.part").write_bytes(b"half")
    again = Spool(spool.root, 0)
    assert again.sweep() == 1
    assert incoming_files(again) == []
    assert list(again.walk()) == [placed.path]


def test_what_somebody_is_writing_is_not_swept(spool):
    incoming = spool.open(META)
    assert Spool(spool.root, 0).sweep() == 0
    incoming.write(b"data set")
    assert spool.place(incoming, IDENTITY).placement is Placement.NEW
