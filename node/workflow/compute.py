"""The steps that a plugin does: measure, harmonize, check. The node guards what the plugin returns."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from node.audit import Event
from node.errors import ErrorKind, OperatorError, PermanentError
from node.journey import State
from node.plugin import Measurement, Quantity, Report, harmonized_slices
from node.store.durable import write_whole
from node.store.tables import Job
from node.workflow.geometry import require_same_geometry
from node.workflow.work import Work


def measure(work: Work) -> None:
    """Measure what harmonizing needs, once for a series: a later round takes the measurement of the first."""
    with work.look() as held:
        stored, source = _stored_measurement(held.session, held.job)
    if stored is None:
        measurement = work.plugin.measure(work.volume, work.parameters)
        stored = _plain(work, "measurement", measurement.to_json())
        said = "measured"
    else:
        measurement = Measurement.from_json(stored)
        said = f"takes the measurement of {source}"
    method = _plain(work, "method", work.plugin.method(measurement, work.parameters).to_json())
    with work.transaction() as held:
        held.job.measurement, held.job.method = stored, method
        held.move(
            State.HARMONIZING,
            Event.MEASUREMENT,
            f"{held.job.plugin} {said}{_figures(measurement.quantities)}",
            {"plugin": held.job.plugin, "measurement": stored["quantities"], "method": method},
        )


def harmonize(work: Work) -> None:
    """Have the plugin make its slices."""
    with work.look() as held:
        measurement = Measurement.from_json(held.job.measurement or {})
    # What makes these slices, should the plugin have changed since it measured: it decides the derived UIDs.
    method = _plain(work, "method", work.plugin.method(measurement, work.parameters).to_json())
    started = time.monotonic()
    made = _harmonized(work, measurement)
    seconds = time.monotonic() - started
    with work.transaction() as held:
        held.job.method = method
        held.move(
            State.CHECKING,
            Event.HARMONIZATION,
            f"{held.job.plugin} harmonized {len(made)} slices in {seconds:.1f} s",
            {"slices": len(made), "seconds": round(seconds, 3), "method": method},
        )


def harmonized_volume(work: Work) -> NDArray[np.float32]:
    """The harmonized volume (slice, row, column), HU, read-only.

    It is as large as the decoded series and lives in the memory of the worker that made it: a worker that takes the job
    up after the harmonize step makes it anew.

    Raises:
        OperatorError: it must be made anew, and the plugin would make another one now.
    """
    if work.harmonized is not None:
        return work.harmonized
    with work.look() as held:
        measurement, before = Measurement.from_json(held.job.measurement or {}), held.job.method
    if _plain(work, "method", work.plugin.method(measurement, work.parameters).to_json()) != before:
        raise OperatorError(f"what plugin {work.plugin.name!r} harmonized is gone, and it has another version now")
    return _harmonized(work, measurement)


def _harmonized(work: Work, measurement: Measurement) -> NDArray[np.float32]:
    volume = work.volume
    progress = work.progress(len(volume.hu))
    made = np.empty_like(volume.hu)
    for index, hu in enumerate(harmonized_slices(work.plugin, volume, measurement, work.parameters)):
        made[index] = hu
        progress(index + 1)
    made.flags.writeable = False
    work.harmonized = made
    return made


def check(work: Work) -> None:
    """Judge the harmonized volume and keep the report. What does not pass is never derived."""
    with work.look() as held:
        measurement = Measurement.from_json(held.job.measurement or {})
    harmonized = harmonized_volume(work)
    require_same_geometry(work.plugin.name, work.volume, harmonized)
    verdict = work.plugin.check(work.volume, harmonized, measurement, work.parameters)
    report = work.plugin.report(work.volume, harmonized, measurement, work.parameters, verdict)
    judged, told = _plain(work, "verdict", verdict.to_json()), _without_nan(report.to_json())
    _keep(work, report, {"measurement": measurement.to_json(), "verdict": judged, **told})
    with work.transaction() as held:
        held.job.verdict, held.job.report = judged, told
        if verdict.passed:
            said = f"{held.job.plugin} checked its slices, and they pass{_figures(verdict.quantities)}"
            held.move(State.DERIVING, Event.CHECK, said, judged)
        else:
            reasons = "; ".join(verdict.reasons) or "it gave no reason"
            said = f"the check of {held.job.plugin} did not pass, nothing was derived or sent: {reasons}"
            held.rest(State.FAILED, Event.CHECK, said, kind=ErrorKind.PERMANENT, detail=judged)


def _stored_measurement(session: Session, job: Job) -> tuple[dict[str, Any] | None, str]:
    """The measurement that this job must use, and whose it is; None where there is none yet."""
    earlier = session.scalars(
        sa.select(Job)
        .where(
            Job.series_id == job.series_id,
            Job.round < job.round,
            Job.plugin == job.plugin,
            Job.derived_series_uid.is_not(None),
        )
        .order_by(Job.round)
    )
    for first in earlier:
        if first.measurement is not None and first.parameters == job.parameters:
            return first.measurement, f"round {first.round}"
    return job.measurement, "an earlier attempt"


def _keep(work: Work, report: Report, told: Any) -> None:
    """`report.json`, which tells of measurement, verdict and report in one, and the pictures, in the job's folder."""
    for name, png in report.pictures.items():
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", name.removesuffix(".png"))
        write_whole(work.folder / f"{safe}.png", png)
    write_whole(work.folder / "report.json", json.dumps(told, indent=2, ensure_ascii=False).encode())


def _plain(work: Work, what: str, stored: dict[str, Any]) -> dict[str, Any]:
    """What a plugin returned, if it can be kept: JSON without NaN."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(stored, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PermanentError(f"plugin {work.plugin.name!r} returned a {what} that is not JSON: {error}") from error
    return plain


def _without_nan(value: Any) -> Any:
    """A curve may have gaps; JSON has none, so they become null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figures(quantities: Mapping[str, Quantity]) -> str:
    """Quantities for the end of a sentence to people."""
    told = ", ".join(f"{name} {quantity}" for name, quantity in quantities.items())
    return f": {told}" if told else ""
