"""Where the skin cannot be trusted, the rule decides: the named kernel's curve, told everywhere, or no harmonized series."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pydicom

from node.journey import State

FOLDER = Path("chest", "lung-dx-a0002-b70f")  # slices of 8 mm


def test_a_rule_may_refuse_what_cannot_be_measured(start_node, data: Path, tmp_path: Path):
    node = start_node(destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}])
    node.only_rule(plugin="ct_harmonizer", parameters={"fallback": "refuse"})
    node.store(data / FOLDER)
    (series,) = node.wait_for_rest()
    assert State(series.state) is State.REFUSED
    assert re.search("cannot be measured at the skin: slices of 8 mm.*not harmonized", series.reason), series.reason
    assert not list((tmp_path / "out").rglob("*.dcm"))
    node.verify_audit()


def test_a_table_s_curve_is_marked_wherever_it_is_told(start_node, data: Path, tmp_path: Path):
    node = start_node(destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}])
    node.only_rule(plugin="ct_harmonizer", parameters={"mode": "classical", "fallback": "kernel_table"})
    node.store(data / FOLDER)
    (series,) = node.wait_for_rest(seconds=150)
    assert State(series.state) is State.DONE, series.reason

    (report,) = node.config.derived_dir.rglob("report.json")
    notes = " ".join(json.loads(report.read_text())["notes"])
    assert "not measured but taken from the kernel table Siemens B70f" in notes
    assert "slices of 8 mm" in notes
    (measured,) = node.events("measurement")
    assert "f50 by kernel table, not measured 0.75 /mm" in measured.message

    told = str(pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm"))).DerivationDescription)
    assert "not measured but taken from the kernel table Siemens B70f, since: slices of 8 mm" in told
    assert told.count("0.75 ") == 1
    assert "noise 40.4 HU" in told
    assert "[hnsf'U]" not in told
    node.verify_audit()
