"""The receiving side of the node: the port, the spool behind it, and the thread that indexes it."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import structlog

from node.config import Config, Receive
from node.errors import OperatorError
from node.receive.door import Door
from node.receive.index import Indexer, Reconciled, reconcile
from node.receive.intake import Intake
from node.receive.services import VERIFICATION_SERVICE, Service, storage
from node.receive.throttle import Throttle
from node.store.session import Database
from node.store.spool import Spool

_log = structlog.get_logger(__name__)


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


class Receiver:
    """Receives until it is stopped. `services` are served beside Verification and the storage of CT."""

    def __init__(self, config: Config, database: Database, services: Sequence[Service] = ()) -> None:
        self._settings, self._database = config.receive, database
        self.spool = Spool(config.spool_dir, self._settings.disk_reserve_mb << 20)
        self._indexer = Indexer(database)
        self.intake = Intake(self.spool, self._indexer.put)
        self._throttle = Throttle(self._indexer.put)
        self._services = [*storage(self.intake), VERIFICATION_SERVICE, *services]
        self._door: Door | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; of use where the configuration says 0.

        Raises:
            RuntimeError: the receiver is not started.
        """
        if self._door is None:
            raise RuntimeError("the receiver is not started")
        return self._door.port

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._door is not None and self._door.listening

    def start(self) -> Reconciled:
        """Take up what the last run left, then open the port.

        Raises:
            OperatorError: the port or a certificate cannot be used; nothing is changed, for another node may be using
                what is there.
        """
        require_port(self._settings)
        door = Door(self._settings, self._services, self._throttle)
        try:
            self.spool.sweep()
            found = reconcile(self._database, self.spool)
        except BaseException:
            door.close()
            raise
        self._indexer.start()
        door.open()
        self._door = door
        _log.info("receiving", ae_title=self._settings.ae_title, host=self._settings.host, port=self.port)
        return found

    def stop(self) -> None:
        """Close the port, end the associations, and let the database catch up."""
        if self._door is None:
            return
        door, self._door = self._door, None
        door.shut()
        self._throttle.flush(everything=True)
        self._indexer.stop()
