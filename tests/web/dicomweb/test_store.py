"""STOW-RS: what is called stored is in the spool, byte for byte; all else has its reason."""

from __future__ import annotations

import base64
import socket
import time
from io import BytesIO
from urllib.parse import urlsplit

import httpx
import pydicom
import pytest
import sqlalchemy as sa

from node.config import StowDestination
from node.dicom import part10
from node.errors import TransientError
from node.send import confirm, send
from node.store.tables import Quarantined, Series
from node.web.roles import Role

FAILED, STORED, REASON, UID = "00081198", "00081199", "00081197", "00081155"
MULTIPART = "multipart/related; type=application/dicom; boundary=b"


def data_sets(service) -> dict[str, bytes]:
    found = {}
    for path in service.spool.walk():
        with (service.spool.root / path).open("rb") as file:
            uid = part10.read(file).sop_instance_uid
            found[uid] = file.read()
    return found


def sent(slices) -> dict[str, bytes]:
    found = {}
    for uid, path in zip(slices.uids, slices.paths, strict=True):
        with path.open("rb") as file:
            part10.read(file)
            found[uid] = file.read()
    return found


def changed(path, **attributes: str) -> bytes:
    read = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        setattr(read, keyword, value)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, read)
    return buffer.getvalue()


def uids(answer: httpx.Response, sequence: str) -> list[str]:
    return [item[UID]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])]


def reasons(answer: httpx.Response) -> list[int]:
    return [item[REASON]["Value"][0] for item in answer.json()[FAILED]["Value"]]


def test_what_is_stored_is_durable_and_told_by_name(service, chest):
    answer = service.store(chest.paths)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert uids(answer, STORED) == chest.uids
    assert FAILED not in answer.json()
    first = answer.json()[STORED]["Value"][0]
    assert first["00081190"]["Value"] == [f"{service.url}/{chest.path}/instances/{chest.uids[0]}"]
    assert answer.json()["00081190"]["Value"] == [f"{service.url}/studies/{chest.study}"]
    assert data_sets(service) == sent(chest)
    service.settle(4)
    with service.web.database.read() as session:
        (series,) = session.scalars(sa.select(Series))
    assert (series.calling_ae_title, series.called_ae_title, series.address) == ("scanner", "HARMONODE", "127.0.0.1")

    again = service.store(chest.paths, f"studies/{chest.study}")
    assert (again.status_code, uids(again, STORED)) == (200, chest.uids)
    assert service.indexed() == 4


def test_each_failure_has_its_reason_and_the_others_are_stored(service, chest, data):
    service.store(chest.paths[:1])
    other_bytes = changed(chest.paths[0], PatientComments="another")
    report = (data / "odd" / "no-pixel-data.dcm").read_bytes()
    answer = service.store([other_bytes, report, b"no DICOM", chest.paths[1], chest.paths[2].read_bytes()[:-100]])
    assert answer.status_code == 202
    assert uids(answer, STORED) == [chest.uids[1]]
    assert reasons(answer) == [0xC111, 0x0122, 0xC000, 0xC000]
    failed = answer.json()[FAILED]["Value"]
    assert [item[UID].get("Value", [""])[0] for item in failed][::3] == [chest.uids[0], chest.uids[2]]
    assert [item["00000902"]["Value"][0][:30] for item in failed] == [
        "this SOP Instance UID was rece", "SOP class 1.2.840.10008.5.1.4.", "this is no DICOM file: there i", "the data set breaks off inside",
    ]  # fmt: skip
    service.settle(2)
    service.settle(4, Quarantined)

    none = service.store([other_bytes])
    assert (none.status_code, reasons(none)) == (409, [0xC111])


def test_an_instance_of_another_study_is_refused(service, chest):
    answer = service.store(chest.paths[:1], "studies/1.2.3.4")
    assert (answer.status_code, reasons(answer)) == (409, [0xC409])
    assert data_sets(service) == {}


def test_a_body_that_breaks_off_is_refused_with_what_was_stored(service, chest):
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    whole = head + chest.paths[0].read_bytes() + b"\r\n" + head + chest.paths[1].read_bytes()
    for cut in (len(whole), len(whole) - 1000):
        answer = service.client.post("studies", content=whole[:cut], headers={"Content-Type": MULTIPART})
        assert answer.status_code == 400
        assert "breaks off" in answer.headers["warning"]
        assert uids(answer, STORED) == [chest.uids[0]]
    assert set(data_sets(service)) == {chest.uids[0]}
    assert not list((service.spool.root / "incoming").iterdir())

    for content, header in (
        (b"", MULTIPART),
        (b"nonsense", MULTIPART),
        (whole, "multipart/related; type=application/dicom"),
    ):
        answer = service.client.post("studies", content=content, headers={"Content-Type": header})
        assert answer.status_code == 400, (content[:20], header)
    empty = service.client.post("studies", content=b"--b--", headers={"Content-Type": MULTIPART})
    assert (empty.status_code, "holds no instance" in empty.text) == (400, True)


