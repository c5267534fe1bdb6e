"""Plugins that misbehave, each in a real worker: the series ends in a state with a reason, and the node goes on."""

from __future__ import annotations

import re

import numpy as np
import pytest
from crafted import Crafted
from running import install_plugin

from node.journey import State

PLUGIN = """
import os, time
import numpy as np
from pydantic import BaseModel
from node.plugin import Measurement, Method, Report, Verdict

class Wicked:
    name, version = "wicked", "1"
    class Parameters(BaseModel):
        pass
    def measure(self, volume, parameters):
        return Measurement()
    def method(self, measurement, parameters):
        return Method("wicked", "1", "as its series says", "00")
    def harmonize(self, volume, measurement, parameters):
        told = volume.headers[0]["SeriesDescription"]
        hoard = []
        for index, hu in enumerate(volume.hu):
            if index == 1:
                match told:
                    case "hangs":
                        while True:
                            time.sleep(0.1)
                    case "leaks":
                        while True:
                            hoard.append(np.ones(1 << 22))
                    case "aborts":
                        os.abort()
                    case "nan":
                        hu = np.full_like(hu, np.nan)
                    case "shape":
                        hu = hu[:-1]
                    case "few":
                        return
                    case "writes":
                        volume.hu[0] += 1
                    case "raises":
                        raise KeyError("SliceThickness")
            yield hu[:, ::-1] if told == "mirrors" else hu
    def check(self, volume, harmonized, measurement, parameters):
        return Verdict(True)
    def report(self, volume, harmonized, measurement, parameters, verdict):
        return Report()
"""

AT_ONCE = {
    "nan": "pixels that are no numbers in slice 2 of 3",
    "shape": r"returned shape \(63, 64\) for slice 2 of 3",
    "few": "returned 1 slices for the 3",
    "writes": "read-only",
    "raises": "KeyError: 'SliceThickness'",
    "mirrors": "changed the geometry .* fits its source better when it is mirrored left to right",
}
ENDS_THE_WORKER = {
    "hangs": "harmonizing took longer than 8 s and was stopped",
    "leaks": r"harmonizing used \d+ MiB of memory and was stopped: 700 MiB are allowed",
    "aborts": "worker worker-0 was lost while the series was harmonizing, the 3rd one with this job",
}
BEHAVES = {"behaves": "is delivered to out"}


@pytest.fixture
def told_series(tmp_path):
    """Writes a series of three slices that tells the plugin what to do; returns its paths and its UID."""

    def write(behaviour: str, number: int):
        picture = np.random.default_rng(number).integers(0, 2000, (64, 64)).astype(np.uint16)
        uid = f"1.2.3.{number + 10}"

        def change(made, index: int) -> None:
            made.SeriesInstanceUID, made.SeriesDescription = uid, behaviour
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{index}"
            made.PixelData = picture.tobytes()

        return Crafted(tmp_path / behaviour).series(3, change, side=64), uid

    return write


@pytest.fixture
def node(start_node, environment, tmp_path):
    install_plugin(tmp_path / "site", "wicked", "Wicked", PLUGIN)
    running = start_node(
        complete={"quiet_s": 0.5},
        process={"step_timeout_s": 8, "memory_limit_mb": 700},
        destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}],
    )
    running.only_rule(plugin="wicked")
    return running


@pytest.mark.parametrize("behaviours", [AT_ONCE, ENDS_THE_WORKER], ids=["at once", "ends the worker"])
def test_each_ends_with_a_reason_and_the_node_goes_on(node, told_series, behaviours):
    expected, uids = {**behaviours, **BEHAVES}, {}
    for number, behaviour in enumerate(expected):
        paths, uids[behaviour] = told_series(behaviour, number)
        node.store(paths)
    series = {one.series_instance_uid: one for one in node.wait_for_rest(len(uids), seconds=200)}
    for behaviour, uid in uids.items():
        assert re.search(expected[behaviour], series[uid].reason), (behaviour, series[uid].reason)
        assert series[uid].state == (State.DONE if behaviour in BEHAVES else State.FAILED)
        assert series[uid].reason in {row.message for row in node.events() if row.series_instance_uid == uid}
    first = next(iter(uids))
    assert re.search(expected[first], node.cli("series", "show", uids[first]).stdout)
    assert len(list((node.folder.parent / "out").glob("*/*.dcm"))) == 3, "of the one that behaves, and of no other"
    node.verify_audit()
