"""The clock of the node's machine jumps: forward a day, back an hour. Nothing waits for it to catch up."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.journey import State

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


@pytest.fixture
def clock(tmp_path: Path, environment):
    """Sets the clock of the processes that are started: `clock("+1d")`."""
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed: `apt-get install libfaketime` (`make peers`)")
    file = tmp_path / "now"
    file.write_text("+0")
    environment |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }

    def set_to(offset: str) -> None:
        part = file.with_suffix(".part")
        part.write_text(offset)
        part.replace(file)

    return set_to


def test_it_jumps_and_the_node_goes_on(clock, start_node, pacs, crafted):
    node = start_node(complete={"quiet_s": 2}, destinations=[pacs.destination()])
    node.only_rule(plugin="slow", parameters={"seconds_a_slice": 0.3})
    for offset, count in (("+1d", 3), ("-1h", 6), ("+0", 9)):
        node.store(crafted.series(count)[count - 3 :])
        node.wait(lambda count=count: node.series() and node.series()[0].instance_count == count, "they are indexed")
        clock(offset)  # while the series is received
        node.wait(lambda: node.series()[0].state == State.HARMONIZING, f"it is worked on after {offset}", 60)
        clock("+2h" if offset == "-1h" else "-2h")  # while a worker has it
        node.wait(lambda: node.series()[0].state == State.DONE, f"it is done after {offset}", 60)
        assert len(pacs.held) == count
    assert len(pacs.series_seen) == 1, "late slices belong to the same series"
    assert len(node.events("derivation")) == 3
    assert node.events("failure") == []
    node.verify_audit()