def test_a_client_that_leaves_leaves_nothing_behind(service, chest):
    def arriving(wanted: bool) -> None:
        for _ in range(500):
            if any((service.spool.root / "incoming").iterdir()) is wanted:
                return
            time.sleep(0.02)
        pytest.fail(f"something is half received: {not wanted}")

    where = urlsplit(service.url)
    with socket.create_connection((where.hostname, where.port)) as connection:
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.token}\r\n"
            f"Content-Type: {MULTIPART}\r\nContent-Length: 9999999\r\n\r\n--b\r\n\r\n"
        )
        connection.sendall(head.encode() + chest.paths[0].read_bytes()[:300_000])
        arriving(wanted=True)
    arriving(wanted=False)
    assert data_sets(service) == {}
    assert service.store(chest.paths[:1]).status_code == 200


def test_what_is_no_dicom_is_an_unsupported_media_type(service):
    for kind in ("application/json", 'multipart/related; type="application/dicom+json"; boundary=b', "text/plain"):
        assert service.client.post("studies", content=b"{}", headers={"Content-Type": kind}).status_code == 415
    assert service.store([b"x"], Accept="application/dicom+xml").status_code == 406
    assert service.store([b"x"], "studies/nonsense").status_code == 400


def test_one_object_may_come_alone(service, chest):
    content = chest.paths[0].read_bytes()
    answer = service.client.post("studies", content=content, headers={"Content-Type": "application/dicom"})
    assert (answer.status_code, uids(answer, STORED)) == (200, chest.uids[:1])


def test_limits_are_kept(start_dicomweb, chest):
    small = start_dicomweb(max_request_mb=1, max_instance_mb=1, max_instances=1)
    large = small.store([chest.paths[0], chest.paths[1]])
    assert (large.status_code, "at most 1 MiB" in large.text) == (413, True)

    def pieces():  # without a length that tells it beforehand
        yield b"--b\r\n\r\n"
        for _ in range(20):
            yield bytes(100_000)

    assert small.client.post("studies", content=pieces(), headers={"Content-Type": MULTIPART}).status_code == 413
    several = small.store([chest.paths[0], b"x"])
    assert several.status_code == 413
    assert uids(several, STORED) == [chest.uids[0]]


def test_a_full_disk_is_said_before_anything_is_read(start_dicomweb, chest):
    full = start_dicomweb(reserve_mb=1 << 40)
    assert full.store(chest.paths).status_code == 507
    destination = StowDestination(name="node", url=full.url, token=full.token)
    with pytest.raises(TransientError, match="HTTP status 507"):
        send(destination, chest.paths, lambda _: None)


def test_who_may_not_store_is_turned_away(service, chest):
    viewer = service.web.client(service.web.token(Role.VIEWER, "reader"))
    nobody = service.web.client()
    for client, status in ((viewer, 403), (nobody, 401)):
        answer = client.post(
            "/dicom-web/studies", content=chest.paths[0].read_bytes(), headers={"Content-Type": "application/dicom"}
        )
        assert answer.status_code == status
    assert nobody.get("/dicom-web/studies").status_code == 401
    assert viewer.get("/dicom-web/studies").status_code == 204
    assert data_sets(service) == {}
    basic = base64.b64encode(b"scanner:secret").decode()
    assert httpx.get(f"{service.url}/studies", headers={"Authorization": f"Basic {basic}"}).status_code == 401


def test_the_nodes_own_sender_is_understood(service, chest):
    destination = StowDestination(name="node", url=service.url, token=service.token)
    assert send(destination, chest.paths, lambda _: None) == 4
    service.settle(4)
    assert confirm(destination, chest.study, chest.series) == 4


def test_another_library_stores(service, chest):
    answer = service.viewer().store_instances([pydicom.dcmread(path) for path in chest.paths])
    assert [str(item.ReferencedSOPInstanceUID) for item in answer.ReferencedSOPSequence] == chest.uids


def test_orthanc_stores_into_the_node(service, start_orthanc, chest):
    """With a token in a header of Orthanc's own configuration."""
    server = {"Url": service.url, "HttpHeaders": {"Authorization": f"Bearer {service.token}"}}
    orthanc = start_orthanc(DicomWeb={"Servers": {"harmonode": server}})
    orthanc.upload(*chest.paths)
    (series,) = orthanc.rest("/series")
    request = {"Resources": [series], "Synchronous": True}
    orthanc.rest("/dicom-web/servers/harmonode/stow", method="POST", json=request)
    assert data_sets(service) == sent(chest)
