"""C-STORE and C-FIND against real peers, and against peers that misbehave."""

import threading
import time

import pytest
from pydicom import Dataset, dcmread, uid
from pynetdicom import AE, evt

from node.config import DimseDestination
from node.dicom import scu
from node.dicom.outgoing import examine
from node.errors import OperatorError, PermanentError, TransientError
from node.send import confirm, count_instances, echo, send


def to(port, ae_title="SCP", *, timeout_s=5, **more):
    return DimseDestination(name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=timeout_s, **more)


def test_orthanc_holds_and_confirms_what_was_sent(orthanc, write_series, progress):
    sent, there = write_series(5), to(orthanc.dicom_port, orthanc.aet)
    assert send(there, sent.paths, progress.append) == 5
    assert progress == [1, 2, 3, 4, 5]
    assert orthanc.count(sent.series) == 5
    assert confirm(there, sent.study, sent.series) == 5
    assert "C-ECHO" in echo(there)


def test_real_series_reaches_orthanc(orthanc, data, progress):
    paths = sorted((data / "chest" / "lung-dx-a0002-b70f").glob("*.dcm"))
    header = dcmread(paths[0], stop_before_pixels=True)
    there = to(orthanc.dicom_port, orthanc.aet)
    assert send(there, paths, progress.append) == 30
    assert confirm(there, header.StudyInstanceUID, header.SeriesInstanceUID) == 30


def test_sending_again_changes_nothing(orthanc, write_series, progress):
    sent, there = write_series(4), to(orthanc.dicom_port, orthanc.aet)
    send(there, sent.paths[:2], progress.append)
    send(there, sent.paths, progress.append)
    assert confirm(there, sent.study, sent.series) == 4


def test_orthanc_is_asked_about_a_series_it_lacks(orthanc, write_series):
    sent, there = write_series(1), to(orthanc.dicom_port, orthanc.aet)
    assert confirm(there, sent.study, sent.series) == 0
    assert count_instances("127.0.0.1", orthanc.dicom_port, orthanc.aet, "HARMONODE", sent.study, sent.series) is None


def test_storescp_receives_the_data_set_byte_by_byte(storescp, write_series, progress):
    sent = write_series(3)
    assert send(to(storescp.port, storescp.aet, confirm="none"), sent.paths, progress.append) == 3
    assert len(storescp.files) == 3
    kept = {instance.sop_instance_uid: instance for instance in map(examine, storescp.files)}
    for instance in map(examine, sent.paths):
        there = kept[instance.sop_instance_uid]
        assert there.path.read_bytes()[there.offset :] == instance.path.read_bytes()[instance.offset :]
        assert there.transfer_syntax_uid == instance.transfer_syntax_uid


def test_compressed_files_keep_their_transfer_syntax(start_storescp, data, progress):
    storescp = start_storescp("--bit-preserving", "--accept-all")
    paths = sorted((data / "syntaxes" / "wg04").glob("*"))
    files = [path for path in paths if path.is_file() and not path.name.endswith(".txt")]
    assert send(to(storescp.port, storescp.aet), files, progress.append) == len(files)
    here = sorted(instance.transfer_syntax_uid for instance in map(examine, files))
    assert sorted(examine(path).transfer_syntax_uid for path in storescp.files) == here


def test_peer_of_implicit_vr_alone_gets_implicit_vr(start_storescp, write_series, progress):
    storescp = start_storescp("--bit-preserving", "--implicit")
    sent = write_series(2)
    send(to(storescp.port, storescp.aet), sent.paths, progress.append)
    for path in storescp.files:
        there = dcmread(path)
        assert there.file_meta.TransferSyntaxUID == uid.ImplicitVRLittleEndian
        here = dcmread(sent.paths[there.InstanceNumber - 1])
        assert there.PixelData == here.PixelData
        assert there == here


def test_storescp_cannot_be_asked(storescp, write_series):
    sent = write_series(1)
    assert confirm(to(storescp.port, storescp.aet, confirm="none"), sent.study, sent.series) is None
    with pytest.raises(OperatorError, match="presentation contexts"):
        confirm(to(storescp.port, storescp.aet), sent.study, sent.series)


def test_count_falls_short_where_the_peer_drops_what_it_accepts(start_orthanc, write_series, progress, tmp_path):
    script = tmp_path / "drop.lua"
    script.write_text("function ReceivedInstanceFilter(dicom) return tonumber(dicom.InstanceNumber) < 3 end")
    orthanc = start_orthanc(LuaScripts=[str(script)])
    sent, there = write_series(5), to(orthanc.dicom_port, orthanc.aet)
    assert send(there, sent.paths, progress.append) == 5  # it says 0x0000 to each
    assert confirm(there, sent.study, sent.series) == 2


