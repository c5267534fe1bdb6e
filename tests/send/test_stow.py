"""STOW-RS and QIDO-RS: a real Orthanc, and servers that fail in ways Orthanc does not."""

import json

import pytest
from pydicom import dcmread

from node.config import StowDestination
from node.errors import OperatorError, PermanentError, TransientError
from node.send import confirm, echo, send
from node.send.http import public_url

JSON = "application/dicom+json"


def to(url, **more):
    return StowDestination(name="web", url=url, timeout_s=5, **more)


def response(stored=(), failed=()):
    """A Store Instances Response Module."""

    def item(uid, **more):
        return {"00081155": {"vr": "UI", "Value": [uid]}, **more}

    module = {"00081199": {"vr": "SQ", "Value": [item(uid) for uid in stored]}}
    if failed:
        reasons = [item(uid, **{"00081197": {"vr": "US", "Value": [reason]}}) for uid, reason in failed]
        module["00081198"] = {"vr": "SQ", "Value": reasons}
    return json.dumps(module).encode()


def test_orthanc_holds_and_confirms_what_was_sent(orthanc, write_series, progress):
    sent, there = write_series(25), to(orthanc.dicomweb_url)
    assert send(there, sent.paths, progress.append) == 25
    assert progress[-1] == 25
    assert orthanc.count(sent.series) == 25
    assert confirm(there, sent.study, sent.series) == 25
    assert "QIDO-RS" in echo(there)


def test_bytes_arrive_as_they_are(orthanc, data, progress):
    paths = sorted((data / "chest" / "lung-dx-a0002-b70f").glob("*.dcm"))[:12]
    assert send(to(orthanc.dicomweb_url), paths, progress.append) == 12
    held = {orthanc.rest(f"/instances/{i}/tags?simplify")["SOPInstanceUID"]: i for i in orthanc.rest("/instances")}
    import httpx

    for path in paths:
        instance = held[dcmread(path, stop_before_pixels=True).SOPInstanceUID]
        assert httpx.get(f"{orthanc.url}/instances/{instance}/file").content == path.read_bytes()


def test_sending_again_changes_nothing(orthanc, write_series, progress):
    sent, there = write_series(3), to(orthanc.dicomweb_url + "/")
    send(there, sent.paths[:2], progress.append)
    send(there, sent.paths, progress.append)
    assert confirm(there, sent.study, sent.series) == 3


def test_series_that_is_not_there_counts_zero(orthanc, write_series):
    sent = write_series(1)
    assert confirm(to(orthanc.dicomweb_url), sent.study, sent.series) == 0


def test_count_falls_short_where_the_server_drops_what_it_accepts(start_orthanc, write_series, progress, tmp_path):
    script = tmp_path / "drop.lua"
    script.write_text("function ReceivedInstanceFilter(dicom) return tonumber(dicom.InstanceNumber) < 3 end")
    orthanc = start_orthanc(LuaScripts=[str(script)])
    sent, there = write_series(4), to(orthanc.dicomweb_url)
    assert send(there, sent.paths, progress.append) == 4  # it lists each among the stored
    assert confirm(there, sent.study, sent.series) == 2


def test_password(start_orthanc, write_series, progress):
    orthanc = start_orthanc(AuthenticationEnabled=True, RegisteredUsers={"node": "s3cret"})
    sent = write_series(2)
    assert send(to(orthanc.dicomweb_url, username="node", password="s3cret"), sent.paths, progress.append) == 2
    with pytest.raises(OperatorError, match="401") as error:
        send(to(orthanc.dicomweb_url, username="node", password="wr0ng"), sent.paths, progress.append)
    assert "wr0ng" not in str(error.value)
    with pytest.raises(OperatorError, match="401"):
        echo(to(orthanc.dicomweb_url))


def test_token_is_sent_and_never_told(start_http, write_series, progress, caplog, capsys):
    url, requests = start_http(lambda _: (403, "text/plain", b"no"))
    with pytest.raises(OperatorError, match="403") as error:
        send(to(url, token="t0ken"), write_series(1).paths, progress.append)
    assert requests[0].authorization == "Bearer t0ken"
    told = str(error.value) + caplog.text + "".join(capsys.readouterr())
    assert "t0ken" not in told


def test_credentials_in_the_url_are_never_told(free_port, write_series, progress):
    with pytest.raises(TransientError) as error:
        send(to(f"http://me:s3cret@127.0.0.1:{free_port}/dicom-web"), write_series(1).paths, progress.append)
    assert "s3cret" not in str(error.value)
    assert f"http://127.0.0.1:{free_port}/dicom-web" in str(error.value)


def test_body_is_multipart_with_each_file_in_it(start_http, write_series, progress):
    sent = write_series(3)
    url, requests = start_http(lambda _: (200, JSON, response(sent.instances)))
    send(to(f"{url}/rs"), sent.paths, progress.append)
    (request,) = requests
    assert (request.method, request.path) == ("POST", "/rs/studies")
    assert [request.body.count(path.read_bytes()) for path in sent.paths] == [1, 1, 1]


