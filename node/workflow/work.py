"""What the steps of a job share: the job while it is this worker's, the volume, the plugin and the progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import BaseModel
from pydicom import Dataset
from sqlalchemy.orm import Session

from node import plugin as plugins
from node.config import Config, Derive, DimseDestination, FolderDestination, OrthancDestination, StowDestination
from node.dicom import volume
from node.dicom.commitment import Report, Request
from node.dicom.volume import LoadedVolume
from node.journey import ACTIVE, State
from node.plugin import Measurement, Method, Plugin, Volume
from node.queue import Queue
from node.store.session import Database
from node.store.tables import Instance, Job, Series
from node.workflow.hold import Hold

PROGRESS_S = 0.5  # no more often is progress written, and looked whether the job was cancelled

AnyDestination = DimseDestination | StowDestination | OrthancDestination | FolderDestination


class DerivedFile(Protocol):
    """A derived instance that lies on the disk."""

    @property
    def source_sop_instance_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...


class DeriveStep(Protocol):
    """Write the derived instances of those sources (all where `only` is None) into a folder."""

    def __call__(  # noqa: PLR0917
        self,
        loaded: LoadedVolume,
        harmonized: NDArray[np.float32],
        method: Method,
        measurement: Measurement,
        settings: Derive,
        folder: Path,
        only: set[str] | None,
        made_at: datetime,
    ) -> Sequence[DerivedFile]: ...


class WrittenReport(Protocol):
    """A Structured Report that lies on the disk."""

    @property
    def series_instance_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...


class ReportStep(Protocol):
    """Write a Structured Report on the derived series into a folder; None where there is no figure to tell."""

    def __call__(  # noqa: PLR0917
        self,
        source: Dataset,
        source_uids: Sequence[str],
        derived_uids: Sequence[str],
        measurement: Measurement,
        report: Mapping[str, Any],
        verdict: Mapping[str, Any],
        method: Method,
        settings: Derive,
        folder: Path,
        number: int,
        made_at: datetime,
    ) -> WrittenReport | None: ...


class SendStep(Protocol):
    """Send files to a destination; `progress` gets how many are sent. Returns how many it took."""

    def __call__(self, destination: AnyDestination, paths: Sequence[Path], progress: Callable[[int], None]) -> int: ...


class ConfirmStep(Protocol):
    """How many of these instances of a series a destination says it holds; None where it cannot be asked."""

    def __call__(
        self, destination: AnyDestination, study_uid: str, series_uid: str, among: Collection[str], /
    ) -> int | None: ...


class CommitStep(Protocol):
    """Ask a destination to commit itself to instances; its report, where that comes at once."""

    def __call__(self, destination: DimseDestination, request: Request, /) -> Report | None: ...


@dataclass(frozen=True, slots=True)
class Steps:
    """The sibling stages that the workflow runs, handed in by the composition root."""

    derive: DeriveStep
    send: SendStep
    confirm: ConfirmStep
    commit: CommitStep
    report: ReportStep | None = None  # None: no reports are made


@dataclass(frozen=True, slots=True)
class Context:
    """What a worker works with."""

    config: Config
    database: Database
    queue: Queue
    steps: Steps
    executor_id: str
    ending: threading.Event  # the worker has let go of its job and must not touch it any more


class Later(Exception):
    """The step waits for something that is to come by itself, and is done again then; the text says for what."""

    def __init__(self, reason: str, delay_s: float) -> None:
        self.delay_s = delay_s
        super().__init__(reason)


class Stopped(Exception):
    """The job is no longer this worker's: cancelled, started anew by a person, or taken over."""


class Work:
    """One attempt at a job by one worker. Holds what is costly to load between the steps of one run."""

    def __init__(self, context: Context, job_id: str, attempt: int) -> None:
        self.context, self.job_id, self.attempt = context, job_id, attempt
        self.harmonized: NDArray[np.float32] | None = None  # (slice, row, column), HU, once the harmonize step is done

    @contextmanager
    def transaction(self) -> Iterator[Hold]:
        """A write transaction with the job and its series.

        Raises:
            Stopped: the job is not this worker's any more; nothing is written.
        """
        with self.context.database.write() as session:
            yield self._hold(session)

    @contextmanager
    def look(self) -> Iterator[Hold]:
        """As `transaction`, to read only."""
        with self.context.database.read() as session:
            yield self._hold(session)

    def state(self) -> State:
        """Where the series stands, while the job is this worker's or was finished by it."""
        with self.context.database.read() as session:
            job = session.get_one(Job, self.job_id)
            if (job.attempt, job.executor_id) != (self.attempt, self.context.executor_id):
                raise Stopped(f"job {self.job_id} attempt {self.attempt} is not {self.context.executor_id}'s any more")
            return State(session.get_one(Series, job.series_id).state)

    def progress(self, total: int) -> Progress:
        return Progress(self, total)

    @cached_property
    def folder(self) -> Path:
        """Where this job keeps its files; made when first asked for."""
        folder = self.context.config.derived_dir / self.job_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def plugin(self) -> Plugin:
        with self.look() as held:
            return plugins.load(held.job.plugin)

    @cached_property
    def parameters(self) -> BaseModel:
        with self.look() as held:
            return plugins.parameters(self.plugin, held.job.parameters)

    @cached_property
    def loaded(self) -> LoadedVolume:
        """All instances of the series that came in this job's round or earlier, decoded."""
        with self.look() as held:
            paths = held.session.scalars(
                sa.select(Instance.path)
                .where(Instance.series_id == held.series.id, Instance.round <= held.job.round)
                .order_by(Instance.id)
            ).all()
        return volume.load_volume([self.context.config.spool_dir / path for path in paths])

    @cached_property
    def volume(self) -> Volume:
        """The series as a plugin sees it."""
        return Volume.of(self.loaded)

    def _hold(self, session: Session) -> Hold:
        job = session.get_one(Job, self.job_id)
        series = session.get_one(Series, job.series_id)
        me = self.context.executor_id
        if (job.attempt, job.executor_id) != (self.attempt, me) or job.finished_at is not None:
            raise Stopped(f"job {self.job_id} attempt {self.attempt} is not {me}'s any more")
        if State(series.state) not in ACTIVE:
            raise Stopped(f"series {series.series_instance_uid} is {series.state}")
        return Hold(session, job, series, me)


class Progress:
    """Slices done of N, written for people; the write is also where a cancelled job notices."""

    def __init__(self, work: Work, total: int) -> None:
        self._work, self._total = work, total
        self._write(0)

    def __call__(self, done: int) -> None:
        """
        Raises:
            Stopped: the job was cancelled or taken away; the step must end without result.
        """
        if done >= self._total or time.monotonic() - self._written_at >= PROGRESS_S:
            self._write(done)

    def _write(self, done: int) -> None:
        with self._work.transaction() as held:
            held.job.progress_done, held.job.progress_total = done, self._total
        self._written_at = time.monotonic()