def test_wrong_ae_title_is_a_matter_for_a_person(start_orthanc, write_series, progress):
    orthanc = start_orthanc(DicomCheckCalledAet=True)
    with pytest.raises(OperatorError, match="its AE title is not ANOTHER") as error:
        send(to(orthanc.dicom_port, "ANOTHER"), write_series(1).paths, progress.append)
    assert f"ANOTHER@127.0.0.1:{orthanc.dicom_port}" in str(error.value)
    assert "it had accepted 0 of 1 instances by then" in str(error.value)


def test_peer_that_breaks_off_because_it_does_not_know_us_is_told_apart(start_orthanc, write_series, progress):
    orthanc = start_orthanc(DicomAlwaysAllowStore=False)
    with pytest.raises(TransientError, match="an AE title they do not know: ours is HARMONODE"):
        send(to(orthanc.dicom_port, orthanc.aet), write_series(1).paths, progress.append)


def test_refused_association_waits_for_a_person(start_storescp, write_series, progress):
    storescp = start_storescp("--refuse")
    with pytest.raises(OperatorError, match="rejects the association"):
        send(to(storescp.port, storescp.aet), write_series(1).paths, progress.append)


def test_busy_peer_is_tried_again(start_scp, write_series, progress):
    port = start_scp(lambda _: 0x0000, maximum_associations=1)
    with (
        scu.associate(
            scu.Peer("SCP", "127.0.0.1", port, "OTHER", 5),
            scu.storage_contexts(map(examine, write_series(1).paths)),
        ),
        pytest.raises(TransientError, match="limit of associations"),
    ):
        send(to(port), write_series(1).paths, progress.append)


def test_peer_that_is_down_is_tried_again(free_port, write_series, progress):
    with pytest.raises(TransientError, match=r"Connection refused; it had accepted 0 of"):
        send(to(free_port), write_series(1).paths, progress.append)
    with pytest.raises(TransientError, match="Connection refused"):
        echo(to(free_port))


def test_host_that_cannot_be_resolved_is_tried_again(write_series, progress):
    there = to(104).model_copy(update={"host": "no-such-host.invalid"})
    with pytest.raises(TransientError, match=r"no-such-host\.invalid"):
        send(there, write_series(1).paths, progress.append)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (0xA700, TransientError, r"0xA700 \(out of resources\)"),
        (0x0110, TransientError, "0x0110"),
        (0xA900, PermanentError, "0xA900"),
        (0xC000, PermanentError, r"0xC000 \(cannot understand"),
        (0x0122, OperatorError, "0x0122"),
        (0x1234, PermanentError, "0x1234"),
    ],
)
def test_refused_instance_says_which_and_how_many_went_before(start_scp, write_series, progress, status, kind, said):
    count = 0

    def third_fails(_):
        nonlocal count
        count += 1
        return status if count == 3 else 0x0000

    sent = write_series(4)
    with pytest.raises(kind, match=said) as error:
        send(to(start_scp(third_fails)), sent.paths, progress.append)
    assert type(error.value) is kind
    assert sent.instances[2] in str(error.value)
    assert "accepted 2 of 4" in str(error.value)
    assert progress == [1, 2]


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_stored_with_a_warning_is_stored(start_scp, write_series, progress, status):
    assert send(to(start_scp(lambda _: status)), write_series(2).paths, progress.append) == 2


def test_error_comment_is_told(start_scp, write_series, progress):
    answer = Dataset()
    answer.Status, answer.ErrorComment = 0xC123, "no such patient"
    with pytest.raises(PermanentError, match="no such patient"):
        send(to(start_scp(lambda _: answer)), write_series(1).paths, progress.append)


def test_broken_association_is_mended_once(start_scp, write_series, progress):
    count, stored = 0, []

    def breaks_at_the_third(event):
        nonlocal count
        count += 1
        if count == 3:
            event.assoc.dul.socket.socket.shutdown(2)
            time.sleep(0.1)
            return 0x0000
        stored.append(event.request.AffectedSOPInstanceUID)
        return 0x0000

    sent = write_series(4)
    assert send(to(start_scp(breaks_at_the_third)), sent.paths, progress.append) == 4
    assert stored == sent.instances


def test_peer_that_aborts_each_store_is_tried_again_later(start_storescp, write_series, progress):
    storescp = start_storescp("--abort-after")
    with pytest.raises(TransientError, match="aborted the association before it answered a C-STORE"):
        send(to(storescp.port, storescp.aet), write_series(2).paths, progress.append)
    assert progress == []


def test_silent_peer_costs_two_time_outs_and_is_tried_again_later(start_scp, write_series, progress):
    release = threading.Event()

    def silent(_):
        release.wait(20)
        return 0x0000

    port, started = start_scp(silent), time.monotonic()
    try:
        with pytest.raises(TransientError, match=r"has not answered a C-STORE for 0\.5 s"):
            send(to(port, timeout_s=0.5), write_series(1).paths, progress.append)
        assert time.monotonic() - started < 5
    finally:
        release.set()


