"""Storage commitment as provider: the report on the association that asked for it, or on one of the node's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa
from crafted import slice_of
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification

from node.commit import Commitments
from node.config import Config
from node.dicom.commitment import Request
from node.receive import Receiver, notices
from node.service import _commitment
from node.store.session import Database
from node.store.tables import AuditRecord, CommitmentRequest

SENDER = "SENDER"
HELD, UNKNOWN = "1.2.3.4.1", "1.2.3.4.2"
LATER = timedelta(minutes=1)


class Provider:
    """The node as far as storage commitment goes, with a sweep that a test runs by hand, and a sender beside it."""

    def __init__(self, config: Config, database: Database) -> None:
        self.database = database
        self.commitments = Commitments(config, database)
        self.receiver = Receiver(config, database, [_commitment(self.commitments)])
        self.receiver.start()
        self.here: list[tuple[int, Dataset]] = []  # reports on the sender's own associations: event type, data set
        self.there: list[tuple[int, Dataset]] = []  # and on those that the node opened
        self.status, self.silent_s = 0x0000, 0.0  # what the sender makes of the first

    @contextmanager
    def sender(self) -> Iterator[Association]:
        """A sender's association, open as long as the block lasts."""

        def take(event: evt.Event) -> tuple[int, None]:
            self.here.append((event.event_type, event.event_information))
            Event().wait(self.silent_s)
            return self.status, None

        entity = AE(SENDER)
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        entity.add_requested_context(StorageCommitmentPushModel)
        entity.add_requested_context(Verification)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, take)]
        association = entity.associate(
            "127.0.0.1", self.receiver.port, ae_title="HARMONODE", evt_handlers=handlers, max_pdu=0
        )
        assert association.is_established
        yield association
        association.release()

    def row(self) -> CommitmentRequest:
        with self.database.read() as session:
            return session.scalars(sa.select(CommitmentRequest)).one()

    def sweep(self, later: timedelta = timedelta(0)) -> int:
        return self.commitments.sweep(datetime.now(UTC) + later)


@pytest.fixture
def provider(tmp_path, database) -> Iterator[Provider]:
    """A node that holds nothing yet; the sender listens for reports, too."""

    def take(event: evt.Event) -> tuple[int, None]:
        made.there.append((event.event_type, event.event_information))
        return 0x0000, None

    entity = AE(SENDER)
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    where = {"ae_title": SENDER, "host": "127.0.0.1", "port": server.socket.getsockname()[1]}
    receive = {"port": 0, "disk_reserve_mb": 1, "commitment": [where]}
    made = Provider(Config.model_validate({"data_dir": tmp_path / "node", "receive": receive}), database)
    yield made
    made.receiver.stop()
    server.shutdown()


def store(association: Association) -> None:
    image = slice_of(0, side=16)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = HELD
    assert association.send_c_store(image).Status == 0x0000


def ask(association: Association, *uids: str) -> None:
    asked = Dataset()
    asked.TransactionUID = "1.2.3"
    asked.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
        asked.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    assert status.Status == 0x0000


def wait(until: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_sender_that_keeps_its_association_is_told_on_it(provider):
    with provider.sender() as association:
        store(association)
        ask(association, HELD)
        wait(lambda: provider.row().reported_at, "the report is told and noted")
        ((event_type, report),) = provider.here
        assert (event_type, report.TransactionUID) == (1, "1.2.3")
        assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [HELD]
        assert association.send_c_echo().Status == 0x0000, "the association goes on"
    assert provider.sweep(LATER) == 0, "it is told once"
    assert provider.there == []
    with provider.database.read() as session:
        told = session.scalars(sa.select(AuditRecord.message).where(AuditRecord.event == "commitment")).all()
    assert told == [
        "SENDER asks the node to commit itself to 1 instances",
        "SENDER was told that the node commits itself to 1 instances",
    ]


def test_what_the_index_may_not_know_yet_is_waited_for_before_it_is_denied(provider):
    with provider.sender() as association:
        store(association)
        asked = time.monotonic()
        ask(association, HELD, UNKNOWN)
        wait(lambda: provider.row().reported_at, "the report is told and noted")
        assert time.monotonic() - asked > 0.9
    ((event_type, report),) = provider.here
    assert event_type == 2
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [HELD]
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in report.FailedSOPSequence] == [
        (UNKNOWN, 0x0112)
    ]
    assert provider.row().failed == {UNKNOWN: 0x0112}


def test_nothing_is_said_while_the_sender_goes_on(provider, monkeypatch):
    monkeypatch.setattr(notices, "QUIET_S", 2.0)  # longer than a busy machine may keep this sender from going on
    with provider.sender() as association:
        store(association)
        ask(association, HELD)
        for _ in range(12):
            assert association.send_c_echo().Status == 0x0000
            assert provider.here == []
            time.sleep(0.2)
        wait(lambda: provider.here, "it is told when it is silent")


def test_a_sender_that_releases_at_once_is_told_on_another_association(provider):
    with provider.sender() as association:
        store(association)
        ask(association, HELD)
    wait(lambda: provider.row().due_at - datetime.now(UTC) < timedelta(seconds=1), "the sweep is to do it soon")
    wait(provider.sweep, "the sweep tells it")
    assert provider.here == []
    ((event_type, report),) = provider.there
    assert (event_type, report.TransactionUID) == (1, "1.2.3")
    assert provider.row().reported_at


@pytest.mark.parametrize("fault", ["it refuses", "it does not answer", "it aborts"])
def test_a_report_that_is_not_taken_goes_over_another_association(provider, monkeypatch, fault):
    monkeypatch.setattr(notices, "ANSWER_S", 0.3)
    provider.status = 0x0110 if fault == "it refuses" else 0x0000
    provider.silent_s = 0.0 if fault == "it refuses" else 1.5
    with provider.sender() as association:
        store(association)
        ask(association, HELD)
        wait(lambda: provider.here, "it is tried")
        if fault == "it aborts":
            association.abort()
        wait(lambda: provider.row().due_at - datetime.now(UTC) < timedelta(seconds=1), "the sweep is to do it soon")
        wait(provider.sweep, "the sweep tells it")
        if fault == "it refuses":
            assert association.send_c_echo().Status == 0x0000, "the association goes on"
    assert [event_type for event_type, _ in provider.there] == [1]
    assert len(provider.here) == 1
    assert provider.row().reported_at


def test_a_report_that_a_kill_left_half_told_is_told_by_the_sweep(provider):
    asked = Request("1.2.3", {UNKNOWN: CTImageStorage})
    claim = provider.commitments.ask(SENDER, asked.encode(implicit=True), implicit=True).claim
    assert claim.report() is None, "it may still be indexed"
    wait(claim.report, "a moment later it is denied")
    assert provider.sweep() == 0, "while the association has it"
    assert provider.sweep(LATER) == 1
    claim.told()
    claim.dropped("too late")
    assert provider.sweep(LATER) == 0, "what comes of it then counts no more"
    assert [event_type for event_type, _ in provider.there] == [2]
