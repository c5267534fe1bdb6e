"""The port: takes connections, each into a thread of its own, and keeps so many of them out that peers find a place."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections import Counter
from typing import Any

import structlog

from node import tls
from node.config import Receive
from node.dicom.pdu import Wire
from node.receive.admission import Caller, Rejection, judge_association
from node.receive.association import LEAVE_S, Association, Ending, Terms
from node.receive.negotiate import Agreed
from node.receive.services import Service
from node.receive.throttle import Throttle

_log = structlog.get_logger(__name__)

_BACKLOG = 128
_ARTIM_S = 10.0
_LOOK_S = 1.0  # how often the throttle is looked at
_WAITING_AT_AN_ADDRESS = 256  # connections without an association that one address may have
_WAITING = 512  # and all of them together
_MAX_REQUEST_BYTES = 1 << 20  # also of a P-DATA-TF, from a peer that takes no notice of what is announced


class Door:
    """Listens, and serves whoever is let in until it is shut."""

    def __init__(self, settings: Receive, services: list[Service], throttle: Throttle) -> None:
        self._settings, self._throttle = settings, throttle
        self._tls = tls.server_context(settings.tls) if settings.tls else None
        self._terms = Terms(
            services,
            settings.max_pdu_bytes,
            idle_s=settings.idle_timeout_s,
            artim_s=min(_ARTIM_S, settings.idle_timeout_s),
            admit=self._admit,
            agreed=self._agreed,
            ended=self._ended,
        )
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()  # connections by address that have no association yet, or no more
        self._open: set[threading.Thread] = set()  # whose association was admitted
        self._threads: dict[threading.Thread, socket.socket] = {}
        self._woken, self._wake = os.pipe()
        self._shut = threading.Event()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self._listener = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
        self._listener.settimeout(_LOOK_S)
        self._thread = threading.Thread(target=self._listen, name="door", daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def listening(self) -> bool:
        """Whether the port is open and somebody takes what comes."""
        return self._thread.is_alive() and not self._shut.is_set()

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Give the port back, of a door that was never opened."""
        self._listener.close()
        for descriptor in (self._wake, self._woken):
            os.close(descriptor)

    def shut(self) -> None:
        """Take no more connections; let each association come to the end of its message, then release it."""
        self._shut.set()
        os.close(self._wake)  # every thread that waits for its peer sees it
        self._thread.join()
        self._listener.close()
        until = time.monotonic() + LEAVE_S + 1
        for thread in self._left():
            thread.join(max(0.0, until - time.monotonic()))
        for connection in list(self._threads.values()):
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._left():
            thread.join(1)
        os.close(self._woken)

    def _left(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._threads)

    def _listen(self) -> None:
        while not self._shut.is_set():
            self._throttle.flush()
            try:
                connection, where = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:  # no descriptor left, or the peer was gone before it was taken
                _log.warning("a connection could not be taken", error=error.strerror)
                self._shut.wait(_LOOK_S / 10)
                continue
            self._take(connection, str(where[0]))

    def _take(self, connection: socket.socket, address: str) -> None:
        with self._lock:
            full = self._waiting[address] >= _WAITING_AT_AN_ADDRESS or self._waiting.total() >= _WAITING
            if not full:
                self._waiting[address] += 1
        if full:
            connection.close()
            waiting = f"{self._waiting[address]} of its connections, {self._waiting.total()} in all, ask for nothing"
            self._throttle.note(("waiting", address), f"a connection from {address} was closed: {waiting}")
            return
        thread = threading.Thread(target=self._serve, args=(connection, address), name=f"from {address}", daemon=True)
        with self._lock:
            self._threads[thread] = connection
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had
            _log.error("a connection could not be served", address=address, error=str(error))
            self._forget(thread, address)
            connection.close()

    def _serve(self, connection: socket.socket, address: str) -> None:
        thread = threading.current_thread()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a response waits for about 45 ms
            names: frozenset[str] = frozenset()
            if self._tls is not None:
                connection, names = self._shake_hands(self._tls, connection)
            wire = Wire(connection, max(self._settings.max_pdu_bytes, _MAX_REQUEST_BYTES), self._woken)
            Association(wire, self._terms, address, names).run()
        except (OSError, ssl.SSLError) as error:
            what = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or str(error)
            if not self._shut.is_set():
                self._throttle.note(
                    ("tls", address, what), f"no TLS connection with {address}: {what}", address=address
                )
        except Exception:  # noqa: BLE001 - whatever goes wrong with one association, the others go on
            _log.exception("an association failed", address=address)
        finally:
            connection.close()
            self._forget(thread, address)

    def _shake_hands(self, context: ssl.SSLContext, connection: socket.socket) -> tuple[socket.socket, frozenset[str]]:
        connection.settimeout(self._terms.artim_s)
        secure = context.wrap_socket(connection, server_side=True)
        with self._lock:
            self._threads[threading.current_thread()] = secure
        return secure, tls.names(secure)

    def _forget(self, thread: threading.Thread, address: str) -> None:
        with self._lock:
            self._threads.pop(thread, None)
            if thread in self._open:
                self._open.discard(thread)
            else:
                self._no_longer_waits(address)

    def _no_longer_waits(self, address: str) -> None:
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]

    def _admit(self, caller: Caller) -> Rejection | None:
        with self._lock:
            rejection = judge_association(self._settings, caller, len(self._open))
            if rejection is None:
                self._open.add(threading.current_thread())
                self._no_longer_waits(caller.address)
        if rejection is None:
            _log.info("association", calling_ae_title=caller.calling_ae_title, address=caller.address)
            return None
        numbers = f"{rejection.result}/{rejection.source}/{rejection.diagnostic}"
        message = f"association of {caller.calling_ae_title!r} at {caller.address} rejected: {rejection.reason}"
        self._throttle.note((numbers, caller.address), message, **_who(caller), rejection=numbers)
        return rejection

    def _agreed(self, caller: Caller, agreed: Agreed) -> None:
        """A peer may offer more than we take; one from which we take nothing must be told of, or it looks like a fault."""
        if agreed.contexts:
            return
        offered = ", ".join(sorted({uid.name for uid in agreed.refused})) or "no presentation context"
        message = f"nothing that {caller.calling_ae_title!r} at {caller.address} offers is stored here: {offered}"
        self._throttle.note(
            ("offer", caller.address), message, **_who(caller), offered=sorted({str(uid) for uid in agreed.refused})
        )

    def _ended(self, caller: Caller, ending: Ending) -> None:
        who = f"{caller.calling_ae_title!r} at {caller.address}" if caller.calling_ae_title else caller.address
        if not ending.ours and ending.lost is None:
            _log.info("association ended", **_who(caller), why=ending.why, answered=ending.answered)
            return
        message = f"the association of {who} ended after {ending.answered} answers: {ending.why}"
        if ending.lost is not None:
            message += (
                f"; instance {ending.lost or 'of unknown UID'} was not whole and is not kept: it must be sent again"
            )
        detail = _who(caller) | ({"sop_instance_uid": ending.lost} if ending.lost else {})
        self._throttle.note(("ended", caller.address, ending.why), message, **detail)


def _who(caller: Caller) -> dict[str, Any]:
    return {
        "calling_ae_title": caller.calling_ae_title,
        "called_ae_title": caller.called_ae_title,
        "address": caller.address,
    }
