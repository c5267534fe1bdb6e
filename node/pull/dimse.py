"""Pulling by C-GET, or by C-MOVE to the node's own AE title, asking by C-FIND."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom import Dataset

from node.config import Config, DimseSource
from node.dicom import scu
from node.dicom.associations import CT_STORAGE
from node.dicom.part10 import FileMeta
from node.dicom.retrieve import MOVE_CONTEXTS, Coming, Retriever, Sink, get_contexts
from node.errors import OperatorError
from node.pull.route import Hands, Offered
from node.receive import Receiver
from node.receive.scp import require_port
from node.store.session import Database
from node.tls import client_context

_IN_ONE_REQUEST = 100  # UIDs
_LOOK_EVERY_S = 0.5


@contextmanager
def open_route(source: DimseSource, config: Config, database: Database) -> Iterator[DimseRoute]:
    """One association for all that is asked."""
    tls = client_context(source.tls) if source.tls else None
    there = scu.Peer(source.ae_title, source.host, source.port, source.calling_ae_title, source.timeout_s, tls)
    moves = source.retrieve == "c-move"
    contexts, roles = (MOVE_CONTEXTS, ()) if moves else (get_contexts(), CT_STORAGE)
    with scu.associate_as(Retriever, there, contexts, roles) as retriever:
        if moves:
            with _listening(config, database):
                yield DimseRoute(source, config.receive.ae_title, retriever)
        else:
            yield DimseRoute(source, config.receive.ae_title, retriever)


@contextmanager
def _listening(config: Config, database: Database) -> Iterator[None]:
    """What is moved must be received: by the node where it runs, else by this process."""
    try:
        require_port(config.receive)
    except OperatorError:
        yield
        return
    receiver = Receiver(config, database)
    receiver.start()
    try:
        yield
    finally:
        receiver.stop()


class DimseRoute:
    """As route.Route."""

    def __init__(self, source: DimseSource, ae_title: str, retriever: Retriever) -> None:
        self._source, self._ae_title, self._retriever = source, ae_title, retriever

    def series(self, study_instance_uid: str) -> Sequence[Offered]:
        query = _identifier("SERIES", StudyInstanceUID=study_instance_uid, SeriesInstanceUID="", Modality="")
        query.NumberOfSeriesRelatedInstances = None
        return [
            Offered(str(match.SeriesInstanceUID), str(match.get("Modality") or ""), _count(match))
            for match in self._retriever.find(query)
        ]

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> Sequence[str]:
        query = _identifier(
            "IMAGE", StudyInstanceUID=study_instance_uid, SeriesInstanceUID=series_instance_uid, SOPInstanceUID=""
        )
        return [str(match.SOPInstanceUID) for match in self._retriever.find(query)]

    def fetch(
        self, study_instance_uid: str, series_instance_uid: str, missing: Sequence[str], *, whole: bool, hands: Hands
    ) -> None:
        of_it = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        if whole:
            self._retrieve(_identifier("SERIES", **of_it), hands)
            return
        for start in range(0, len(missing), _IN_ONE_REQUEST):
            uids = list(missing[start : start + _IN_ONE_REQUEST])
            self._retrieve(_identifier("IMAGE", **of_it, SOPInstanceUID=uids), hands)

    def _retrieve(self, identifier: Dataset, hands: Hands) -> None:
        if self._source.retrieve == "c-get":

            def receive(coming: Coming) -> Sink:
                return hands.open(
                    FileMeta(
                        coming.sop_class_uid,
                        coming.sop_instance_uid,
                        coming.transfer_syntax_uid,
                        self._source.ae_title,
                        self._ae_title,
                        self._source.host[:64],
                    )
                )

            self._retriever.get(identifier, receive)
            return
        looked_at = time.monotonic()
        for _ in self._retriever.move(identifier, self._ae_title):
            if time.monotonic() - looked_at > _LOOK_EVERY_S:
                hands.arrived()
                looked_at = time.monotonic()
        hands.arrived()


def _identifier(level: str, **values: str | list[str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


def _count(match: Dataset) -> int | None:
    try:
        return int(match.NumberOfSeriesRelatedInstances)
    except (AttributeError, TypeError, ValueError):
        return None
