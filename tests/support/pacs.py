"""A PACS that fails as PACS do, told by a test what it shall do wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

CLOSE = -1
"""Instead of a status: the association is aborted."""
DROP = 0x0000
"""Success, and the instance is not kept."""


class Pacs:
    """A storage SCP that answers C-FIND with what it holds. A test sets `store` and the delays as it goes."""

    ae_title = "FAULTYPACS"

    def __init__(self) -> None:
        self.held: dict[str, str] = {}  # SOP Instance UID -> Series Instance UID
        self.series_seen: set[str] = set()  # of every request, whatever became of it
        self.asked: dict[str, int] = {}  # SOP Instance UID -> how often it was sent
        self.store: Callable[[str], int | None] = lambda _: None  # of an instance: its status; None keeps it
        self.store_s = self.find_s = 0.0
        entity = AE(ae_title=self.ae_title)
        self.commitments: list[Dataset] = []  # what it was asked to commit itself to; it reports when a test says so
        for context in (
            CTImageStorage,
            StudyRootQueryRetrieveInformationModelFind,
            Verification,
            StorageCommitmentPushModel,
        ):
            entity.add_supported_context(context)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_ACTION, self._action),
        ]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.socket.getsockname()[1]

    def destination(self, name: str = "pacs", **settings: Any) -> dict[str, Any]:
        """How config.yaml names it."""
        where = {"ae_title": self.ae_title, "host": "127.0.0.1", "port": self.port}
        return {"kind": "dimse", "name": name, **where, **settings}

    def report(self, port: int, asked: Dataset, failed: dict[str, int] | None = None) -> int:
        """Report to the node on an association of its own, as its SCP; the status that the node answers with."""
        failed, told = failed or {}, Dataset()
        told.TransactionUID = asked.TransactionUID
        told.ReferencedSOPSequence = [
            item for item in asked.ReferencedSOPSequence if item.ReferencedSOPInstanceUID not in failed
        ]
        told.FailedSOPSequence = []
        for item in asked.ReferencedSOPSequence:
            if item.ReferencedSOPInstanceUID in failed:
                item.FailureReason = failed[item.ReferencedSOPInstanceUID]
                told.FailedSOPSequence.append(item)
        if not told.FailedSOPSequence:
            del told.FailedSOPSequence
        entity = AE(ae_title=self.ae_title)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate("127.0.0.1", port, ae_title="HARMONODE", ext_neg=[role])
        assert association.is_established
        event = 2 if failed else 1
        status, _ = association.send_n_event_report(
            told, event, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()
        return int(status.Status)

    def _action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        self.commitments.append(event.action_information)
        return 0x0000, None

    def _store(self, event: evt.Event) -> int:
        instance = event.dataset
        sop, series = str(instance.SOPInstanceUID), str(instance.SeriesInstanceUID)
        self.asked[sop] = self.asked.get(sop, 0) + 1
        self.series_seen.add(series)
        threading.Event().wait(self.store_s)
        status = self.store(sop)
        if status == CLOSE:
            event.assoc.abort()
            return 0x0110
        if status is None:
            self.held[sop] = series
        return status or 0x0000

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        threading.Event().wait(self.find_s)
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
def start_pacs() -> Iterator[Callable[[], Pacs]]:
    """Starts PACS that do as they are told; stopped when the test ends."""
    with ExitStack() as stack:

        def start() -> Pacs:
            pacs = Pacs()
            stack.callback(pacs.server.shutdown)
            return pacs

        yield start


@pytest.fixture
def pacs(start_pacs: Callable[[], Pacs]) -> Pacs:
    """A PACS without fault until told."""
    return start_pacs()
