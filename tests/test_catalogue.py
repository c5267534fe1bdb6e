"""What DICOMweb can find follows what was received and made, whatever came in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa

from node import catalogue
from node.config import Config
from node.journey import State
from node.store.session import Database
from node.store.tables import DerivedInstance, HeldSeries, HeldStudy, Instance, Job, Series
from node.web.dicomweb import held
from node.web.dicomweb.held import Scope

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Archive:
    """Rows and files of series, as receiving and deriving leave them."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.config = Config(data_dir=folder / "data", database_url=database.url)

    def receive(self, paths: list[Path], series_uid: str = "1.2.3.4") -> int:
        with self.database.write() as session:
            series = Series(
                study_instance_uid="1.2.3", series_instance_uid=series_uid, state=str(State.RECEIVING), state_since=NOW,
                first_arrival_at=NOW, last_arrival_at=NOW, instance_count=len(paths), calling_ae_title="CT",
                called_ae_title="NODE", address="127.0.0.1",
            )  # fmt: skip
            session.add(series)
            for number, path in enumerate(paths, 1):
                place = self.config.spool_dir / series_uid / path.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
                series.instances.append(
                    Instance(
                        sop_instance_uid=f"{series_uid}.{number}", sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                        transfer_syntax_uid="1.2.840.10008.1.2.1", path=f"{series_uid}/{path.name}", size_bytes=1,
                        sha256="", received_at=NOW, calling_ae_title="CT",
                    )
                )  # fmt: skip
            session.flush()
            return series.id

    def derive(self, source_id: int, paths: list[Path], in_round: int = 1, derived_uid: str = "2.25.7") -> None:
        """A round of a job that made these files."""
        with self.database.write() as session:
            job = Job(
                id=f"job{in_round}", series_id=source_id, round=in_round, rule_name="r", rule_version=1, plugin="p",
                parameters={}, destinations=[], created_at=NOW, derived_series_uid=derived_uid,
            )  # fmt: skip
            session.add(job)
            session.flush()
            instance = session.scalars(sa.select(Instance).where(Instance.series_id == source_id)).first()
            assert instance is not None
            for number, path in enumerate(paths, 1):
                place = self.config.derived_dir / job.id / path.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
                session.add(
                    DerivedInstance(
                        job_id=job.id, source_instance_id=instance.id, path=f"{job.id}/{path.name}", sha256="",
                        sop_instance_uid=f"{derived_uid}.{in_round}.{number}",
                    )
                )  # fmt: skip

    def sweep(self) -> int:
        return catalogue.sweep(self.config, self.database)

    def found(self) -> dict[str, int]:
        """Series Instance UID -> how many instances DICOMweb counts."""
        with self.database.read() as session:
            rows = {row.id: row.series_instance_uid for row in session.scalars(sa.select(HeldSeries))}
            counts = held.counts(session, list(rows))
        return {uid: counts[number] for number, uid in rows.items()}

    def files(self, series: str) -> list[Path]:
        with self.database.read() as session:
            return [one.path for one in held.instances(session, self.config, Scope("1.2.3", series))]


@pytest.fixture
def archive(tmp_path: Path, database: Database) -> Archive:
    return Archive(tmp_path, database)


def test_what_comes_and_what_is_made_is_found_once(archive: Archive, crafted: Any):
    paths = crafted.series(3)
    source = archive.receive(paths)
    assert archive.sweep() == 1
    assert archive.sweep() == 0
    archive.derive(source, paths)
    assert archive.sweep() > 0
    assert archive.sweep() == 0
    assert archive.found() == {"1.2.3.4": 3, "2.25.7": 3}
    archive.derive(source, paths[:1], in_round=2)  # a late slice joins the derived series
    archive.sweep()
    assert archive.found() == {"1.2.3.4": 3, "2.25.7": 4}
    assert [path.parent.name for path in archive.files("2.25.7")] == ["job1"] * 3 + ["job2"]


def test_patient_and_study_are_those_of_the_header(archive: Archive, crafted: Any):
    def named(made: pydicom.Dataset, _index: int) -> None:
        made.PatientName, made.PatientID, made.StudyDate = "Müller^Eva", "P 1", "20260301"
        made.SpecificCharacterSet, made.SeriesNumber = "ISO_IR 192", "7"

    archive.receive([crafted.one(change=named)])
    archive.sweep()
    with archive.database.read() as session:
        (study,) = session.scalars(sa.select(HeldStudy))
        (series,) = session.scalars(sa.select(HeldSeries))
    assert (study.patient_name, study.patient_id, study.study_date) == ("müller^eva", "P 1", "20260301")
    assert study.attributes["00100010"]["Value"] == [{"Alphabetic": "Müller^Eva"}]
    assert series.series_number == 7


def test_our_own_series_that_comes_back_is_shown_as_we_made_it(archive: Archive, crafted: Any):
    paths = crafted.series(2)
    source = archive.receive(paths)
    archive.derive(source, paths)
    archive.sweep()
    archive.receive(paths, "2.25.7")
    assert archive.sweep() == 1
    assert archive.sweep() == 0
    assert archive.found() == {"1.2.3.4": 2, "2.25.7": 2}
    assert {path.parent.name for path in archive.files("2.25.7")} == {"job1"}


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no DICOM")])
def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(
    archive: Archive, crafted: Any, spoil: Callable[[Path], object]
):
    paths = crafted.series(1)
    archive.receive(paths)
    spoil(archive.config.spool_dir / "1.2.3.4" / paths[0].name)
    archive.receive(paths, "1.2.3.5")
    assert archive.sweep() == 2
    assert set(archive.found()) == {"1.2.3.4", "1.2.3.5"}
