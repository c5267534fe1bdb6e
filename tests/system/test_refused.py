"""What must not be harmonized is refused or passed over, each with its reason; its bytes are kept."""

from __future__ import annotations

import json
import re
import subprocess
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import CTImageStorage

from node.errors import OperatorError
from node.journey import State

STORESCU, ECHOSCU = "/usr/bin/storescu", "/usr/bin/echoscu"


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("phantom/head-ub", "body part|BodyPartExamined|no rule"),
        ("phantom/head-tilted-uneven", "tilt|spacing|no rule"),
        ("phantom/head-localizer", "LOCALIZER|localizer"),
        ("chest/lidc-0002-incomplete", "20|slices|incomplete"),
        ("odd/enhanced-ct-perfusion.dcm", "never a candidate"),
    ],
)
def test_the_shipped_rules_pass_it_over(start_node, data: Path, tmp_path: Path, folder: str, reason: str):
    node = start_node(destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}])
    path = data / folder
    stored = node.store(path if path.is_dir() else [path])
    (series,) = node.wait_for_rest()
    assert State(series.state) in {State.PASSED, State.REFUSED}
    assert re.search(reason, series.reason), series.reason
    assert series.instance_count == stored
    assert len(list(node.config.spool_dir.rglob("*.dcm"))) == stored, "kept"
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    shown = json.loads(node.cli("series", "show", series.series_instance_uid, "--json").stdout)
    assert shown["reason"] == series.reason
    node.verify_audit()


def test_an_object_without_pixels_is_refused(start_node, data: Path, tmp_path: Path):
    node = start_node()
    with pytest.raises(OperatorError, match="accepts none of the presentation contexts"):
        node.store([data / "odd" / "no-pixel-data.dcm"])  # a report: its SOP class is not stored here
    (refusal,) = node.wait(lambda: node.events("refusal"), "an audited refusal")
    assert "Basic Text SR" in refusal.message

    image = pydicom.dcmread(min((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm")))
    del image.PixelData
    image.save_as(tmp_path / "image.dcm")
    node.store([tmp_path / "image.dcm"])
    (series,) = node.wait_for_rest()
    assert State(series.state) in {State.PASSED, State.REFUSED}
    assert "no Pixel Data" in series.reason


def test_a_text_file_is_refused_and_kept(start_node, tmp_path: Path):
    """Sent as the data set of a C-STORE request, below pynetdicom's own checks."""
    node = start_node()
    entity = AE(ae_title="TEXTER")
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", node.config.receive.port, ae_title="HARMONODE")
    assert association.is_established
    text = tmp_path / "notes.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 20)
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = "1.2.3.4.5"
    request.Priority = 2
    request.DataSet = BytesIO(text.read_bytes())
    context = association.accepted_contexts[0]
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert 0xA000 <= answer.Status <= 0xCFFF
    (kept,) = node.wait(node.quarantined, "quarantine")
    assert "1.2.3.4.5" in (kept.sop_instance_uid or kept.reason)
    assert any(
        b"quick brown fox" in file.read_bytes() for file in node.config.quarantine_dir.rglob("*") if file.is_file()
    )
    assert node.series() == []
    node.verify_audit()


@pytest.mark.skipif(not Path(STORESCU).exists(), reason="DCMTK is not installed (`make peers` says how)")
def test_dcmtk_is_answered_and_a_stranger_is_not(start_node, data: Path):
    node = start_node()
    port = str(node.config.receive.port)
    known = [ECHOSCU, "-aec", "HARMONODE", "127.0.0.1", port]
    assert subprocess.run(known, capture_output=True, check=False).returncode == 0
    wrong = subprocess.run(
        [ECHOSCU, "-aec", "SOMEBODY", "127.0.0.1", port], capture_output=True, text=True, check=False
    )
    assert wrong.returncode != 0
    assert "Called AE Title Not Recognized" in wrong.stdout + wrong.stderr
    (refusal,) = node.wait(lambda: node.events("refusal"), "an audited refusal")
    assert "SOMEBODY" in refusal.message
    file = min((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    subprocess.run([STORESCU, "-aec", "HARMONODE", "127.0.0.1", port, str(file)], check=True, capture_output=True)
    node.wait(node.series, "the series in the index")
