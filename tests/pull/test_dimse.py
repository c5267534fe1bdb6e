"""Pulling from a real Orthanc by C-GET and by C-MOVE."""

from __future__ import annotations

import pydicom
import pytest

from node.errors import OperatorError, TransientError

WAYS = ["c-get", "c-move"]


def source(pacs, way: str, free_port: int, **more):
    pacs.register("harmonode", "HARMONODE", free_port)
    where = {"kind": "dimse", "ae_title": pacs.aet, "host": "127.0.0.1", "port": pacs.dicom_port}
    return {**where, "retrieve": way, "receive": {"port": free_port}, **more}


@pytest.mark.parametrize("way", WAYS)
def test_a_series_comes_as_it_is_in_the_archive(way: str, orthanc, puller, chest, free_port: int):
    orthanc.upload(*chest.paths[:6])
    archive = source(orthanc, way, free_port)
    seen: list[int] = []
    (first,) = puller.pull(chest.study, chest.series, progress=lambda _uid, here, _all: seen.append(here), **archive)
    assert (first.count, first.came, first.missing) == (6, 6, ())
    assert len(puller.files()) == 6
    (series,) = puller.rows()
    assert (series.instance_count, series.expected_count) == (6, 6)
    assert (series.calling_ae_title, series.called_ae_title, series.address) == (orthanc.aet, "HARMONODE", "127.0.0.1")
    assert (seen[0], seen[-1]) == (0, 6)

    orthanc.upload(*chest.paths[6:])
    (second,) = puller.pull(chest.study, chest.series, **archive)
    assert (second.count, second.came, second.here_before) == (10, 4, 6)
    assert set(puller.files()) == set(chest.data_sets)
    # Orthanc writes data sets anew on their way: every element is the same, not every byte.
    originals = {path.name: pydicom.dcmread(path) for path in chest.paths}
    by_uid = {str(one.SOPInstanceUID): one for one in originals.values()}
    for path in (puller.folder / "spool").glob("*/*/*.dcm"):
        came = pydicom.dcmread(path)
        assert came == by_uid[str(came.SOPInstanceUID)]
    assert puller.rows()[0].expected_count == 10
    assert sum(len(record.detail["instances"]) for record in puller.records("arrival")) == 10


def test_compressed_objects_come_by_get(orthanc, puller, data, free_port: int):
    path = next(
        path for path in sorted((data / "syntaxes" / "wg04").rglob("*")) if "CT1" in path.name and "J2KR" in path.name
    )
    header = pydicom.dcmread(path, stop_before_pixels=True)
    orthanc.upload(path)
    (done,) = puller.pull(str(header.StudyInstanceUID), **source(orthanc, "c-get", free_port))
    assert (done.came, done.missing) == (1, ())
    assert puller.instances()[0].transfer_syntax_uid == header.file_meta.TransferSyntaxUID


def test_a_move_goes_to_a_node_that_runs(orthanc, start_node, chest):
    orthanc.upload(*chest.paths)
    archive = {
        "name": "pacs",
        "kind": "dimse",
        "ae_title": orthanc.aet,
        "host": "127.0.0.1",
        "port": orthanc.dicom_port,
    }
    node = start_node(sources=[{**archive, "retrieve": "c-move"}])
    orthanc.register("harmonode", "HARMONODE", node.config.receive.port)
    done = node.cli("pull", "--from", "pacs", "--study", chest.study, "--series", chest.series)
    assert done.stdout.strip() == f"Series {chest.series}: 10 of 10 instances came."
    (series,) = node.wait_for_rest(1)
    assert (series.instance_count, series.expected_count) == (10, 10)


def test_an_archive_that_refuses_is_told_of(start_orthanc, puller, chest, free_port: int):
    orthanc = start_orthanc()
    orthanc.upload(chest.paths[0])
    where = {"kind": "dimse", "ae_title": orthanc.aet, "host": "127.0.0.1", "port": orthanc.dicom_port}
    # It does not know where we are.
    with pytest.raises(OperatorError, match=rf"1 of 1 instances of series {chest.series} are missing"):
        puller.pull(chest.study, retrieve="c-move", receive={"port": free_port}, **where)
    with pytest.raises(OperatorError, match=r"it has no study 1\.2\.3"):
        puller.pull("1.2.3", **where)
    with pytest.raises(OperatorError, match="no space in the spool"):
        puller.pull(chest.study, **{**where, "receive": {"disk_reserve_mb": 1 << 40}})
    assert puller.files() == {}
    orthanc.stop()
    with pytest.raises(TransientError, match=r"cannot be reached.*run the same command again"):
        puller.pull(chest.study, **where)
