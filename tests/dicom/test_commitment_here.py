"""A report on storage commitment that comes on the association on which it was asked for (PS3.4 section J.3.3)."""

from __future__ import annotations

import pytest
from scripted import Script

from node.dicom import command as commands
from node.dicom import pdu, scu
from node.dicom.command import Element, Field
from node.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Report, Request, decode_request
from node.errors import OperatorError, TransientError

ASKED = Request("2.25.1", {"1.2.3.1": "1.2.840.10008.5.1.4.1.1.2", "1.2.3.2": "1.2.840.10008.5.1.4.1.1.2"})
CONTEXT = 1
NO_RESOURCES = 0x0213


def commit(port: int, patience_s: float = 2.0) -> Report | None:
    peer = scu.Peer("PACS", "127.0.0.1", port, "HARMONODE", timeout_s=2)
    with scu.associate(peer, scu.COMMITMENT_CONTEXTS) as requestor:
        return requestor.commit(ASKED, patience_s)


def asked(peer: Script) -> Request:
    peer.accept()
    command, data, _ = peer.message()
    assert commands.decode(command).field == Field.N_ACTION
    return decode_request(data, implicit=False)


def responds(peer: Script, status: int = 0) -> None:
    fields = {
        Element.COMMAND_FIELD: Field.N_ACTION | commands.RESPONSE,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: 1,
        Element.COMMAND_DATA_SET_TYPE: commands.NO_DATA_SET,
        Element.STATUS: status,
    }
    peer.say(pdu.message(CONTEXT, commands.encode(fields)))


def reports(peer: Script, data: bytes, context: int = CONTEXT) -> None:
    fields: dict[int, int | str] = {
        Element.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
        Element.COMMAND_FIELD: Field.N_EVENT_REPORT,
        Element.MESSAGE_ID: 77,
        Element.COMMAND_DATA_SET_TYPE: commands.WITH_DATA_SET,
        Element.AFFECTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
        Element.EVENT_TYPE_ID: 1,
    }
    peer.say(pdu.message(context, commands.encode(fields), data))


def is_answered(peer: Script, status: int = 0) -> None:
    answer = commands.decode(peer.message()[0])
    assert answer.field == Field.N_EVENT_REPORT | commands.RESPONSE
    assert answer.number(Element.MESSAGE_ID_BEING_RESPONDED_TO) == 77
    assert answer.number(Element.STATUS) == status


def all_held(request: Request) -> bytes:
    return Report(request.transaction_uid, request.instances).encode(implicit=False)


@pytest.mark.parametrize("first", ["response", "report"])
def test_it_is_taken_before_the_response_or_after(play, first):
    def script(peer: Script) -> None:
        request = asked(peer)
        if first == "response":
            responds(peer)
        reports(peer, all_held(request))
        if first == "report":
            is_answered(peer)
            responds(peer)
        else:
            is_answered(peer)
        assert peer.pdu()[0] == 5, "the association is released"

    report = commit(play(script))
    assert report is not None
    assert (report.transaction_uid, report.failures(ASKED.instances)) == ("2.25.1", {})


def test_what_cannot_be_read_is_told_and_comes_again_later(play):
    def script(peer: Script) -> None:
        asked(peer)
        responds(peer)
        reports(peer, b"\0\0nonsense")
        is_answered(peer, 0x0110)

    with pytest.raises(TransientError, match="cannot be read"):
        commit(play(script))


def test_a_refusal_counts_though_a_report_came_first(play):
    def script(peer: Script) -> None:
        request = asked(peer)
        reports(peer, all_held(request))
        is_answered(peer)
        responds(peer, 0x0124)

    with pytest.raises(OperatorError, match="0x0124"):
        commit(play(script))


def test_a_report_in_no_context_ends_the_association(play):
    def script(peer: Script) -> None:
        request = asked(peer)
        reports(peer, all_held(request), context=3)
        assert peer.pdu()[0] == 7, "it is aborted"

    with pytest.raises(TransientError, match="presentation context 3"):
        commit(play(script))


def test_none_that_comes_soon_comes_later(play):
    def script(peer: Script) -> None:
        asked(peer)
        responds(peer)
        assert peer.pdu()[0] == 5, "the association is released"

    assert commit(play(script), patience_s=0.1) is None
