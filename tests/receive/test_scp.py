"""The port: every transfer syntax, every refusal, with pynetdicom and DCMTK as senders."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from node.config import Config, Peer, Receive
from node.dicom import part10
from node.errors import OperatorError
from node.receive import Receiver
from node.receive.admission import Caller, judge_association
from node.store.tables import AuditRecord, Instance, Quarantined, Series

ECHOSCU, STORESCU = Path("/usr/bin/echoscu"), Path("/usr/bin/storescu")
dcmtk = pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed (`make peers` says how)")

PROFILE = """[[TransferSyntaxes]]
[Only]
TransferSyntax1 = {syntax}
[[PresentationContexts]]
[CT]
PresentationContext1 = 1.2.840.10008.5.1.4.1.1.2\\Only
[[Profiles]]
[Default]
PresentationContexts = CT
"""


def data_set(path: Path) -> bytes:
    """The bytes of a file behind its File Meta Information."""
    with path.open("rb") as file:
        part10.read(file)
        return file.read()


def syntax_files(data: Path) -> list[Path]:
    return [path for path in sorted((data / "syntaxes").glob("*/*")) if path.name != "LICENSE.txt"]


def take_out(receiver) -> list[tuple[str, bytes]]:
    """Transfer syntax and data set of each received file; the spool is empty afterwards."""
    files = [receiver.spool.root / path for path in receiver.spool.walk()]
    taken = []
    for path in files:
        with path.open("rb") as file:
            taken.append((part10.read(file).transfer_syntax_uid, file.read()))
        shutil.rmtree(path.parent)
    return taken


def rows(database, table) -> list:
    with database.read() as session:
        return list(session.scalars(sa.select(table)))


def statuses(responses) -> list[str]:
    return [f"{response.Status:04X}" if "Status" in response else "none" for response in responses]


def left_behind(receiver) -> list[Path]:
    return list((receiver.spool.root / "incoming").iterdir())


def test_every_transfer_syntax_is_kept_byte_for_byte(start_receiver, store, data):
    receiver = start_receiver()
    files = syntax_files(data)
    assert len(files) == 27
    for path in files:  # one by one: nine of them are one image, with one UID
        assert statuses(store(receiver, [path])) == ["0000"], path.name
        syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
        assert take_out(receiver) == [(syntax, data_set(path))], path.name


@dcmtk
def test_dcmtk_stores_every_transfer_syntax(start_receiver, data, tmp_path):
    """DCMTK writes some elements anew as it sends, so here the pixels are compared."""
    receiver = start_receiver()
    profile, unsent = tmp_path / "profile.cfg", set()
    for path in syntax_files(data):
        source = pydicom.dcmread(path)
        profile.write_text(PROFILE.format(syntax=source.file_meta.TransferSyntaxUID))
        command = [STORESCU, "-xf", profile, "Default", "-aec", "HARMONODE", "127.0.0.1", str(receiver.port), path]
        sent = subprocess.run(command, check=False, capture_output=True, text=True)
        if "No SOP Class or Instance UID in file" in sent.stderr:
            unsent.add(path.name)  # storescu trips over a fragment of odd length
            continue
        assert sent.returncode == 0, f"{path.name}: {sent.stderr}"
        kept = pydicom.dcmread(next(receiver.spool.root / name for name in receiver.spool.walk()))
        assert (kept.file_meta.TransferSyntaxUID, kept.PixelData) == (
            source.file_meta.TransferSyntaxUID,
            source.PixelData,
        ), path.name
        take_out(receiver)
    assert len(unsent) == 3


@dcmtk
def test_echo_by_dcmtk(start_receiver):
    receiver = start_receiver()
    assert echo(receiver).returncode == 0
    wrong = echo(receiver, "-aec", "SOMEBODY")
    assert wrong.returncode != 0
    assert "Called AE Title Not Recognized" in wrong.stderr


def echo(receiver, *options: str) -> subprocess.CompletedProcess[str]:
    called = options or ("-aec", "HARMONODE")
    command = [ECHOSCU, *called, "127.0.0.1", str(receiver.port)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


def test_who_may_open_an_association_is_answered_logged_and_audited(start_receiver, associate, database):
    known = Peer(ae_title="SCANNER", addresses=("127.0.0.0/8",))
    receiver = start_receiver(peers=[known], max_associations=1)
    with associate(receiver, calling="SCANNER") as first:
        assert first.is_established
        with associate(receiver, calling="SCANNER") as second:
            assert rejection(second) == (2, 3, 2)
    with associate(receiver, calling="SCANNER", called="ELSE") as association:
        assert rejection(association) == (1, 1, 7)
    with associate(receiver, calling="STRANGER") as association:
        assert rejection(association) == (1, 1, 3)
    with associate(receiver, calling="SCANNER") as association:
        assert association.is_established
        assert association.send_c_echo().Status == 0
    receiver.stop()
    told = [(row.event, row.detail["rejection"], row.detail["address"]) for row in rows(database, AuditRecord)]
    assert told == [("refusal", numbers, "127.0.0.1") for numbers in ("2/3/2", "1/1/7", "1/1/3")]
    assert "'STRANGER'" in rows(database, AuditRecord)[2].message


def rejection(association) -> tuple[int, int, int] | None:
    answer = association.acceptor.primitive
    return (answer.result, answer.result_source, answer.diagnostic) if association.is_rejected else None


@pytest.mark.parametrize(
    ("calling", "called", "address", "others", "numbers"),
    [
        ("SCANNER", "HARMONODE", "10.1.2.3", 0, None),
        ("SCANNER", "HARMONODE", "::ffff:10.1.2.3", 0, None),
        ("ANY", "HARMONODE", "fe80::1%eth0", 0, None),
        ("SCANNER", "harmonode", "10.1.2.3", 0, (1, 1, 7)),
        ("ANY", "HARMONODE", "10.1.2.3", 0, (1, 1, 3)),
        ("SCANNER", "HARMONODE", "10.2.2.3", 0, (1, 1, 3)),
        ("SCANNER", "HARMONODE", "10.1.2.3", 2, (2, 3, 2)),
    ],
)
def test_the_allow_list(calling, called, address, others, numbers):
    peers = (Peer(ae_title="SCANNER", addresses=("10.1.0.0/16",)), Peer(addresses=("fe80::/10",)))
    judged = judge_association(Receive(peers=peers, max_associations=2), Caller(calling, called, address), others)
    assert (judged and (judged.result, judged.source, judged.diagnostic)) == numbers


def test_a_called_ae_title_may_be_of_no_account():
    settings = Receive(check_called_ae_title=False)
    assert judge_association(settings, Caller("A", "WHATEVER", "127.0.0.1"), 0) is None


def test_the_same_bytes_again_are_a_success_that_stores_nothing(start_receiver, store, slice_path, database):
    receiver, path = start_receiver(), slice_path()
    assert statuses(store(receiver, [path, path])) == ["0000", "0000"]
    assert statuses(store(receiver, [path])) == ["0000"]
    receiver.stop()
    assert len(list(receiver.spool.walk())) == len(rows(database, Instance)) == 1
    assert [row.event for row in rows(database, AuditRecord)] == ["arrival"]
    assert left_behind(receiver) == []


def test_other_bytes_under_the_same_uid_are_a_conflict(start_receiver, store, slice_path, database):
    receiver = start_receiver()
    first, second = slice_path(number=1), slice_path(number=1, PatientID="SOMEBODY ELSE")
    responses = store(receiver, [first, second])
    assert statuses(responses) == ["0000", "C111"]
    assert responses[1].ErrorComment.startswith("this SOP Instance UID was received before with other bytes")
    receiver.stop()
    assert [row.event for row in rows(database, AuditRecord)] == ["arrival", "conflict"]
    (kept,) = rows(database, Quarantined)
    assert data_set(receiver.spool.quarantine.root / kept.path) == data_set(second)
    assert (kept.sop_instance_uid, kept.series_instance_uid) == ("1.2.826.0.1.1.1", "1.2.826.0.1.1")
    (row,) = rows(database, Instance)
    assert data_set(receiver.spool.root / row.path) == data_set(first)


def test_one_uid_in_two_series_is_two_instances(start_receiver, store, slice_path, database):
    receiver = start_receiver()
    paths = [slice_path(number=1), slice_path(number=1, SeriesInstanceUID="1.2.826.0.1.2")]
    assert statuses(store(receiver, paths)) == ["0000", "0000"]
    receiver.stop()
    assert len(rows(database, Series)) == len(rows(database, Instance)) == 2


def truncated(slice_path) -> Path:
    path = slice_path()
    path.write_bytes(path.read_bytes()[:-100])
    return path


def garbage(slice_path) -> Path:
    path = slice_path()
    whole = path.read_bytes()
    path.write_bytes(whole[: -len(data_set(path))] + b"this is a text and no data set" * 10)
    return path


def other_class(slice_path) -> Path:
    return slice_path(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")


@pytest.mark.parametrize(
    ("make", "status", "comment"),
    [
        (truncated, "C000", "the data set breaks off inside (7FE0,0010)"),
        (garbage, "C000", "(6874,7369) before byte 8 has ' i' where its VR should stand"),
        (other_class, "A900", "SOP Class UID 1.2.840.10008.5.1.4.1.1.4 in the data set"),
        (lambda make: make(SOPInstanceUID=None), "C000", "SOP Instance UID (0008,0018) is missing or empty"),
        (lambda make: make(SeriesInstanceUID=""), "C000", "Series Instance UID (0020,000E) is missing or empty"),
        (lambda make: make(StudyInstanceUID=None), "C000", "Study Instance UID (0020,000D) is missing or empty"),
        (lambda make: make(SOPInstanceUID="1.2.3"), "C000", "SOP Instance UID differs: 1.2.3 in the data set"),
        (
            lambda make: make(SeriesInstanceUID="../etc"),
            "C000",
            "Series Instance UID (0020,000E) is not a UID: '../etc",
        ),
    ],
)
def test_what_is_malformed_is_refused_and_kept_aside(
    start_receiver, store, slice_path, database, make, status, comment
):
    receiver, good = start_receiver(), slice_path()
    bad = make(slice_path)
    responses = store(receiver, [bad, good])  # and the association goes on
    assert statuses(responses) == [status, "0000"]
    assert responses[0].ErrorComment == responses[0].ErrorComment[:64]
    assert responses[0].ErrorComment.startswith(comment[:64])
    receiver.stop()
    (kept,) = rows(database, Quarantined)
    assert kept.reason.startswith(comment)
    aside = receiver.spool.quarantine.root / kept.path
    assert data_set(aside) == data_set(bad)
    assert kept.reason in aside.with_suffix(".json").read_text()
    assert len(rows(database, Instance)) == 1
    (told,) = [row for row in rows(database, AuditRecord) if row.event == "quarantine"]
    assert comment in told.message
    assert told.message.startswith("instance 1.2")  # the UID is named, from the request where the object has none
    assert left_behind(receiver) == []


def test_an_object_that_comes_back_malformed_is_kept_once(start_receiver, store, slice_path, database):
    receiver, bad = start_receiver(), truncated(slice_path)
    assert statuses(store(receiver, [bad, bad, bad])) == ["C000"] * 3
    receiver.stop()
    assert len(rows(database, Quarantined)) == 1
    assert len(rows(database, AuditRecord)) == 3


def test_a_full_disk_refuses_before_it_is_full(start_receiver, store, slice_path, database):
    receiver = start_receiver(disk_reserve_mb=1 << 40)
    responses = store(receiver, [slice_path(), slice_path()])
    assert statuses(responses) == ["A700", "A700"]
    assert responses[0].ErrorComment == "no space in the spool"
    receiver.spool.reserve_bytes = 0
    assert statuses(store(receiver, [slice_path()])) == ["0000"]
    receiver.stop()
    assert {row.event for row in rows(database, AuditRecord)} == {"refusal", "arrival"}
    assert left_behind(receiver) == []


def test_a_disk_that_fills_up_inside_an_object_refuses_it(start_receiver, store, slice_path, monkeypatch):
    receiver = start_receiver()
    opened = receiver.spool.open

    def on_a_full_disk(meta):
        incoming = opened(meta)
        incoming._file.close()
        incoming._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed by `discard`
        return incoming

    monkeypatch.setattr(receiver.spool, "open", on_a_full_disk)
    assert statuses(store(receiver, [slice_path()])) == ["A700"]
    assert left_behind(receiver) == []
    monkeypatch.undo()


def test_a_broken_association_leaves_nothing_behind(start_receiver, associate, slice_path, wait):
    receiver, path = start_receiver(), slice_path()
    with associate(receiver) as association:
        parts = message(association, path)
        for part in parts[:-1]:
            association.dul.send_pdu(part)
        wait(lambda: left_behind(receiver), "the object has begun to arrive")
        association.let_go()
        association.abort()
    wait(lambda: not left_behind(receiver), "nothing is left")
    assert list(receiver.spool.walk()) == []


def message(association, path: Path, pdu: int = 256, **changes) -> list[P_DATA]:
    """A C-STORE request as PDUs of at most `pdu` bytes; a keyword changes its command, None removes from it."""
    source = pydicom.dcmread(path)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    request.DataSet = io.BytesIO(data_set(path))
    made = C_STORE_RQ()
    made.primitive_to_message(request)
    for keyword, value in changes.items():
        if value is None:
            delattr(made.command_set, keyword)
        else:
            made.command_set[keyword]._value = value
    syntax = source.file_meta.TransferSyntaxUID
    (context,) = [
        cx.context_id
        for cx in association.accepted_contexts
        if (cx.abstract_syntax, cx.transfer_syntax[0]) == (source.SOPClassUID, syntax)
    ]
    return list(made.encode_msg(context, pdu))


def test_request_and_data_set_may_share_a_pdu(start_receiver, associate, slice_path):
    receiver, path = start_receiver(), slice_path()
    with associate(receiver) as association:
        together = P_DATA()
        for part in message(association, path):
            together.presentation_data_value_list.extend(part.presentation_data_value_list)
        association.dul.send_pdu(together)
        _, response = association.dimse.get_msg(block=True)
        assert response.Status == 0
    ((_, bytes_kept),) = take_out(receiver)
    assert bytes_kept == data_set(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"AffectedSOPInstanceUID": None}, "lacks a mandatory parameter"),
        ({"AffectedSOPInstanceUID": UID("1." + "2" * 80)}, "has an invalid parameter"),
    ],
)
def test_a_request_that_cannot_be_answered_ends_the_association_and_its_object_is_kept(
    start_receiver, associate, slice_path, database, wait, change, reason
):
    receiver, path = start_receiver(), slice_path()
    with associate(receiver) as association:
        for part in message(association, path, **change):
            association.dul.send_pdu(part)
        association.let_go()
        wait(lambda: association.is_aborted, "aborted")
    wait(lambda: rows(database, Quarantined), "kept aside")
    (kept,) = rows(database, Quarantined)
    assert reason in kept.reason
    assert data_set(receiver.spool.quarantine.root / kept.path) == data_set(path)


def test_nonsense_on_the_wire_does_not_hurt_the_others(start_receiver, associate, store, slice_path, wait):
    receiver = start_receiver()
    with associate(receiver) as association:
        nonsense = P_DATA()
        nonsense.presentation_data_value_list.append([association.accepted_contexts[0].context_id, b"\x03nonsense"])
        association.dul.send_pdu(nonsense)
        association.let_go()
        wait(lambda: association.is_aborted, "aborted")
    with socket.create_connection(("127.0.0.1", receiver.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        raw.settimeout(10)
        assert raw.recv(100)[:1] in (b"", b"\x07")  # A-ABORT or closed
    assert statuses(store(receiver, [slice_path()])) == ["0000"]


def test_two_associations_at_once(start_receiver, store, slice_path, database):
    """Two senders of the same twenty slices, and one of them has another version of the last."""
    receiver = start_receiver()
    paths = [slice_path(number=number) for number in range(20)]
    versions = [[*paths, slice_path(number=99)], [*paths, slice_path(number=99, PatientID="OTHER")]]
    answers: list[list[str]] = [[], []]

    def send(sender: int) -> None:
        answers[sender] = statuses(store(receiver, versions[sender]))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receiver.stop()
    assert answers[0][:20] == answers[1][:20] == ["0000"] * 20
    assert sorted([answers[0][20], answers[1][20]]) == ["0000", "C111"]
    assert len(list(receiver.spool.walk())) == len(rows(database, Instance)) == 21
    assert rows(database, Series)[0].instance_count == 21


def test_a_locked_database_holds_up_no_sender(start_receiver, store, slice_path, database, wait):
    receiver = start_receiver()
    with contextlib.closing(sqlite3.connect(database.engine.url.database, isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        assert statuses(store(receiver, [slice_path() for _ in range(10)])) == ["0000"] * 10
        assert time.monotonic() - start < 5
        time.sleep(0.5)
        assert rows(database, Instance) == []
        locker.execute("ROLLBACK")
    wait(lambda: len(rows(database, Instance)) == 10, "indexed")
    assert rows(database, Series)[0].state == "receiving"


def test_who_brought_it_is_in_the_file_and_in_the_row(start_receiver, store, slice_path, database):
    receiver = start_receiver()
    store(receiver, [slice_path()], calling="CT1")
    receiver.stop()
    (instance,), (series,) = rows(database, Instance), rows(database, Series)
    meta = pydicom.dcmread(receiver.spool.root / instance.path).file_meta
    assert (meta.SourceApplicationEntityTitle, meta.SendingApplicationEntityTitle) == ("CT1", "CT1")
    assert (meta.ReceivingApplicationEntityTitle, meta.SourcePresentationAddress) == ("HARMONODE", "dicom://127.0.0.1")
    assert (instance.calling_ae_title, series.calling_ae_title) == ("CT1", "CT1")
    assert (series.called_ae_title, series.address) == ("HARMONODE", "127.0.0.1")
    assert series.series_instance_uid not in str(receiver.spool.root / instance.path)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x01\x00\x00\x00\x01\x00half a request",  # then nothing: the peer has lost power
        b"\x01\x00\xff\xff\xff\xffa request of four gigabytes",
    ],
)
def test_a_peer_that_stalls_is_let_go(start_receiver, sent):
    receiver = start_receiver(idle_timeout_s=0.5)
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as peer:
        peer.sendall(sent)
        start = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while peer.recv(1000):
                pass
        assert time.monotonic() - start < 5


def test_an_idle_association_is_ended(start_receiver, associate, wait):
    receiver = start_receiver(idle_timeout_s=0.5)
    with associate(receiver) as association:
        association.let_go()
        wait(lambda: not association.is_established, "aborted by the node")
    assert association.is_aborted


def test_a_taken_port_is_told_and_nothing_is_changed(database, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        receiver = Receiver(Config(data_dir=tmp_path / "node", receive=Receive(port=port)), database)
        left = receiver.spool.root / "incoming" / "left.part"
        left.touch()
        with pytest.raises(OperatorError, match=rf"127\.0\.0\.1:{port} cannot be opened: Address already in use"):
            receiver.start()
        assert left.exists()
    receiver.stop()
