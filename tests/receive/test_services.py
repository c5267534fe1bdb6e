"""A service that is added beside storage: operations with data sets, both ways, and roles."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import decode, encode
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.config import Config, Receive
from node.dicom.command import Field
from node.receive import Receiver
from node.receive.services import Answer, Service, collected

INSTANCE = "1.2.840.10008.1.20.1.1"


@pytest.fixture
def seen() -> list:
    return []


@pytest.fixture
def receiver(tmp_path, database, seen):
    def act(request, data_set):
        seen.append((request.command.sop_instance_uid, request.command.number(0x1008), request.sender, data_set))
        return Answer(0x0000, data_set=data_set)

    def hear(request, data_set):
        seen.append((request.command.number(0x1002), decode(BytesIO(data_set), True, True).TransactionUID))
        return Answer(0x0000)

    operations = {Field.N_ACTION: collected(act), Field.N_EVENT_REPORT: collected(hear)}
    service = Service(StorageCommitmentPushModel, operations, ("1.2.840.10008.1.2",), roles=(True, True))
    config = Config(data_dir=tmp_path / "node", receive=Receive(port=0, disk_reserve_mb=1))
    made = Receiver(config, database, [service])
    made.start()
    yield made
    made.stop()


def transaction() -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = "1.2.3"
    return dataset


@pytest.mark.parametrize("max_pdu", [0, 128, 16382])
def test_an_action_is_answered_with_a_data_set(receiver, seen, max_pdu):
    ae = AE("TESTER")
    ae.add_requested_context(StorageCommitmentPushModel, "1.2.840.10008.1.2")
    association = ae.associate("127.0.0.1", receiver.port, ae_title="HARMONODE", max_pdu=max_pdu)
    assert association.is_established
    status, reply = association.send_n_action(transaction(), 1, StorageCommitmentPushModel, INSTANCE)
    assert (status.Status, reply.TransactionUID) == (0x0000, "1.2.3")
    association.release()
    assert seen[0][:2] == (INSTANCE, 1)
    assert seen[0][2].calling_ae_title == "TESTER"
    assert decode(BytesIO(seen[0][3]), True, True) == transaction()


def test_a_peer_that_takes_the_other_role_reports_an_event(receiver, seen):
    ae = AE("PACS")
    ae.add_requested_context(StorageCommitmentPushModel, "1.2.840.10008.1.2")
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = ae.associate("127.0.0.1", receiver.port, ae_title="HARMONODE", ext_neg=[role])
    assert association.is_established
    (context,) = association.accepted_contexts
    assert (context.as_scu, context.as_scp) == (False, True)
    status, _ = association.send_n_event_report(transaction(), 2, StorageCommitmentPushModel, INSTANCE)
    assert status.Status == 0x0000
    association.release()
    assert seen == [(2, "1.2.3")]


def test_an_operation_that_is_not_served_is_answered_so(receiver):
    ae = AE("TESTER")
    ae.add_requested_context(StorageCommitmentPushModel, "1.2.840.10008.1.2")
    association = ae.associate("127.0.0.1", receiver.port, ae_title="HARMONODE")
    status, _ = association.send_n_get([0x00080018], StorageCommitmentPushModel, INSTANCE)
    assert status.Status == 0x0211
    association.release()


def test_a_data_set_that_is_too_large_for_memory_is_refused(receiver, seen, monkeypatch):
    monkeypatch.setattr("node.receive.services._MAX_COLLECTED", 1000)
    ae = AE("TESTER")
    ae.add_requested_context(StorageCommitmentPushModel, "1.2.840.10008.1.2")
    association = ae.associate("127.0.0.1", receiver.port, ae_title="HARMONODE")
    request = N_ACTION()
    request.MessageID, request.ActionTypeID = 1, 1
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = StorageCommitmentPushModel, INSTANCE
    large = transaction()
    large.RetrieveURI = "x" * 5000
    request.ActionInformation = BytesIO(encode(large, True, True))
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, response = association.dimse.get_msg(block=True)
    assert response.Status == 0x0110
    association._reactor_checkpoint.set()
    association.release()
    assert seen == []
