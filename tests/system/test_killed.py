"""kill -9 of the node while it receives, harmonizes and sends: one derived series, complete, no audit gap."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest
from pacs import Pacs

from node.errors import HarmonodeError
from node.journey import WORKING, State

SLICES = 30


@pytest.fixture
def node(start_node, pacs: Pacs):
    pacs.store_s = 0.1
    # Between the kill and the rest of the series a busy machine takes seconds, which are none of its quiet time.
    running = start_node(destinations=[pacs.destination()], complete={"quiet_s": 5})
    running.only_rule(plugin="slow")
    return running


def test_while_receiving(node, pacs: Pacs, data: Path):
    source = sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm"))
    acknowledged: list[int] = []

    def store() -> None:
        with suppress(HarmonodeError):  # the node dies under it, as it shall
            acknowledged.extend(node.store([path]) for path in source)

    sender = threading.Thread(target=store)
    sender.start()
    node.wait(lambda: len(acknowledged) >= 10, "ten acknowledged instances")
    node.kill()
    sender.join()
    before = len(acknowledged)
    assert 10 <= before < SLICES
    node.start()
    (series,) = node.wait(lambda: [row for row in node.series() if row.instance_count >= before], "the index caught up")
    # An instance that was durable but not yet acknowledged may be there too.
    assert series.instance_count in {before, before + 1}
    node.store(source[before:])
    finished(node, pacs)


def test_while_harmonizing(node, pacs: Pacs, data: Path):
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    node.wait(lambda: [row for row in node.series() if row.state == State.HARMONIZING], "harmonizing")
    node.kill()
    assert pacs.held == {}
    node.start()
    finished(node, pacs)


def test_while_sending(node, pacs: Pacs, data: Path):
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    node.wait(lambda: len(pacs.held) >= 8, "eight instances sent")
    node.kill()
    assert 8 <= len(pacs.held) < SLICES
    node.start()
    finished(node, pacs)


def finished(node, pacs: Pacs) -> None:
    """Exactly one derived series, complete, confirmed, and no audit gap."""
    node.wait(lambda: [row for row in node.series() if row.state == State.DONE], "the series is done")
    (series,) = node.series()
    assert series.instance_count == SLICES
    assert len(pacs.held) == SLICES
    assert len(set(pacs.held.values())) == 1
    moves = [row.detail["to"] for row in node.events() if "to" in row.detail]
    assert moves == ["complete", "queued", *WORKING, "done"], "every step once, in its order"
    assert sum(len(row.detail["instances"]) for row in node.events("arrival")) == SLICES
    node.verify_audit()
