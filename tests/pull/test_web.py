"""Pulling from a real Orthanc by DICOMweb and by its own REST interface."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import httpx
import pytest

from node.errors import OperatorError, PermanentError, TransientError

KINDS = ["dicomweb", "orthanc"]


def source(pacs, kind: str) -> dict[str, str]:
    return {"kind": kind, "url": pacs.dicomweb_url if kind == "dicomweb" else pacs.url}


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_comes_as_it_is_in_the_archive(kind: str, orthanc, puller, chest, sharp):
    orthanc.upload(*chest.paths, *sharp.paths)
    assert chest.study == sharp.study
    seen: list[tuple[str, int, int]] = []
    done = puller.pull(chest.study, progress=lambda *step: seen.append(step), **source(orthanc, kind))
    assert {(one.series_instance_uid, one.count, one.came, one.missing) for one in done} == {
        (chest.series, 10, 10, ()),
        (sharp.series, 10, 10, ()),
    }
    # Byte for byte what the scanner made.
    assert puller.files() == {**chest.data_sets, **sharp.data_sets}
    rows = puller.rows()
    assert {(row.series_instance_uid, row.instance_count, row.expected_count) for row in rows} == {
        (chest.series, 10, 10),
        (sharp.series, 10, 10),
    }
    assert {(row.calling_ae_title, row.called_ae_title, row.address) for row in rows} == {
        ("archive", "HARMONODE", "127.0.0.1")
    }
    assert {(uid, total) for uid, _, total in seen} == {(chest.series, 10), (sharp.series, 10)}
    assert [here for uid, here, _ in seen if uid == chest.series] == list(range(11))
    pulled = {record.series_instance_uid: record for record in puller.records("pull")}
    assert pulled.keys() == {chest.series, sharp.series}
    assert pulled[chest.series].actor == "user:test"
    assert pulled[chest.series].detail == {
        "source": "archive", "instances": 10, "came": 10, "here_before": 0, "missing": [],
    }  # fmt: skip
    assert sum(len(record.detail["instances"]) for record in puller.records("arrival")) == 20

    again = puller.pull(chest.study, chest.series, **source(orthanc, kind))
    assert [(one.came, one.here_before, one.missing) for one in again] == [(0, 10, ())]
    assert sum(len(record.detail["instances"]) for record in puller.records("arrival")) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_missing_is_asked_for(kind: str, orthanc, puller, chest):
    orthanc.upload(*chest.paths[:6])
    (first,) = puller.pull(chest.study, chest.series, **source(orthanc, kind))
    assert (first.count, first.came) == (6, 6)
    assert puller.rows()[0].expected_count == 6

    orthanc.upload(*chest.paths[6:])
    (second,) = puller.pull(chest.study, chest.series, **source(orthanc, kind))
    assert (second.count, second.came, second.here_before, second.missing) == (10, 4, 6, ())
    assert puller.files() == chest.data_sets
    assert (puller.rows()[0].instance_count, puller.rows()[0].expected_count) == (10, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_node_refuses_is_named(kind: str, orthanc, puller, chest, data):
    """The archive's copy of one slice differs from the one that came before."""
    orthanc.upload(*chest.paths[:3])
    puller.pull(chest.study, chest.series, **source(orthanc, kind))
    (folder,) = {path.parent for path in (puller.folder / "spool").glob("*/*/*.dcm")}
    lost = min(folder.iterdir())
    lost.unlink()
    wanted = set(chest.data_sets) - set(puller.files())
    (done,) = puller.pull(chest.study, chest.series, **source(orthanc, kind))
    assert (done.came, done.missing) == (1, ())  # what was lost from the spool comes back
    assert wanted & set(puller.files())

    report = data / "odd" / "no-pixel-data.dcm"
    orthanc.upload(report)
    (study,) = [
        one for one in orthanc.rest("/studies?expand") if one["MainDicomTags"]["StudyInstanceUID"] != chest.study
    ]
    uid = study["MainDicomTags"]["StudyInstanceUID"]
    (left,) = puller.pull(uid, **source(orthanc, kind))
    assert "it is SR, and the node processes CT" in str(left)
    (refused,) = puller.pull(uid, left.series_instance_uid, **source(orthanc, kind))
    assert len(refused.missing) == 1
    assert refused.missing[0].sop_instance_uid in str(refused)
    assert "refused and kept aside: SOP class 1.2.840.10008.5.1.4.1.1.88.11 is not stored here" in str(refused)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_archive_does_not_have_is_said(kind: str, orthanc, puller, chest):
    orthanc.upload(chest.paths[0])
    with pytest.raises(OperatorError, match=r"source 'archive': it has no study 1\.2\.3\.4"):
        puller.pull("1.2.3.4", **source(orthanc, kind))
    with pytest.raises(OperatorError, match=rf"has no series 1\.2\.3\.4; there are: {chest.series}"):
        puller.pull(chest.study, "1.2.3.4", **source(orthanc, kind))
    with pytest.raises(PermanentError, match=r"'\.\./x' is not a UID"):
        puller.pull("../x", **source(orthanc, kind))
    assert puller.files() == {}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_down_or_knows_us_not_is_told_of(kind: str, start_orthanc, puller, free_port: int, chest):
    with pytest.raises(TransientError, match=r"failed: .*refused; run the same command again"):
        puller.pull("1.2.3", kind=kind, url=f"http://127.0.0.1:{free_port}")
    guarded = start_orthanc(AuthenticationEnabled=True, RegisteredUsers={"node": "secret"})
    with pytest.raises(OperatorError, match="HTTP status 401"):
        puller.pull("1.2.3", **source(guarded, kind))
    guarded.upload(chest.paths[0])
    (done,) = puller.pull(chest.study, username="node", password="secret", **source(guarded, kind))
    assert done.came == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_stops_the_pull(kind: str, orthanc, puller, chest):
    orthanc.upload(*chest.paths[:2])
    with pytest.raises(
        OperatorError, match=rf"2 of 2 instances of series {chest.series} are missing.*no space in the spool"
    ):
        puller.pull(chest.study, receive={"disk_reserve_mb": 1 << 40}, **source(orthanc, kind))


