"""Sending by C-STORE, and asking by C-FIND."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog
from pydicom import Dataset

from node.config import ClientTLS, DimseDestination
from node.dicom import scu
from node.dicom.commitment import Report, Request
from node.dicom.outgoing import Outgoing, examine
from node.dicom.statuses import StoreStatus
from node.errors import OperatorError
from node.send.tally import Held, Tally, refusal
from node.tls import client_context

_REPORT_S = 1.0  # some report at once on the association of the request; most open one of their own

log = structlog.get_logger(__name__)


def peer(destination: DimseDestination) -> scu.Peer:
    return scu.Peer(
        destination.ae_title,
        destination.host,
        destination.port,
        destination.calling_ae_title,
        destination.timeout_s,
        client_context(destination.tls) if destination.tls else None,
    )


def send(destination: DimseDestination, paths: Sequence[Path], tally: Tally) -> None:
    """Store every file, in one association unless it breaks; compressed where that is asked for and the peer takes it.

    An instance whose response does not come is sent once more in a new association: a peer that has it already
    answers the same.
    """
    instances = [examine(path, destination.compression) for path in paths]
    contexts = scu.storage_contexts(instances)
    there = peer(destination)
    with ExitStack() as stack:
        requestor = stack.enter_context(scu.associate(there, contexts))
        _tell_what_is_not_compressed(destination, instances, requestor)
        for instance in instances:
            try:
                status, comment = requestor.store(instance)
            except scu.NoResponse as error:
                log.warning(
                    "no response to a store; sent once more in a new association",
                    destination=destination.name,
                    sop_instance_uid=instance.sop_instance_uid,
                    error=str(error),
                )
                stack.close()
                requestor = stack.enter_context(scu.associate(there, contexts))
                status, comment = requestor.store(instance)
            _judge(destination, instance, status, comment)
            tally.accepted()


def _tell_what_is_not_compressed(
    destination: DimseDestination, instances: Sequence[Outgoing], requestor: scu.Requestor
) -> None:
    wanted = {(instance.sop_class_uid, instance.compressed_syntax_uid) for instance in instances}
    if any(syntax and not requestor.takes(sop_class, syntax) for sop_class, syntax in wanted):
        log.warning(
            "the destination does not take the compression that the configuration asks for: sent uncompressed",
            destination=destination.name,
            compression=destination.compression,
        )


def _judge(destination: DimseDestination, instance: Outgoing, status: StoreStatus, comment: str) -> None:
    if not status.stored:
        raise refusal(status, instance.sop_instance_uid, comment)
    if status.outcome == "warning":
        log.warning(
            "the destination stored an instance with a warning",
            destination=destination.name,
            sop_instance_uid=instance.sop_instance_uid,
            status=str(status),
            comment=comment,
        )


def confirm(
    destination: DimseDestination, study_instance_uid: str, series_instance_uid: str, enough: int = 0
) -> Held | None:
    """What the destination holds of the series; None where it is not to be asked.

    UIDs are asked for only where the count is enough: there may be others among them.
    """
    if destination.confirm == "none":
        return None
    return _held(peer(destination), study_instance_uid, series_instance_uid, enough)


def commit(destination: DimseDestination, request: Request) -> Report | None:
    """Storage commitment, PS3.4 annex J."""
    with scu.associate(peer(destination), scu.COMMITMENT_CONTEXTS) as requestor:
        return requestor.commit(request, _REPORT_S)


def count_instances(  # noqa: PLR0917 - in the order of a C-FIND's command line
    host: str,
    port: int,
    ae_title: str,
    calling_ae_title: str,
    study_instance_uid: str,
    series_instance_uid: str,
    *,
    timeout_s: float = 10.0,
    tls: ClientTLS | None = None,
) -> int | None:
    """How many instances a peer says a series has; None where it does not know the series.

    Raises:
        TransientError, OperatorError: it cannot be asked.
    """
    context = client_context(tls) if tls else None
    there = scu.Peer(ae_title, host, port, calling_ae_title, timeout_s, context)
    return _held(there, study_instance_uid, series_instance_uid, None).count or None


def echo(destination: DimseDestination) -> str:
    """C-ECHO."""
    with scu.associate(peer(destination), scu.ECHO_CONTEXTS) as requestor:
        requestor.echo()
    return f"{peer(destination)} answers C-ECHO"


def _held(there: scu.Peer, study_instance_uid: str, series_instance_uid: str, enough: int | None) -> Held:
    """*Number of Series Related Instances* (0020,1209), PS3.4 Table C.6-3, and SOP Instance UIDs.

    The instances are asked for where that number is not given, or is at least `enough`.
    """
    series = _query("SERIES", study_instance_uid, series_instance_uid)
    series.NumberOfSeriesRelatedInstances = None
    image = _query("IMAGE", study_instance_uid, series_instance_uid)
    image.SOPInstanceUID = None
    with scu.associate(there, scu.FIND_CONTEXTS) as requestor:
        found = _of(series_instance_uid, requestor.find(series))
        told = found[0].get("NumberOfSeriesRelatedInstances") if len(found) == 1 else None
        count = None if told is None else int(told)
        if count is not None and (enough is None or count < max(enough, 1)):
            return Held(count, None)
        try:
            instances = _of(series_instance_uid, requestor.find(image))
        except OperatorError:
            if count is None:
                raise
            instances = []  # it answers at the level of series alone
    uids = {str(match.SOPInstanceUID) for match in instances if match.get("SOPInstanceUID")}
    return Held.these(uids) if uids or count is None else Held(count, None)


def _query(level: str, study_instance_uid: str, series_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = series_instance_uid
    return query


def _of(series_instance_uid: str, matches: list[Dataset]) -> list[Dataset]:
    """A peer that does not know a key answers with all it has."""
    return [match for match in matches if match.get("SeriesInstanceUID", series_instance_uid) == series_instance_uid]
