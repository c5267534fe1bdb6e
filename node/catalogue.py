"""What DICOMweb can find: a row for each study and series that the node holds, received or derived.

A sweep reads the header of one instance of each series that is new. It goes by ascending row numbers, which never go
back, so it looks at what is new alone; it may be killed anywhere and run as often as one likes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from sqlalchemy.orm import Session

from node.config import Config
from node.dicom.headers import read_header
from node.dicom.values import number, text
from node.errors import InvalidObject
from node.store.session import Database
from node.store.tables import DerivedInstance, HeldSeries, HeldStudy, Instance, Job, Series

_log = structlog.get_logger(__name__)

BATCH = 200  # series a transaction

STUDY_ATTRIBUTES = (
    "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex",
    "OtherPatientIDs", "OtherPatientIDsSequence", "PatientAge", "PatientSize", "PatientWeight", "PatientComments",
    "EthnicGroup", "Occupation", "StudyInstanceUID", "StudyID", "StudyDescription", "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord", "ProcedureCodeSequence", "AdmittingDiagnosesDescription", "AdditionalPatientHistory",
    "TimezoneOffsetFromUTC",
)  # fmt: skip
"""Of the modules Patient, General Study and Patient Study, PS3.3 sections C.7.1.1, C.7.2.1 and C.7.2.2."""

SERIES_ATTRIBUTES = (
    "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDescriptionCodeSequence", "SeriesDate",
    "SeriesTime", "Laterality", "BodyPartExamined", "PatientPosition", "ProtocolName", "OperatorsName",
    "PerformingPhysicianName", "Manufacturer", "ManufacturerModelName", "InstitutionName", "StationName",
    "InstitutionalDepartmentName", "SoftwareVersions", "DeviceSerialNumber", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
    "PerformedProcedureStepID", "PerformedProcedureStepDescription", "RequestAttributesSequence",
    "PerformedProtocolCodeSequence",
)  # fmt: skip
"""Of the modules General Series, General Equipment and Frame of Reference, PS3.3 sections C.7.3.1, C.7.5.1, C.7.4.1."""


def sweep(config: Config, database: Database) -> int:
    """Catalogue every series that has come or was made since the last sweep; returns how many rows were written."""
    done = 0
    for write in (_received, _derived):
        while written := write(config, database):
            done += written
    return done


def _received(config: Config, database: Database) -> int:
    with database.read() as session:
        last = session.scalar(sa.select(sa.func.max(HeldSeries.series_id))) or 0
        first = (
            sa.select(sa.func.min(Instance.id))
            .where(Instance.series_id == Series.id)
            .correlate(Series)
            .scalar_subquery()
        )
        query = (
            sa.select(Series.id, Series.study_instance_uid, Series.series_instance_uid, Instance.path)
            .outerjoin(Instance, Instance.id == first)
            .where(Series.id > last)
            .order_by(Series.id)
            .limit(BATCH)
        )
        found = session.execute(query).all()
    headers = [_header(config.spool_dir / path) if path else Dataset() for _, _, _, path in found]
    if found:
        with database.write() as session:
            for (series_id, study, series, _), header in zip(found, headers, strict=True):
                # One that the node made may have come back.
                held = _find(session, study, series) or _hold(session, study, series, header, series_id)
                held.series_id = series_id
                session.flush()
    return len(found)


def _derived(config: Config, database: Database) -> int:
    with database.read() as session:
        last = session.scalar(sa.select(sa.func.max(HeldSeries.derived_instance_id))) or 0
        query = (
            sa.select(
                DerivedInstance.id,
                DerivedInstance.path,
                Series.study_instance_uid,
                Job.derived_series_uid,
                Job.series_id,
            )
            .join(Job, Job.id == DerivedInstance.job_id)
            .join(Series, Series.id == Job.series_id)
            .where(DerivedInstance.id > last, Job.derived_series_uid.is_not(None))
            .order_by(DerivedInstance.id)
            .limit(BATCH)
        )
        found = session.execute(query).all()
    series = {key: list(rows) for key, rows in itertools.groupby(found, lambda row: (row[2], row[3]))}
    headers = {key: _header(config.derived_dir / rows[0][1]) for key, rows in series.items()}
    if found:
        with database.write() as session:
            for (study, uid), rows in series.items():
                held = _find(session, study, uid) or _hold(session, study, uid, headers[study, uid], rows[0].series_id)
                held.derived_instance_id = rows[-1][0]
                session.flush()
    return len(found)


def _header(path: Path) -> Dataset:
    """The header of a file; empty where it cannot be read: the series is found by its UIDs alone."""
    try:
        return read_header(path)
    except (InvalidObject, OSError) as error:
        _log.warning("a series is catalogued by its UIDs alone", file=path.name, error=str(error))
        return Dataset()


def _find(session: Session, study: str, series: str) -> HeldSeries | None:
    query = sa.select(HeldSeries).join(HeldStudy).where(HeldStudy.study_instance_uid == study)
    return session.scalar(query.where(HeldSeries.series_instance_uid == series))


def _hold(session: Session, study_uid: str, series_uid: str, header: Dataset, source_id: int) -> HeldSeries:
    study = session.scalar(sa.select(HeldStudy).where(HeldStudy.study_instance_uid == study_uid))
    if study is None:
        study = HeldStudy(
            study_instance_uid=study_uid,
            study_date=_text(header, "StudyDate", 8),
            study_time=_text(header, "StudyTime", 16),
            accession_number=_text(header, "AccessionNumber", 64),
            study_id=_text(header, "StudyID", 64),
            study_description=_text(header, "StudyDescription", 64),
            referring_physician_name=folded(_text(header, "ReferringPhysicianName", 324)),
            patient_id=_text(header, "PatientID", 64),
            patient_name=folded(_text(header, "PatientName", 324)),
            patient_birth_date=_text(header, "PatientBirthDate", 8),
            patient_sex=_text(header, "PatientSex", 16),
            attributes=as_json(header, STUDY_ATTRIBUTES, {"StudyInstanceUID": study_uid}),
        )
        session.add(study)
    held = HeldSeries(
        study=study,
        series_instance_uid=series_uid,
        modality=_text(header, "Modality", 16),
        series_number=_number(header, "SeriesNumber"),
        series_description=_text(header, "SeriesDescription", 64),
        performed_date=_text(header, "PerformedProcedureStepStartDate", 8),
        performed_time=_text(header, "PerformedProcedureStepStartTime", 16),
        attributes=as_json(header, SERIES_ATTRIBUTES, {"SeriesInstanceUID": series_uid}),
        source_id=source_id,
    )
    session.add(held)
    session.flush()
    return held


def folded(name: str) -> str:
    """A person name as it is matched, without regard to case: its first group, without trailing delimiters."""
    return name.partition("=")[0].rstrip("^ ").casefold()


def as_json(header: Dataset, keywords: Iterable[str], given: Mapping[str, str]) -> dict[str, Any]:
    """These attributes of a header in the DICOM JSON model (PS3.18 Annex F), those present; `given` are known already."""
    chosen = Dataset()
    for keyword in keywords:
        if keyword in header:
            try:
                chosen.add(header[keyword])
            except Exception:  # noqa: BLE001 - pydicom converts when asked, and raises nearly anything over odd values
                _log.warning("an attribute cannot be read and is not catalogued", keyword=keyword)
    written: dict[str, Any] = chosen.to_json_dict(suppress_invalid_tags=True)
    for keyword, uid in given.items():
        written[f"{tag_for_keyword(keyword):08X}"] = {"vr": "UI", "Value": [uid]}
    return dict(sorted(written.items()))


def _text(header: Dataset, keyword: str, length: int) -> str:
    try:
        return text(header, keyword)[:length]
    except InvalidObject:
        return ""


def _number(header: Dataset, keyword: str) -> int | None:
    try:
        found = number(header, keyword)
    except InvalidObject:
        return None
    return None if found is None else int(found)
