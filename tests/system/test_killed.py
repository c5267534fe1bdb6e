"""kill -9 of the node while it receives, harmonizes and sends: one derived series, complete, no audit gap."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind, Verification

from node.errors import HarmonodeError
from node.journey import WORKING, State

SLICES = 30


class SlowPacs:
    """A storage SCP that takes a tenth of a second an instance and answers C-FIND with what it holds."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}  # SOP Instance UID -> Series Instance UID
        self.seconds = 0.1
        entity = AE(ae_title="SLOWPACS")
        for context in (CTImageStorage, StudyRootQueryRetrieveInformationModelFind, Verification):
            entity.add_supported_context(context)
        self.server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        )
        self.port = self.server.socket.getsockname()[1]

    def _store(self, event: Any) -> int:
        threading.Event().wait(self.seconds)
        instance = event.dataset
        self.held[str(instance.SOPInstanceUID)] = str(instance.SeriesInstanceUID)
        return 0x0000

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        found = [sop for sop, series in self.held.items() if series == asked.SeriesInstanceUID]
        for sop in found if asked.QueryRetrieveLevel == "IMAGE" else found[:1]:
            answer = Dataset()
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            answer.SeriesInstanceUID = asked.SeriesInstanceUID
            answer.SOPInstanceUID = sop
            answer.NumberOfSeriesRelatedInstances = len(found)
            yield 0xFF00, answer
        yield 0x0000, None


@pytest.fixture
def pacs() -> Iterator[SlowPacs]:
    slow = SlowPacs()
    yield slow
    slow.server.shutdown()


@pytest.fixture
def node(start_node, pacs: SlowPacs):
    running = start_node(
        destinations=[{"kind": "dimse", "name": "pacs", "ae_title": "SLOWPACS", "host": "127.0.0.1", "port": pacs.port}]
    )
    running.only_rule(plugin="slow")
    return running


def test_while_receiving(node, pacs: SlowPacs, data: Path):
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


def test_while_harmonizing(node, pacs: SlowPacs, data: Path):
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    node.wait(lambda: [row for row in node.series() if row.state == State.HARMONIZING], "harmonizing")
    node.kill()
    assert pacs.held == {}
    node.start()
    finished(node, pacs)


def test_while_sending(node, pacs: SlowPacs, data: Path):
    node.store(data / "chest" / "lung-dx-a0002-b40f")
    node.wait(lambda: len(pacs.held) >= 8, "eight instances sent")
    node.kill()
    assert 8 <= len(pacs.held) < SLICES
    node.start()
    finished(node, pacs)


def finished(node, pacs: SlowPacs) -> None:
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