@pytest.mark.parametrize("status", [200, 202, 409])
def test_instance_that_failed_does_not_count_whatever_the_status(start_http, write_series, progress, status):
    sent = write_series(4)
    body = response(sent.instances[:2], [(sent.instances[2], 0xA700), (sent.instances[3], 0xA700)])
    url, _ = start_http(lambda _: (status, f"{JSON}; charset=utf-8", body))
    with pytest.raises(TransientError, match="0xA700") as error:
        send(to(url), sent.paths, progress.append)
    assert sent.instances[2] in str(error.value)
    assert "and 1 more" in str(error.value)
    assert "accepted 2 of 4" in str(error.value)


@pytest.mark.parametrize(
    ("reason", "kind"), [(0xA900, PermanentError), (0x0124, OperatorError), (0x0110, TransientError)]
)
def test_failure_reason_decides_who_acts(start_http, write_series, progress, reason, kind):
    sent = write_series(1)
    url, _ = start_http(lambda _: (409, JSON, response(failed=[(sent.instances[0], reason)])))
    with pytest.raises(kind) as error:
        send(to(url), sent.paths, progress.append)
    assert type(error.value) is kind


def test_instance_that_is_not_mentioned_does_not_count(start_http, write_series, progress):
    sent = write_series(3)
    url, _ = start_http(lambda _: (200, JSON, response(sent.instances[:2])))
    with pytest.raises(TransientError, match="does not say what became") as error:
        send(to(url), sent.paths, progress.append)
    assert sent.instances[2] in str(error.value)


def test_bare_202_does_not_count(start_http, write_series, progress):
    url, _ = start_http(lambda _: (202, "text/plain", b"later"))
    with pytest.raises(OperatorError, match="202 and does not say"):
        send(to(url), write_series(1).paths, progress.append)
    assert progress == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, TransientError),
        (503, TransientError),
        (507, TransientError),
        (429, TransientError),
        (400, PermanentError),
        (404, OperatorError),
        (413, OperatorError),
        (415, OperatorError),
        (302, OperatorError),
    ],
)
def test_http_status_decides_who_acts(start_http, write_series, progress, status, kind):
    url, _ = start_http(lambda _: (status, "text/plain", b"because"))
    with pytest.raises(kind, match=str(status)) as error:
        send(to(url), write_series(1).paths, progress.append)
    assert type(error.value) is kind


def test_request_that_is_too_large_is_halved(start_http, write_series, progress):
    sent = write_series(10)
    sizes = [path.stat().st_size for path in sent.paths]

    def at_most_three(request):
        here = [uid for uid, path in zip(sent.instances, sent.paths, strict=True) if path.read_bytes() in request.body]
        return (413, "text/plain", b"") if len(request.body) > 3.5 * max(sizes) else (200, JSON, response(here))

    url, _ = start_http(at_most_three)
    assert send(to(url), sent.paths, progress.append) == 10
    assert progress == list(range(1, 11))


def test_counting_goes_on_past_a_servers_page(start_http, write_series):
    sent = write_series(1)
    held = [f"1.2.{number}" for number in range(250)]

    def capped(request):
        offset = int(request.path.split("offset=")[1].split("&")[0])
        page = held[offset : offset + 100]
        return 200, JSON, json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in page]).encode()

    url, requests = start_http(capped)
    assert confirm(to(url), sent.study, sent.series) == 250
    assert len(requests) == 4


def test_server_that_ignores_the_offset_is_not_asked_for_ever(start_http, write_series):
    sent = write_series(1)
    body = json.dumps([{"00080018": {"vr": "UI", "Value": [f"1.2.{number}"]}} for number in range(7)]).encode()
    url, requests = start_http(lambda _: (200, JSON, body))
    assert confirm(to(url), sent.study, sent.series) == 7
    assert len(requests) == 2


def test_page_that_is_no_dicomweb_is_said(start_http):
    url, _ = start_http(lambda _: (200, "text/html", b"<html>log in</html>"))
    with pytest.raises(OperatorError, match="DICOMweb root"):
        echo(to(url))


def test_server_that_is_down_is_tried_again(orthanc, write_series, progress):
    orthanc.kill()
    with pytest.raises(TransientError, match="Connection refused"):
        send(to(orthanc.dicomweb_url), write_series(1).paths, progress.append)


def test_url_that_is_none_is_a_matter_for_a_person(write_series, progress):
    with pytest.raises(OperatorError, match="no URL"):
        send(to("pacs:8080"), write_series(1).paths, progress.append)


def test_what_is_no_url_does_not_tell_its_password():
    assert public_url("ann:secret@pacs:8080/dicom-web") == "pacs:8080/dicom-web"
    assert public_url("https://ann:secret@pacs:8080/dicom-web/") == "https://pacs:8080/dicom-web"
