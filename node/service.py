"""The composition root: builds the stages, wires them to the database and the clock, and keeps the workers alive."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog
from pydicom.uid import ImplicitVRLittleEndian
from sqlalchemy.orm import Session

import node
from node import audit, catalogue, complete, jumps, retention, select
from node.atna import Shipper
from node.commit import Claim, Commitments, Verdict
from node.config import Config, CountSource
from node.dicom.command import Element, Field
from node.dicom.commitment import PROCESSING_FAILURE, PUSH_MODEL, PUSH_MODEL_INSTANCE
from node.errors import OperatorError
from node.notify import Notifier
from node.queue import Queue, prepare
from node.receive import Receiver
from node.receive.notices import Notice
from node.receive.scp import require_port
from node.receive.services import Answer, Handler, Request, Service, collected
from node.rules import load as rules
from node.schedule import Clock
from node.send import commit, confirm, count_instances, send
from node.send.http import public_url
from node.store.durable import PRIVATE
from node.store.session import Database, DatabaseGone, require_current, sqlite_file, upgrade
from node.store.tables import AuditRecord
from node.workflow import Steps, run_worker

if TYPE_CHECKING:
    from fastapi import FastAPI

    from node.web.server import Server

log = structlog.get_logger(__name__)

SWEEP_S = 0.5
COMPLETE = "complete and select"
COMMITMENT_S = 1.0
RETENTION_S = 30.0
CLEAN_S = 3600.0
_RESTART_DELAY_S = 2.0  # a worker that dies at once must not be restarted in a tight loop


class Node:
    """A running node: receiver, sweeps, workers and web interface. `config_file` is what the workers read too."""

    def __init__(
        self, config: Config, config_file: Path | None = None, give_up: Callable[[], object] = lambda: None
    ) -> None:
        """`give_up` is called once where the node cannot go on; `fault` says why, and `stop` is to be called."""
        self.config, self._give_up, self.fault = config, give_up, ""
        require_port(config.receive)  # first: where another node runs, nothing of its is touched
        self.web = _web_server(config)
        for folder in (config.data_dir, config.derived_dir):
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        upgrade(config.url)
        prepare(config.url)
        self.database = Database(config.url)
        self.queue = Queue(self.database)
        self._seen = complete.Memory()
        self.commitments = Commitments(config, self.database)
        self.receiver = Receiver(config, self.database, [_commitment(self.commitments)])
        self.clock = Clock(self._clock_was_set)
        self.shippers = [Shipper(config, self.database, server) for server in config.audit.servers]
        self.notifier = Notifier(config, self.database)
        self.workers = [Worker(f"worker-{number}", config_file) for number in range(config.process.workers)]

    def start(self) -> None:
        """Put the shipped rules into a new database, take up what the last run left, then open the port."""
        with self.database.write() as session:
            rules.seed(session)
            jumps.witness_start(session)
            witness_start(session, self.config)
        for shipper in self.shippers:
            shipper.start()
        self.receiver.start()
        self.clock.every(SWEEP_S, COMPLETE, self.sweep)
        self.clock.every(SWEEP_S, "catalogue", lambda: catalogue.sweep(self.config, self.database))
        self.clock.every(COMMITMENT_S, "storage commitment", self.commitments.sweep)
        self.clock.every(RETENTION_S, "retention", lambda: retention.sweep(self.config, self.database))
        self.clock.every(CLEAN_S, "work files", lambda: retention.clean_work(self.config, self.database))
        self.clock.start()
        for worker in self.workers:
            worker.start()
        self.notifier.start()
        if self.web:
            self.web.start(self._app())
        log.info("node started", host=self.config.receive.host, port=self.receiver.port, workers=len(self.workers))

    def sweep(self) -> None:
        """Series that have gone quiet become complete; complete series meet the rules."""
        try:
            self.database.require_there()
        except DatabaseGone as error:
            if not self.fault:
                self.fault = str(error)
                log.critical("the node ends", reason=self.fault)
                self._give_up()
            return
        complete.sweep(self.config, self.database, self.config.spool_dir, ask_count=self._ask_count, memory=self._seen)
        select.sweep(self.config, self.database, self.queue)
        if self._seen.due_in_s is not None:
            self.clock.sooner(COMPLETE, self._seen.due_in_s)

    def _clock_was_set(self, moved_s: float) -> None:
        with self.database.write() as session:
            jumps.witness(session, moved_s)

    def stop(self) -> None:
        """Close the ports, let the index catch up, stop the workers; an unfinished job resumes at the next start."""
        if self.web:
            self.web.stop()
        self.receiver.stop()
        self.notifier.stop()
        self.clock.stop()
        for worker in self.workers:
            worker.stop()
        if not self.fault:
            with self.database.write() as session:
                audit.record(session, audit.Event.STOP, f"the node {node.__version__} stopped")
        for shipper in self.shippers:
            shipper.stop()
        self.queue.close()
        self.database.close()

    def _app(self) -> FastAPI:
        """The pages, and the routers of other stages beside them."""
        from node.web import dicomweb
        from node.web.app import create_app
        from node.web.echoes import Echoes
        from node.web.site import Site, signing_key

        echoes, settings = Echoes(self.config), self.config.web
        if settings.echo_every_s:
            self.clock.every(settings.echo_every_s, "echo destinations", echoes.sweep)
        key, probes = signing_key(self.config.data_dir), {"receiving": self._not_receiving}
        site = Site(self.config, self.database, self.queue, key, echoes, probes)
        routers = [dicomweb.router(self.config, self.receiver.intake)] if self.config.dicomweb.enabled else []
        return create_app(site, routers)

    def _not_receiving(self) -> str:
        """Why nobody can store; nothing where the port is open."""
        return "" if self.receiver.listening else "the port is closed: nobody can store"

    def _ask_count(self, source: CountSource, study_instance_uid: str, series_instance_uid: str) -> int | None:
        """How many instances the sender says the series has; None where it does not know the series."""
        ours = self.config.receive.ae_title
        return count_instances(
            source.host, source.port, source.ae_title, ours, study_instance_uid, series_instance_uid, tls=source.tls
        )


def _commitment(commitments: Commitments) -> Service:
    """Storage commitment at the port: a requestor may be its user, who asks, or its provider, who reports."""

    def served(operate: Callable[..., Verdict]) -> Handler:
        def answer(request: Request, data_set: bytes) -> Answer:
            implicit = request.transfer_syntax == ImplicitVRLittleEndian
            try:
                found = operate(request.sender.calling_ae_title, data_set, implicit=implicit)
            except sa.exc.SQLAlchemyError:
                log.exception("storage commitment: the database does not answer")
                found = Verdict(PROCESSING_FAILURE, "the database does not answer")
            elements: dict[int, str | int] = {Element.ERROR_COMMENT: found.comment[:64]} if found.comment else {}
            followup = _ReportHere(found.claim, implicit=implicit) if found.claim else None
            return Answer(found.status, elements, followup=followup)

        return collected(answer)

    operations: dict[int, Handler] = {
        Field.N_ACTION: served(commitments.ask),
        Field.N_EVENT_REPORT: served(commitments.take_report),
    }
    return Service(PUSH_MODEL, operations, roles=(True, True))


class _ReportHere:
    """The report on storage commitment, on the association that asked for it."""

    def __init__(self, claim: Claim, *, implicit: bool) -> None:
        self._claim, self._implicit = claim, implicit
        self.told, self.dropped = claim.told, claim.dropped

    def say(self) -> Notice | None:
        report = self._claim.report()
        if report is None:
            return None
        elements: dict[int, str | int] = {
            Element.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
            Element.AFFECTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
            Element.EVENT_TYPE_ID: report.event_type,
        }
        return Notice(Field.N_EVENT_REPORT, elements, report.encode(implicit=self._implicit))


def _web_server(config: Config) -> Server | None:
    if not config.web.enabled:
        return None
    from node.web.server import Server  # a worker, which imports this module too, needs no web server

    return Server(config.web)


def witness_start(session: Session, config: Config) -> None:
    """Record the start, and before it what is otherwise in the configuration than at the last one."""
    now = dict(_settings(config))
    last = session.scalar(
        sa.select(AuditRecord)
        .where(AuditRecord.event == str(audit.Event.START), AuditRecord.actor == "node")
        .order_by(AuditRecord.seq.desc())
        .limit(1)
    )
    then = last.detail["configuration"] if last else now
    changed = {key: [then.get(key), now.get(key)] for key in sorted({*then, *now}) if then.get(key) != now.get(key)}
    if changed:
        told = "; ".join(f"{key} was {before}, is {after}" for key, (before, after) in changed.items())
        message = f"the configuration changed since the last start: {told}"
        audit.record(session, audit.Event.CONFIGURATION, message, detail={"changed": changed})
    message = f"the node {node.__version__} started"
    detail = {"version": node.__version__, "configuration": now, "clock": jumps.reading()}
    audit.record(session, audit.Event.START, message, detail=detail)


def _settings(config: Config) -> Iterator[tuple[str, Any]]:
    """Every key, dotted, with its value; without passwords and tokens, wherever they stand."""
    for name, value in config.model_dump(mode="json").items():
        if name == "database_url":
            yield name, public_url(value)
        elif name in ("destinations", "sources"):
            for peer in value:
                for key, setting in peer.items():
                    yield f"{name}.{peer['name']}.{key}", public_url(setting) if key == "url" else setting
        else:
            yield from _flat(name, value)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value


def work(config: Config, executor_id: str, *, exit_with_parent: bool) -> None:
    """Run one worker until it is stopped.

    Raises:
        OperatorError: there is no database, or not of this release: the node makes it, a worker never does.
    """
    from node.derive import derive, write_report  # which the node that receives has no use for

    file = sqlite_file(config.url)
    if file is not None and not file.exists():
        raise OperatorError(f"there is no database at {file}: `harmonode serve` makes it")
    database = Database(config.url)
    require_current(database)
    run_worker(
        config,
        database,
        executor_id,
        Steps(derive=derive, send=send, confirm=confirm, commit=commit, report=write_report),
        exit_with_parent=exit_with_parent,
    )


class Worker:
    """A worker process, started again when it dies. Its standard input is the life line: it exits when we do."""

    def __init__(self, executor_id: str, config_file: Path | None) -> None:
        self.executor_id = executor_id
        config = ["--config", str(config_file)] if config_file else []
        self._command = [sys.executable, "-m", "node.cli", *config, "worker", "--id", executor_id, "--exit-with-parent"]
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, name=executor_id, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stopping.set()
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join(timeout_s)

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                with subprocess.Popen(self._command, stdin=subprocess.PIPE) as process:  # noqa: S603 - our own command
                    self._process = process
                    status: int | str = process.wait()
            except OSError as error:  # no memory, no process or file to be had
                status = str(error)
            if self._stopping.is_set():
                return
            log.warning("worker ended, starting it again", worker=self.executor_id, status=status)
            self._stopping.wait(max(0.0, _RESTART_DELAY_S - (time.monotonic() - started)))
