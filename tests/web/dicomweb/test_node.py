"""DICOMweb of a node that runs: in by STOW-RS, harmonized, and the derived series out by WADO-RS."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import httpx
import pydicom
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from peers import free_port

from node.config import StowDestination
from node.journey import State
from node.send import send
from node.web import tokens
from node.web.roles import Role


def test_a_series_goes_in_and_its_derived_series_comes_out(start_node, data: Path, tmp_path: Path):
    web_port = free_port()
    archive = {"kind": "folder", "name": "archive", "path": str(tmp_path / "archive")}
    node = start_node(web={"port": web_port}, destinations=[archive])
    node.only_rule(plugin="identity")
    with node.database.write() as session:
        token = tokens.add(session, "viewer-1", Role.OPERATOR, actor="test")
    url = f"http://127.0.0.1:{web_port}/dicom-web"
    source = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))[:6]
    assert send(StowDestination(name="node", url=url, token=token), source, lambda _: None) == 6
    (series,) = node.wait(lambda: [row for row in node.series() if row.state == State.DONE], "the series is done")
    study = series.study_instance_uid

    session = create_session()
    session.headers["Authorization"] = f"Bearer {token}"
    viewer = DICOMwebClient(url, session=session)
    found = node.wait(
        lambda: len(all_series := viewer.search_for_series(study)) >= 2 and all_series, "both are found", 15
    )
    by_description = {match["0008103E"]["Value"][0]: match for match in found}
    (harmonized,) = [name for name in by_description if name.startswith("Harmonized")]
    derived = by_description[harmonized]["0020000E"]["Value"][0]
    assert by_description[harmonized]["00201209"]["Value"] == [6]
    written = {path.read_bytes() for path in (tmp_path / "archive").rglob("*.dcm")}
    instances = viewer.search_for_instances(study, derived)
    assert len(instances) == 6
    uid = instances[0]["00080018"]["Value"][0]
    path = f"{url}/studies/{study}/series/{derived}/instances/{uid}"
    answer = httpx.get(path, headers={"Authorization": f"Bearer {token}", "Accept": "application/dicom"}, timeout=30)
    assert answer.content in written
    assert pydicom.dcmread(BytesIO(answer.content)).ImageType[0] == "DERIVED"
    (access,) = node.events("access")
    assert access.detail["series_instance_uid"] == derived
