"""The figures of a harmonized series as a DICOM Structured Report: TID 1500, Measurement Report, of PS3.16.

An Enhanced SR (PS3.3 A.35.2): it needs no coordinates, and more archives take it than Comprehensive 3D. It stands in a
series of its own in the source's study. Its evidence is every instance of the source and of the derived series; each
group of measurements says which of the two it is of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedSRStorage, ExplicitVRLittleEndian

from node import __version__
from node.config import Derive
from node.derive.concepts import SCHEME, SCHEME_NAME, Concept, quality, unit
from node.derive.elements import Elements, data_set, named, reference, sequence, written
from node.derive.header import file_meta
from node.derive.provenance import PROCESSING_EQUIPMENT
from node.dicom import uids
from node.dicom.values import text
from node.plugin import Measurement, Method, Quantity
from node.store.durable import write_whole

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept
    from highdicom.sr import Measurement as Number

_PATIENT_AND_STUDY = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription"),
    "ReferringPhysicianName",
)
_NUMBER_OFFSET = 1000  # beyond the derived series'
_IS_LIMIT = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class _Told:
    """What a report tells."""

    measured: Mapping[str, Quantity]  # of the source, before it was harmonized
    before: Mapping[str, Quantity]
    after: Mapping[str, Quantity]
    checked: Mapping[str, Quantity]  # the figures of the guard


@dataclass(frozen=True, slots=True)
class Reported:
    """A report, durable in a file."""

    series_instance_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str


def _told(measurement: Measurement, report: Mapping[str, Any], verdict: Mapping[str, Any]) -> _Told:
    """From what a job keeps; what is no number is left out."""

    def known(stored: Mapping[str, Any]) -> dict[str, Quantity]:
        return {name: Quantity(**one) for name, one in stored.items() if one.get("value") is not None}

    return _Told(
        measurement.quantities,
        known(report.get("before", {})),
        known(report.get("after", {})),
        known(verdict.get("quantities", {})),
    )


def write_report(  # noqa: PLR0917 - as `derive`
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
) -> Reported | None:
    """Write `report.dcm`. The same arguments give the same bytes.

    Args:
        source: the header of one source instance, for patient and study.
        source_uids: SOP Instance UIDs of the source's instances.
        derived_uids: SOP Instance UIDs of the derived series' instances.
        measurement: what was measured of the source.
        report: the figures before and after, as the job keeps them.
        verdict: the figures of the guard, as the job keeps them.
        method: how the slices were made.
        settings: how derived objects are named.
        folder: where the file goes.
        number: Instance Number; the round of processing, as each has a report.
        made_at: when, with its zone.

    Returns:
        the report; None where there is no figure to tell.
    """
    figures = _told(measurement, report, verdict)
    if not any((figures.measured, figures.before, figures.after, figures.checked)):
        return None
    source_series = str(source.SeriesInstanceUID)
    derived_series = uids.derived_series_uid(source_series, method.name, method.version, method.fingerprint)
    series_uid, instance_uid = uids.report_uids(derived_series, number)
    evidence = {source_series: source_uids, derived_series: derived_uids}
    document = _document(
        [_instance(source, *one) for one in evidence.items()],
        _content(figures, method, settings, source_series, derived_series),
        series_uid,
        instance_uid,
        _series_number(source, settings),
        number,
        method,
        settings,
    )
    for keyword in _PATIENT_AND_STUDY:
        if keyword in source:
            document.add(source[keyword])
    _date(document, made_at)
    elements = written(document) | _evidence(str(source.StudyInstanceUID), evidence)
    content = data_set(elements, after=file_meta(EnhancedSRStorage, instance_uid))
    path = folder / "report.dcm"
    write_whole(path, content)
    return Reported(series_uid, instance_uid, path, hashlib.sha256(content).hexdigest())


def _document(  # noqa: PLR0917
    evidence: list[Dataset],
    content: Any,
    series_uid: str,
    instance_uid: str,
    series_number: int,
    number: int,
    method: Method,
    settings: Derive,
) -> Dataset:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import EnhancedSR

    document: Dataset = EnhancedSR(
        evidence,
        content,
        series_uid,
        series_number,
        instance_uid,
        number,
        manufacturer=settings.manufacturer,
        is_complete=True,
        is_final=False,
        series_description="Harmonization report",
        manufacturer_model_name=f"harmonode {method.name}"[:64],
        software_versions=(f"harmonode {__version__}", f"{method.name} {method.version}"[:64]),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, SCHEME_NAME, responsible_organization="harmonode")],
    )
    document.StationName = settings.station_name
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code(Concept(PROCESSING_EQUIPMENT[0], "DCM", PROCESSING_EQUIPMENT[1]))]
    equipment.Manufacturer = settings.manufacturer
    # By this the report is known as ours when it comes back.
    equipment.DeviceUID = uids.device_uid(method.name, method.version)
    document.ContributingEquipmentSequence = [equipment]
    return document


def _content(figures: _Told, method: Method, settings: Derive, source_series: str, derived_series: str) -> Any:
    """The root container."""
    from highdicom.sr import (
        AlgorithmIdentification,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        MeasurementsAndQualitativeEvaluations,
        ObservationContext,
        ObserverContext,
        RelationshipTypeValues,
        TrackingIdentifier,
        UIDRefContentItem,
    )
    from pydicom.sr.codedict import codes  # 16 MB of concepts, for the first figures that are told

    algorithm = AlgorithmIdentification(
        method.name, method.version, [f"fingerprint {method.fingerprint}", _plain(method.description)]
    )
    groups = []
    for what, series, quantities in (
        ("Source series, as measured", source_series, figures.measured),
        ("Source series, before harmonization", source_series, figures.before),
        ("Harmonized series", derived_series, figures.after),
        ("Harmonized series, as checked", derived_series, figures.checked),
    ):
        if not quantities:
            continue
        group = MeasurementsAndQualitativeEvaluations(
            TrackingIdentifier(uids.tracking_uid(derived_series, what), what),
            algorithm_id=algorithm,
            measurements=[_number(name, quantity) for name, quantity in quantities.items()],
        )
        # TID 1501 is extensible: the series that the group is of.
        group[0].ContentSequence.append(
            UIDRefContentItem(codes.DCM.SeriesInstanceUID, series, RelationshipTypeValues.HAS_OBS_CONTEXT)
        )
        groups.append(group)
    device = DeviceObserverIdentifyingAttributes(
        uids.device_uid(method.name, method.version),
        name=settings.station_name or "harmonode",
        manufacturer_name=settings.manufacturer,
        model_name=f"harmonode {method.name}",
    )
    return MeasurementReport(
        ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.ComputedTomography,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )


def _number(name: str, quantity: Quantity) -> Number:
    """A NUM with its unit, its 95 % interval where there is one, and where in the body it is of."""
    from highdicom.sr import FindingSite, Measurement, MeasurementProperties

    of = quality(name)
    properties = None
    if quantity.low is not None and quantity.high is not None:
        properties = MeasurementProperties(
            upper_measurement_uncertainty=_rounded(quantity.high - quantity.value),
            lower_measurement_uncertainty=_rounded(quantity.value - quantity.low),
        )
        for uncertainty in properties:  # highdicom says "no units"
            uncertainty.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [_code(unit(quantity.unit))]
    return Measurement(
        _code(of.concept),
        _rounded(quantity.value),
        _code(unit(quantity.unit)),
        derivation=_code(of.derivation) if of.derivation else None,
        finding_sites=[FindingSite(_code(of.site))] if of.site else None,
        properties=properties,
    )


def _code(concept: Concept) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(concept.value, concept.scheme, concept.meaning)


def _rounded(value: float) -> float:
    """Six figures: a DS has room for sixteen characters, and no measurement is better."""
    return float(f"{value:.6g}")


def _evidence(study_uid: str, evidence: Mapping[str, Sequence[str]]) -> Elements:
    """Series Instance UID -> SOP Instance UIDs, as Current Requested Procedure Evidence Sequence, PS3.3 C.17.2.1.

    As data sets the references of 300 slices took two thirds of the report's time.
    """
    series = [
        named("SeriesInstanceUID", series_uid)
        | sequence("ReferencedSOPSequence", [reference(CTImageStorage, uid) for uid in instance_uids])
        for series_uid, instance_uids in evidence.items()
    ]
    study = named("StudyInstanceUID", study_uid) | sequence("ReferencedSeriesSequence", series)
    return sequence("CurrentRequestedProcedureEvidenceSequence", [study])


def _instance(source: Dataset, series_uid: str, instance_uids: Sequence[str]) -> Dataset:
    """One of a series, for highdicom; patient and study are put into the document afterwards, as the source has them."""
    one = Dataset()
    one.StudyInstanceUID, one.SeriesInstanceUID = str(source.StudyInstanceUID), series_uid
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, instance_uids[0]
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(one, keyword, "")
    one.StudyDate = one.StudyTime = None
    return one


def _series_number(source: Dataset, settings: Derive) -> int:
    offset = settings.series_number_offset + _NUMBER_OFFSET
    try:
        number = int(float(text(source, "SeriesNumber"))) + offset
    except (ValueError, OverflowError):
        return offset
    return number if 0 < number <= _IS_LIMIT else offset


def _date(document: Dataset, made_at: datetime) -> None:
    """The same on every try."""
    at = made_at.astimezone(UTC)
    date, time = f"{at:%Y%m%d}", f"{at:%H%M%S.%f}"
    if "TimezoneOffsetFromUTC" not in document:
        local = made_at.astimezone()
        date, time = f"{local:%Y%m%d}", f"{local:%H%M%S.%f}"
    for keyword in ("Series", "Content", "InstanceCreation"):
        setattr(document, f"{keyword}Date", date)
        setattr(document, f"{keyword}Time", time)


def _plain(words: str) -> str:
    return words.encode("ascii", "replace").decode()
