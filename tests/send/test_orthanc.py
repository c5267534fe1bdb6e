"""Orthanc's REST interface through the adapter: a real Orthanc, and servers that fail in ways it does not."""

import json
import threading
import time

import pytest

from node.config import OrthancDestination
from node.errors import OperatorError, PermanentError, TransientError
from node.send import confirm, echo, send


def to(url, *, timeout_s=5, **more):
    return OrthancDestination(name="orthanc", url=url, timeout_s=timeout_s, **more)


def test_orthanc_holds_and_confirms_what_was_sent(orthanc, write_series, progress):
    sent, there = write_series(20), to(orthanc.url)
    assert send(there, sent.paths, progress.append) == 20
    assert progress == list(range(1, 21))
    assert orthanc.count(sent.series) == 20
    assert confirm(there, sent.study, sent.series) == 20
    assert "Orthanc 1." in echo(there)


def test_sending_again_changes_nothing(orthanc, write_series, progress):
    sent, there = write_series(3), to(orthanc.url)
    send(there, sent.paths[:2], progress.append)
    send(there, sent.paths, progress.append)
    assert confirm(there, sent.study, sent.series) == 3
    assert confirm(there, "1.2.3", sent.series) == 0
    assert confirm(there, sent.study, "1.2.3") == 0


def test_instance_that_orthanc_filters_out_does_not_count(start_orthanc, write_series, progress, tmp_path):
    script = tmp_path / "drop.lua"
    script.write_text("function ReceivedInstanceFilter(dicom) return dicom.InstanceNumber ~= '3' end")
    orthanc = start_orthanc(LuaScripts=[str(script)])
    sent = write_series(3)
    with pytest.raises(OperatorError, match="FilteredOut") as error:
        send(to(orthanc.url), sent.paths, progress.append)
    assert sent.instances[2] in str(error.value)
    assert confirm(to(orthanc.url), sent.study, sent.series) == 2


def test_password(start_orthanc, write_series, progress):
    orthanc = start_orthanc(AuthenticationEnabled=True, RegisteredUsers={"node": "s3cret"})
    sent = write_series(2)
    assert send(to(orthanc.url, username="node", password="s3cret"), sent.paths, progress.append) == 2
    with pytest.raises(OperatorError, match="401") as error:
        send(to(orthanc.url, username="node", password="wr0ng"), sent.paths, progress.append)
    assert "wr0ng" not in str(error.value)


def test_file_that_is_no_dicom_is_refused(orthanc, tmp_path, progress):
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    with pytest.raises(PermanentError, match=r"notes\.txt: this is no DICOM file"):
        send(to(orthanc.url), [text], progress.append)


def test_instance_that_orthanc_cannot_take_is_refused(start_http, write_series, progress):
    body = json.dumps({"Message": "Bad file format", "OrthancStatus": 15}).encode()
    url, _ = start_http(lambda _: (400, "application/json", body))
    with pytest.raises(PermanentError, match=r"HTTP status 400: Bad file format"):
        send(to(url), write_series(1).paths, progress.append)


def test_orthanc_that_is_down_is_tried_again(orthanc, write_series, progress):
    orthanc.kill()
    with pytest.raises(TransientError, match="Connection refused"):
        send(to(orthanc.url), write_series(2).paths, progress.append)
    with pytest.raises(TransientError, match="Connection refused"):
        echo(to(orthanc.url))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, OperatorError),
        (403, OperatorError),
        (404, OperatorError),
        (413, OperatorError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_http_status_decides_who_acts_and_nothing_is_repeated(start_http, write_series, progress, status, kind):
    url, requests = start_http(lambda _: (status, "application/json", b'{"Message": "because"}'))
    with pytest.raises(kind, match=str(status)) as error:
        send(to(url), write_series(1).paths, progress.append)
    assert type(error.value) is kind
    assert len(requests) == 1


def test_silent_server_is_given_up(start_http, write_series, progress):
    release = threading.Event()

    def silent(_):
        release.wait(10)
        return 200, "application/json", b"{}"

    url, _ = start_http(silent)
    started = time.monotonic()
    try:
        with pytest.raises(TransientError, match=r"has not answered for 0\.3 s"):
            send(to(url, timeout_s=0.3), write_series(1).paths, progress.append)
    finally:
        release.set()
    assert time.monotonic() - started < 5


def test_path_of_the_base_url_is_kept(start_http):
    url, requests = start_http(lambda _: (200, "application/json", b'{"Version": "1.12.0"}'))
    assert "Orthanc 1.12.0" in echo(to(f"{url}/behind/a/proxy"))
    assert requests[0].path == "/behind/a/proxy/system"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", json.dumps({"Status": "Failure"}).encode()])
def test_answer_that_does_not_say_stored_is_not_stored(start_http, write_series, progress, body):
    url, _ = start_http(lambda _: (200, "application/json", body))
    with pytest.raises(OperatorError):
        send(to(url), write_series(1).paths, progress.append)
    assert progress == []


def test_nothing_more_is_begun_after_a_failure(start_http, write_series, progress):
    url, requests = start_http(lambda _: (500, "application/json", b"{}"))
    with pytest.raises(TransientError):
        send(to(url), write_series(60).paths, progress.append)
    assert len(requests) < 30