def test_slow_answer_within_the_time_out_is_awaited(start_storescp, write_series, progress):
    storescp = start_storescp("--sleep-after", "1")
    assert send(to(storescp.port, storescp.aet, timeout_s=3), write_series(1).paths, progress.append) == 1


def test_file_that_is_no_dicom_is_refused_before_anything_is_sent(free_port, tmp_path, progress):
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    with pytest.raises(PermanentError, match=r"notes\.txt"):
        send(to(free_port), [text], progress.append)


def test_file_that_is_cut_off_is_refused_before_a_peer_waits_for_the_rest(free_port, write_series, progress):
    sent = write_series(1)
    sent.paths[0].write_bytes(sent.paths[0].read_bytes()[:-100])
    with pytest.raises(PermanentError, match="breaks off inside") as error:
        send(to(free_port), sent.paths, progress.append)
    assert sent.instances[0] in str(error.value)


def test_no_response_is_lost(start_storescp, write_series, progress):
    """The short form of tests/bench/test_no_response_lost.py: one lost response is a time-out waited out."""
    storescp = start_storescp("--ignore")
    paths = write_series(1).paths * 2000
    started = time.monotonic()
    assert send(to(storescp.port, storescp.aet, timeout_s=20), paths, progress.append) == 2000
    assert time.monotonic() - started < 20, "a response was lost: a time-out was waited out"


def test_threads_and_sockets_are_given_back(orthanc, start_storescp, write_series, progress):
    sent, before = write_series(2), threading.active_count()
    send(to(orthanc.dicom_port, orthanc.aet), sent.paths, progress.append)
    with pytest.raises(TransientError):
        send(to(start_storescp("--abort-during").port, "STORESCP"), sent.paths, progress.append)
    deadline = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("status", "kind"), [(0xA700, TransientError), (0xC001, TransientError), (0xA900, OperatorError)]
)
def test_a_query_that_fails_by_want_of_resources_is_asked_again(status: int, kind: type[Exception]):
    entity = AE(ae_title="SCP")
    entity.add_supported_context(scu.STUDY_ROOT_FIND)
    handlers = [(evt.EVT_C_FIND, lambda _: iter([(status, None)]))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        with pytest.raises(kind, match=rf"cannot say what it holds of series 1\.2\.3: .*0x{status:04X}"):
            confirm(to(server.server_address[1]), "1.2", "1.2.3")
    finally:
        server.shutdown()


def test_tls_with_certificates_on_both_sides(start_storescp, authority, make_authority, write_series, progress):
    theirs, ours = authority.issue("pacs.example"), authority.issue("node.example")
    peer = start_storescp("+tls", str(theirs.key), str(theirs.certificate), "+cf", str(authority.ca))
    sent = write_series(3)
    ours_told = {"certificate": str(ours.certificate), "key": str(ours.key)}
    there = to(peer.port, peer.aet, confirm="none", tls={"ca": str(authority.ca), **ours_told})
    assert send(there, sent.paths, progress.append) == 3
    assert len(peer.files) == 3
    stranger = to(peer.port, peer.aet, tls={"ca": str(make_authority("other").ca), **ours_told})
    with pytest.raises(OperatorError, match="its certificate is not trusted: "):
        send(stranger, sent.paths, progress.append)
    with pytest.raises(OperatorError, match="cannot be read"):
        send(to(peer.port, peer.aet, tls={"ca": "/none.pem"}), sent.paths, progress.append)


def test_tls_refuses_a_certificate_of_another_host(start_storescp, authority, write_series, progress):
    theirs = authority.issue("elsewhere", alternative="DNS:elsewhere.example")
    peer = start_storescp("+tls", str(theirs.key), str(theirs.certificate), "-ic")
    sent, trust = write_series(1), {"ca": str(authority.ca)}
    with pytest.raises(OperatorError, match=r"its certificate is not trusted: .*not valid for '127\.0\.0\.1'"):
        send(to(peer.port, peer.aet, confirm="none", tls=trust), sent.paths, progress.append)
    unnamed = {**trust, "check_name": False}
    assert send(to(peer.port, peer.aet, confirm="none", tls=unnamed), sent.paths, progress.append) == 1


def test_tls_to_a_peer_that_speaks_none(start_storescp, authority, write_series, progress):
    plain = start_storescp()
    with pytest.raises((OperatorError, TransientError), match="TLS"):
        send(
            to(plain.port, plain.aet, timeout_s=1, tls={"ca": str(authority.ca)}),
            write_series(1).paths,
            progress.append,
        )


def test_tls_without_the_certificate_that_a_peer_wants(start_storescp, authority, write_series, progress):
    theirs = authority.issue("pacs.example")
    peer = start_storescp("+tls", str(theirs.key), str(theirs.certificate), "+cf", str(authority.ca))
    with pytest.raises(OperatorError, match="TLS connection"):
        send(to(peer.port, peer.aet, tls={"ca": str(authority.ca)}), write_series(1).paths, progress.append)
