"""The main job between real systems: Orthanc forwards a series, the node returns its derived series."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
from pathlib import Path

import httpx
import pydicom

from node.errors import ErrorKind
from node.journey import State


def to_orthanc(orthanc, name: str = "pacs") -> dict:
    return {"kind": "dimse", "name": name, "ae_title": orthanc.aet, "host": "127.0.0.1", "port": orthanc.dicom_port}


def test_orthanc_forwards_a_series_and_finds_the_derived_one(orthanc, start_node, data: Path):
    source = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    node = start_node(destinations=[to_orthanc(orthanc)])
    node.only_rule(plugin="ct_harmonizer")
    orthanc.register("node", "HARMONODE", node.config.receive.port)
    orthanc.upload(*source)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in source]
    original = orthanc.series(str(headers[0].SeriesInstanceUID))

    orthanc.forward("node", original["ID"])
    (series,) = node.wait_for_rest()
    assert (State(series.state), series.instance_count) == (State.DONE, 30), series.reason

    study = orthanc.rest(f"/studies/{original['ParentStudy']}")
    assert len(study["Series"]) == 2
    (derived,) = [orthanc.rest(f"/series/{other}") for other in study["Series"] if other != original["ID"]]
    assert len(derived["Instances"]) == 30
    assert derived["MainDicomTags"]["SeriesDescription"].startswith("Harmonized ")

    found = found_by_dcmtk(orthanc, str(headers[0].StudyInstanceUID))
    assert found.keys() == {headers[0].SeriesInstanceUID, derived["MainDicomTags"]["SeriesInstanceUID"]}
    assert found[derived["MainDicomTags"]["SeriesInstanceUID"]] == "30"

    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    seen = set()
    for instance in derived["Instances"]:
        made = orthanc_instance(orthanc, instance)
        (reference,) = made.SourceImageSequence
        header = by_uid[reference.ReferencedSOPInstanceUID]
        seen.add(reference.ReferencedSOPInstanceUID)
        assert made.FrameOfReferenceUID == header.FrameOfReferenceUID
        assert made.ImagePositionPatient == header.ImagePositionPatient
        assert made.StudyInstanceUID == header.StudyInstanceUID
        assert list(made.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert seen == set(by_uid)

    # The PACS forwards our own output back to us: the node keeps it and harmonizes nothing twice.
    orthanc.forward("node", derived["ID"])
    rested = node.wait_for_rest(2)
    (back,) = [row for row in rested if row.series_instance_uid == derived["MainDicomTags"]["SeriesInstanceUID"]]
    assert State(back.state) is State.PASSED
    assert "never a candidate" in back.reason
    assert len(orthanc.rest(f"/studies/{original['ParentStudy']}")["Series"]) == 2
    node.verify_audit()


def found_by_dcmtk(orthanc, study_instance_uid: str) -> dict[str, str]:
    """What DCMTK's findscu finds of a study: Series Instance UID -> Number of Series Related Instances."""
    answer = subprocess.run(
        [
            "/usr/bin/findscu", "-S", "-aec", orthanc.aet, "127.0.0.1", str(orthanc.dicom_port),
            "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={study_instance_uid}",
            "-k", "SeriesInstanceUID", "-k", "NumberOfSeriesRelatedInstances",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = answer.stdout + answer.stderr
    uids = re.findall(r"\(0020,000e\) UI \[([0-9.]+)", said)
    counts = re.findall(r"\(0020,1209\) IS \[([0-9]+)", said)
    return dict(zip(uids, counts, strict=True))


def orthanc_instance(orthanc, identifier: str) -> pydicom.Dataset:
    answer = httpx.get(f"{orthanc.url}/instances/{identifier}/file", timeout=30)
    return pydicom.dcmread(io.BytesIO(answer.content), stop_before_pixels=True)


def test_each_destination_gets_the_series_and_is_asked(orthanc, storescp, start_node, data: Path, tmp_path: Path):
    folder = tmp_path / "out"
    node = start_node(
        destinations=[
            {"kind": "stow", "name": "web", "url": orthanc.dicomweb_url},
            {"kind": "orthanc", "name": "rest", "url": orthanc.url},
            {"kind": "folder", "name": "folder", "path": str(folder)},
            {
                "kind": "dimse", "name": "scp", "ae_title": storescp.aet, "host": "127.0.0.1", "port": storescp.port,
                "confirm": "none",
            },
        ]
    )  # fmt: skip
    node.only_rule(plugin="identity")
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.DONE, series.reason
    (derivation,) = node.events("derivation")
    deliveries = {row.message for row in node.events("confirmation")}
    assert deliveries
    assert len(storescp.files) == 30
    assert len(list(folder.rglob("*.dcm"))) == 30
    assert derivation.series_instance_uid == series.series_instance_uid


def test_a_late_slice_joins_the_same_derived_series(orthanc, start_node, data: Path):
    source = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    by_position = sorted(
        source, key=lambda path: float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])
    )
    node = start_node(destinations=[to_orthanc(orthanc)])
    node.only_rule(plugin="ct_harmonizer", parameters={"mode": "classical"})
    node.store(by_position[:-1])
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.DONE, series.reason
    (first,) = node.events("derivation")

    node.store(by_position[-1:])
    node.wait(lambda: len(node.events("derivation")) == 2, "a second derivation")
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.DONE, series.reason
    assert len(node.events("measurement")) == 1, "a late slice is harmonized with the same MTF"
    held = [orthanc.rest(f"/series/{name}") for name in orthanc.rest("/series")]
    assert [len(one["Instances"]) for one in held] == [30], "one derived series, complete"
    assert first.detail["derived_series_uid"] == held[0]["MainDicomTags"]["SeriesInstanceUID"]


