"""orthanc/harmonode.py, as it is shipped, in a real Orthanc with the Python plugin: the REST call, and the button."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from peers import DICOMWEB

FOLDER = Path(__file__).parents[2] / "orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")


@pytest.fixture
def pacs(start_orthanc, free_port: int) -> Any:
    if not PLUGIN.exists():
        pytest.skip(f"{PLUGIN} is not installed: this test needs Orthanc's Python plugin (`make peers` says how)")
    modality = {"AET": "HARMONODE", "Host": "127.0.0.1", "Port": free_port}
    return start_orthanc(
        Plugins=[str(DICOMWEB), str(PLUGIN)],
        PythonScript=str(FOLDER / "harmonode.py"),
        DicomModalities={"harmonode": modality},
    )


def post(pacs: Any, series: str) -> httpx.Response:
    return httpx.post(f"{pacs.url}/series/{series}/harmonize", content="", timeout=30)


def test_a_series_is_sent_by_hand(pacs, start_node, data: Path):
    node = start_node()
    pacs.upload(*sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))[:3])
    (series,) = pacs.rest("/series")
    answer = post(pacs, series)
    assert answer.status_code == 200, answer.text
    job = answer.json()["ID"]
    node.wait(lambda: pacs.rest(f"/jobs/{job}")["State"] == "Success", "the job is done")
    (arrived,) = node.wait(node.series, "the series has arrived")
    assert arrived.instance_count == 3
    assert "is sent to harmonode by hand" in pacs.log.read_text(errors="replace")


def test_what_must_not_be_sent_stays_and_says_why(pacs, data: Path):
    pacs.upload(data / "odd" / "enhanced-ct-perfusion.dcm")
    (series,) = pacs.rest("/series")
    answer = post(pacs, series)
    assert answer.status_code == 409
    assert answer.json()["Details"] == "The series is not sent: its Image Type (0008,0008) says DERIVED"
    assert post(pacs, "0-0-0-0-0").status_code == 404
    assert httpx.get(f"{pacs.url}/series/{series}/harmonize", timeout=30).status_code == 405
    assert pacs.rest("/jobs") == []


@pytest.fixture
def page(chromium) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1100, "height": 900})
    yield opened
    opened.close()


def test_orthanc_explorer_has_the_button(pacs, start_node, data: Path, page, tmp_path: Path):
    node = start_node()
    pacs.upload(*sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))[:2])
    (series,) = pacs.rest("/series")
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
    page.goto(f"{pacs.url}/app/explorer.html#series?uuid={series}")
    page.get_by_text("Harmonize", exact=True).wait_for()
    page.screenshot(path=tmp_path / "explorer.png")
    with page.expect_event("dialog"):
        page.get_by_text("Harmonize", exact=True).click()
    (arrived,) = node.wait(node.series, "the series has arrived")
    assert arrived.instance_count == 2
    assert said == ["The series is on its way to harmonode; what its rules select comes back into this study."]
