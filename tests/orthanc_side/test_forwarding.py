"""orthanc/orthanc.json and orthanc/harmonode.lua, as they are shipped, in a real Orthanc beside a real node."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import MRImageStorage

from node.journey import State

FOLDER = Path(__file__).parents[2] / "orthanc"
SETTLED_S = 4.0  # stable after one second, told within another, forwarded at once: twice that


def shipped() -> dict[str, Any]:
    """The settings of orthanc.json; Orthanc's JSON may hold comments, ours on lines of their own."""
    text = re.sub(r"(?m)^\s*//.*$", "", (FOLDER / "orthanc.json").read_text())
    settings: dict[str, Any] = json.loads(text)
    return settings


@pytest.fixture
def pacs(start_orthanc, free_port: int) -> Any:
    """Orthanc with the shipped files; only ports, paths and the waiting time are the test's."""
    settings = shipped()
    for ours in ("StorageDirectory", "IndexDirectory", "HttpPort", "DicomPort"):
        del settings[ours]
    settings["LuaScripts"] = [str(FOLDER / script) for script in settings["LuaScripts"]]
    settings["DicomModalities"]["harmonode"]["Port"] = free_port
    settings["StableAge"] = 1
    return start_orthanc(**settings)


@pytest.fixture
def run_node(start_node, pacs) -> Callable[[], Any]:
    def start() -> Any:
        destination = {"kind": "dimse", "name": "pacs", "ae_title": pacs.aet, "host": "127.0.0.1"}
        running = start_node(destinations=[{**destination, "port": pacs.dicom_port}])
        running.only_rule(plugin="identity")
        return running

    return start


def jobs(pacs) -> list[dict[str, Any]]:
    """The forwards that Orthanc has tried."""
    found: list[dict[str, Any]] = pacs.rest("/jobs?expand")
    return [job for job in found if job["Type"] == "DicomModalityStore"]


def said(pacs) -> list[str]:
    """What the script has said about each series, in its order."""
    return re.findall(r"Lua says: (.*)\n", pacs.log.read_text(errors="replace"))


def wait(until: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until a condition holds; the test asserts what it waited for."""
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_a_chest_goes_to_the_node_and_its_derived_series_stays(pacs, run_node, data: Path):
    node = run_node()
    source = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    pacs.upload(*source)
    (series,) = node.wait(lambda: [row for row in node.series() if row.state == State.DONE], "the series is done")
    assert series.instance_count == 30

    (study,) = pacs.rest("/studies?expand")
    assert len(study["Series"]) == 2
    held = [pacs.rest(f"/series/{name}") for name in study["Series"]]
    assert [len(one["Instances"]) for one in held] == [30, 30]
    (derived,) = [
        uid for one in held if (uid := one["MainDicomTags"]["SeriesInstanceUID"]) != series.series_instance_uid
    ]
    node.wait(lambda: [line for line in said(pacs) if derived in line], "the script has seen the derived series")
    time.sleep(SETTLED_S)
    assert [line for line in said(pacs) if derived in line] == [
        f"Series {derived} is not forwarded to harmonode: its Image Type (0008,0008) says DERIVED"
    ]
    assert len(jobs(pacs)) == 1
    assert [row.series_instance_uid for row in node.series()] == [series.series_instance_uid]
    assert len(node.events("arrival")) >= 1
    assert {row.series_instance_uid for row in node.events("arrival")} == {series.series_instance_uid}
    assert len(pacs.rest("/series")) == 2


def test_what_is_not_original_ct_stays(pacs, data: Path, crafted):
    def mri(made: Dataset, _index: int) -> None:
        made.Modality, made.SOPClassUID = "MR", MRImageStorage
        made.file_meta.MediaStorageSOPClassUID = MRImageStorage
        made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.3.77", "1.2.3.77.1"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    def relabelled(made: Dataset, _index: int) -> None:
        contribution = Dataset()
        contribution.Manufacturer, contribution.ManufacturerModelName = "harmonode", "harmonode ct_harmonizer"
        made.ContributingEquipmentSequence = [contribution]
        made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.3.88", "1.2.3.88.1"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    localizer = next(path for path in (data / "phantom" / "head-localizer").iterdir() if path.suffix == ".dcm")
    perfusion = data / "odd" / "enhanced-ct-perfusion.dcm"
    reasons = {
        str(pydicom.dcmread(localizer, stop_before_pixels=True).SeriesInstanceUID): "LOCALIZER",
        str(pydicom.dcmread(perfusion, stop_before_pixels=True).SeriesInstanceUID): "DERIVED",
        "1.2.3.77": "Modality (0008,0060) is MR",
        "1.2.3.88": "harmonode has made it",
    }
    pacs.upload(localizer, perfusion, crafted.one(change=mri))
    pacs.upload(crafted.one(change=relabelled))
    wait(lambda: all(any(f"Series {uid} " in line for line in said(pacs)) for uid in reasons))
    for uid, reason in reasons.items():
        (line,) = [line for line in said(pacs) if f"Series {uid} " in line]
        assert "is not forwarded to harmonode" in line
        assert reason in line
    assert jobs(pacs) == []


def test_a_series_waits_for_a_node_that_is_down(pacs, run_node, data: Path, crafted):
    pacs.upload(*sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm")))
    pacs.upload(crafted.one())
    wait(lambda: [job["State"] for job in jobs(pacs)] == ["Failure"] * 2)
    assert [job["State"] for job in jobs(pacs)] == ["Failure"] * 2
    assert any("failed and will be tried again" in line and "Connection refused" in line for line in said(pacs))

    # Orthanc is restarted, and still knows what waits.
    pacs.stop()
    pacs.start()
    node = run_node()
    pacs.upload(data / "odd" / "enhanced-ct-perfusion.dcm")  # nothing for the node, but a beat of the heart
    node.wait_for_rest(2)
    assert sorted(row.instance_count for row in node.series()) == [1, 30]
    assert {job["State"] for job in jobs(pacs)} == {"Success"}


def test_the_heart_beat_of_newer_orthancs_tries_again(start_orthanc, start_node, free_port: int, data: Path):
    """Debian's Orthanc has no heart beat yet: it is called by hand here, as the newer ones do every minute."""
    settings = {"DicomModalities": shipped()["DicomModalities"], "ExecuteLuaEnabled": True}
    settings["DicomModalities"]["harmonode"]["Port"] = free_port
    pacs = start_orthanc(LuaScripts=[str(FOLDER / "harmonode.lua")], **settings)
    source = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    pacs.upload(source[0])
    # By hand, as the script's head says.
    (series,) = pacs.rest("/series")
    httpx.post(f"{pacs.url}/modalities/harmonode/store", content=series, timeout=30)
    wait(lambda: [job["State"] for job in jobs(pacs)] == ["Failure"] * 2)
    assert [job["State"] for job in jobs(pacs)] == ["Failure"] * 2
    node = start_node()

    httpx.post(f"{pacs.url}/tools/execute-script", content="OnHeartBeat()", timeout=30).raise_for_status()
    (arrived,) = node.wait(node.series, "the series has arrived")
    assert arrived.instance_count == 1
    node.wait(lambda: {job["State"] for job in jobs(pacs)} == {"Success"}, "the other has followed")
