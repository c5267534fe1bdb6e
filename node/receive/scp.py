"""The node as a service class provider: who may open an association, and what is answered to C-STORE and C-ECHO."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import structlog
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from node.config import Config, Receive
from node.dicom.associations import send_at_once, storage_contexts
from node.dicom.part10 import FileMeta
from node.dicom.streaming import StreamingDIMSE, read_in_large_pieces
from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.errors import OperatorError
from node.receive.index import Indexer, Reconciled, Refusal, reconcile
from node.receive.intake import Intake, Outcome, Status
from node.store.session import Database
from node.store.spool import Incoming, Spool, SpoolFull
from node.tls import server_context

_log = structlog.get_logger(__name__)

_ACSE_TIMEOUT_S = 30.0
_UNLIMITED = 1 << 20
_MAX_REQUEST_BYTES = 1 << 20  # 128 presentation contexts with every transfer syntax need a fifth of it
_LEAVE_S = 5.0  # how long a stopping node waits for the object that is being stored


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is not opened; the numbers are PS3.8 Table 9-21."""

    result: int
    source: int
    diagnostic: int
    reason: str


def judge_association(
    settings: Receive, calling_ae_title: str, called_ae_title: str, address: str, others: int
) -> Rejection | None:
    """Whether a peer may open an association while `others` are open; None where it may."""
    if settings.check_called_ae_title and called_ae_title != settings.ae_title.strip():
        return Rejection(1, 1, 7, f"it called {called_ae_title!r}, and this is {settings.ae_title!r}")
    where = ip_address(address.partition("%")[0])
    where = getattr(where, "ipv4_mapped", None) or where
    here = [peer for peer in settings.peers if any(where in ip_network(network) for network in peer.addresses)]
    if not here:
        return Rejection(1, 1, 3, f"no peer of the configuration (receive.peers) has the address {address}")
    if not any(peer.ae_title in ("*", calling_ae_title) for peer in here):
        return Rejection(1, 1, 3, f"no peer of the configuration (receive.peers) at {address} is {calling_ae_title!r}")
    if others >= settings.max_associations:
        return Rejection(2, 3, 2, f"{others} associations are open (receive.max_associations)")
    return None