def test_a_pacs_that_is_down_is_tried_again(orthanc, start_node, data: Path):
    node = start_node(
        destinations=[to_orthanc(orthanc)], process={"retry": {"attempts": 30, "first_delay_s": 0.3, "max_delay_s": 1}}
    )
    node.only_rule(plugin="identity")
    orthanc.stop()
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    node.wait(lambda: node.events("retry"), "a retry")
    orthanc.start()
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.DONE, series.reason
    assert [len(orthanc.rest(f"/series/{name}")["Instances"]) for name in orthanc.rest("/series")] == [30]


def test_a_pacs_that_knows_us_not_waits_for_a_person(start_orthanc, start_node, data: Path):
    orthanc = start_orthanc(DicomCheckCalledAet=True)
    wrong = {**to_orthanc(orthanc), "ae_title": "NOBODY"}
    node = start_node(destinations=[wrong])
    node.only_rule(plugin="identity")
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    (series,) = node.wait_for_rest()
    assert (State(series.state), series.error_kind) == (State.WAITING, str(ErrorKind.OPERATOR))
    assert "NOBODY" in series.reason

    # The person mends the configuration, restarts the node and says: again.
    node.stop()
    node.file.write_text(node.file.read_text().replace("NOBODY", orthanc.aet))
    node.start()
    node.cli("series", "retry", series.series_instance_uid)
    node.wait(lambda: [row for row in node.series() if row.state == State.DONE], "the series is done")
    node.verify_audit()


def test_progress_is_seen_while_it_runs_and_a_person_can_cancel(orthanc, start_node, data: Path):
    node = start_node(destinations=[to_orthanc(orthanc)])
    node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0.6})
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    node.wait(lambda: [row for row in node.series() if row.state == State.HARMONIZING], "harmonizing")

    def progress() -> list[str]:
        shown = json.loads(node.cli("series", "list", "--json").stdout)
        return [row["progress"] for row in shown if row["progress"] and not row["progress"].startswith("0 ")]

    (first,) = node.wait(progress, "progress")
    assert first.endswith(" of 30")
    (series,) = node.series()
    node.cli("series", "cancel", series.series_instance_uid)
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.CANCELLED
    time.sleep(2)  # the worker notices and stops without a word
    assert [State(row.state) for row in node.series()] == [State.CANCELLED]
    assert orthanc.rest("/series") == []
    node.cli("series", "retry", series.series_instance_uid)
    node.wait(lambda: [row for row in node.series() if row.state == State.DONE], "the series is done")
    assert len(orthanc.rest("/instances")) == 30