@pytest.fixture
def cutting_proxy(orthanc) -> Iterator[tuple[str, list[int], list[str]]]:
    """An HTTP proxy in front of Orthanc that cuts answers off after so many bytes; None lets all through."""
    limit: list[int] = []
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            accept = {"Accept": self.headers.get("Accept", "*/*")}
            answer = httpx.get(f"{orthanc.dicomweb_url}{self.path}", headers=accept, timeout=60)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            asked.append(self.path)
            cut = limit[0] if limit and "multipart" in answer.headers.get("Content-Type", "") else None
            self.wfile.write(answer.content[:cut])
            if cut:
                self.connection.close()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", limit, asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_pull_that_breaks_off_is_taken_up_where_it_was(orthanc, puller, chest, cutting_proxy):
    url, limit, asked = cutting_proxy
    orthanc.upload(*chest.paths)
    limit.append(4_000_000)  # seven slices and a piece of the eighth
    with pytest.raises(
        TransientError, match=rf"3 of 10 instances of series {chest.series} are missing, the first is [\d.]+: "
    ):
        puller.pull(chest.study, kind="dicomweb", url=url)
    assert len(puller.files()) == 7
    assert not list((puller.folder / "spool" / "incoming").iterdir())
    assert (puller.rows()[0].instance_count, puller.rows()[0].expected_count) == (7, 10)

    limit.clear()
    asked.clear()
    (done,) = puller.pull(chest.study, kind="dicomweb", url=url)
    assert (done.here_before, done.came, done.missing) == (7, 3, ())
    objects = [path for path in asked if "?" not in path]
    assert len(objects) == 3
    assert all("/instances/" in path for path in objects)
    assert puller.files() == chest.data_sets