def require_port(settings: Receive) -> None:
    """Raises OperatorError where the port cannot be opened."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        what = error.strerror or str(error)
        raise OperatorError(
            f"{host}:{port} cannot be opened: {what}; does another node run, or another program that has the port? "
            "Else change receive.host or receive.port"
        ) from error


class _Delivery:
    """The sink of one data set: the spool, and what to tell the sender at the end."""

    def __init__(self, intake: Intake, meta: FileMeta) -> None:
        self._intake, self._meta = intake, meta
        self._incoming: Incoming | None = None
        try:
            self._incoming = intake.open(meta)
        except SpoolFull as error:
            self._full = error

    def write(self, data: bytes) -> None:
        if self._incoming is not None:
            self._incoming.write(data)

    def discard(self) -> None:
        _log.warning(
            "the association ended before an object was answered", sop_instance_uid=self._meta.sop_instance_uid
        )
        if self._incoming is not None:
            self._incoming.discard()

    def refuse(self, reason: str) -> None:
        if self._incoming is not None:
            self._intake.refuse_whole(self._incoming, reason)

    def finish(self) -> Outcome:
        if self._incoming is None:
            return self._intake.full(self._full, self._meta)
        return self._intake.finish(self._incoming)


class Receiver:
    """The receiving side of the node: the port, the spool behind it, and the thread that indexes it."""

    def __init__(self, config: Config, database: Database) -> None:
        self._settings, self._database = config.receive, database
        self.spool = Spool(config.spool_dir, self._settings.disk_reserve_mb << 20)
        self._indexer = Indexer(database)
        self.intake = Intake(self.spool, self._indexer.put)
        self._server: ThreadedAssociationServer | None = None
        self._ae = AE(self._settings.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_pdu_size = self._settings.max_pdu_bytes
        self._ae.network_timeout = self._settings.idle_timeout_s
        self._ae.acse_timeout = min(_ACSE_TIMEOUT_S, self._settings.idle_timeout_s)
        self._ae.maximum_associations = _UNLIMITED  # it counts associations that are just ending; we count ourselves
        self._ae.supported_contexts = storage_contexts()

    @property
    def port(self) -> int:
        """The port that is listened on; of use where the configuration says 0.

        Raises:
            RuntimeError: the receiver is not started.
        """
        if self._server is None:
            raise RuntimeError("the receiver is not started")
        return int(self._server.server_address[1])

    def start(self) -> Reconciled:
        """Take up what the last run left, then open the port.

        Raises:
            OperatorError: the port cannot be opened; nothing is changed, for another node may be using what is there.
        """
        require_port(self._settings)
        self.spool.sweep()
        found = reconcile(self._database, self.spool)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._on_connection),
            (evt.EVT_CONN_CLOSE, _on_close),
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_C_STORE, _on_store),
        ]
        address = (self._settings.host, self._settings.port)
        tls = server_context(self._settings.tls) if self._settings.tls else None
        self._server = self._ae.start_server(address, block=False, evt_handlers=handlers, ssl_context=tls)
        self._indexer.start()
        _log.info("receiving", ae_title=self._settings.ae_title, host=self._settings.host, port=self.port)
        return found

    def stop(self) -> None:
        """Close the port, end the associations, and let the database catch up."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        open_ones = [association for association in server.active_associations if association.is_established]
        for association in open_ones:  # `AE.shutdown` would abort those too that are ending by themselves, and stumble
            association.abort()
        for association in open_ones:
            association.join(_LEAVE_S)
        self._indexer.stop()

    def _on_connection(self, event: evt.Event) -> None:
        send_at_once(event)
        association = event.assoc
        transport = association.dul.socket
        if transport is not None and transport.socket is not None:
            # pynetdicom reads without a time-out: a peer that loses power inside a PDU would hold its thread for ever.
            transport.socket.settimeout(self._settings.idle_timeout_s)
            read_in_large_pieces(transport, max(self._settings.max_pdu_bytes, _MAX_REQUEST_BYTES))
        association.dimse = StreamingDIMSE(association, self._open_sink)

    def _on_request(self, event: evt.Event) -> None:
        association = event.assoc
        calling, called, address = _names(association)
        others = sum(other.is_established for other in self._server.active_associations) if self._server else 0
        rejection = judge_association(self._settings, calling, called, address, others)
        if rejection is None:
            _log.info("association", calling_ae_title=calling, address=address)
            return
        association.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        detail = {
            "calling_ae_title": calling,
            "called_ae_title": called,
            "address": address,
            "rejection": f"{rejection.result}/{rejection.source}/{rejection.diagnostic}",
        }
        _log.warning("association rejected", reason=rejection.reason, **detail)
        self._indexer.put(
            Refusal(f"association of {calling!r} at {address} rejected: {rejection.reason}", detail=detail)
        )
        association.kill()

    def _on_accepted(self, event: evt.Event) -> None:
        """A peer may offer more than we take; one from which we take nothing must be told of, or it looks like a fault."""
        association = event.assoc
        if association.accepted_contexts:
            return
        calling, called, address = _names(association)
        offered = [UID(context.abstract_syntax or "") for context in association.rejected_contexts]
        names = ", ".join(sorted({uid.name for uid in offered}))
        message = f"nothing that {calling!r} at {address} offers is stored here: {names or 'no presentation context'}"
        _log.warning("no presentation context accepted", calling_ae_title=calling, address=address, offered=names)
        detail = {
            "calling_ae_title": calling,
            "called_ae_title": called,
            "address": address,
            "offered": sorted(set(offered)),
        }
        self._indexer.put(Refusal(message, detail=detail))

    def _open_sink(self, association: Association, sop_class: str, sop_instance: str, syntax: str) -> _Delivery:
        calling, called, address = _names(association)
        return _Delivery(self.intake, FileMeta(sop_class, sop_instance, syntax, calling, called, address))


def _on_close(event: evt.Event) -> None:
    if isinstance(event.assoc.dimse, StreamingDIMSE):
        event.assoc.dimse.close()


def _on_store(event: evt.Event) -> Dataset:
    delivery = event.assoc.dimse.take(event.request)  # type: ignore[attr-defined]
    if isinstance(delivery, _Delivery):
        outcome = delivery.finish()
    else:
        outcome = Outcome(Status.CANNOT_UNDERSTAND, "the request has no data set")
    status = Dataset()
    status.Status = int(outcome.status)
    if outcome.comment:
        status.ErrorComment = outcome.error_comment
    return status


def _names(association: Association) -> tuple[str, str, str]:
    """Calling and called AE title and the peer's IP address."""
    request = association.requestor.primitive
    if request is None:
        return "", "", association.requestor.address
    return (
        str(request.calling_ae_title or "").strip(),
        str(request.called_ae_title or "").strip(),
        association.requestor.address,
    )
