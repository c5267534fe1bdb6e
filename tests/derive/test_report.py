"""The Structured Report: what it says, that outside judges read it, and that it is the same on every try."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from peers import Orthanc
from pydicom import Dataset, dcmread

from node.config import Derive
from node.derive import write_report
from node.derive.concepts import quality
from node.derive.report import Reported
from node.dicom.facts import examine
from node.dicom.headers import read_header
from node.plugin import Measurement, Method, Quantity

MADE_AT = datetime(2026, 5, 4, 22, 30, 15, 123456, tzinfo=UTC)
METHOD = Method("sharpener", "2", "Made sharper.", "ab" * 32)
HU = "[hnsf'U]"
MEASURED = {"f50": Quantity(0.41, "/mm", 0.4, 0.43), "f10": Quantity(0.7, "/mm", 0.68, 0.75)}
BEFORE = {
    "LAA-950": Quantity(11.3, "%"), "Perc15": Quantity(-938.25, HU), "lung mass": Quantity(812.0, "g"),
    "mean lung": Quantity(-850.2, HU), "noise": Quantity(49.1, HU),
}  # fmt: skip
AFTER = {
    "LAA-950": Quantity(6.1, "%"), "Perc15": Quantity(-912.0, HU), "lung mass": Quantity(812.1, "g"),
    "mean lung": Quantity(-850.1, HU), "noise": Quantity(17.3, HU),
}  # fmt: skip
CHECKED = {"lung shift below half f50": Quantity(0.21, HU)}
PRIVATE = "99HARMONODE"

Write = Callable[..., Reported]


@pytest.fixture
def write(workshop: Any, tmp_path: Path) -> Write:
    def written(change: Callable[[Dataset], None] = lambda _: None, **changed: Any) -> Any:
        source = read_header(workshop.source(change)[0])
        arguments: dict[str, Any] = {
            "source": source,
            "source_uids": ["1.2.826.0.1.1", "1.2.826.0.1.2"],
            "derived_uids": ["2.25.1", "2.25.2"],
            "measurement": Measurement(quantities=MEASURED),
            "report": {
                name: {key: asdict(one) for key, one in of.items()}
                for name, of in (("before", BEFORE), ("after", AFTER))
            },
            "verdict": {"quantities": {key: asdict(one) for key, one in CHECKED.items()}},
            "method": METHOD,
            "settings": Derive(),
            "folder": tmp_path,
            "number": 1,
            "made_at": MADE_AT,
            **changed,
        }
        return write_report(*arguments.values())

    return written


def groups(report: Dataset) -> list[dict[str, Any]]:
    """Each measurement group: what it is of, and its numbers by the code of their concept and derivation."""
    (measurements,) = [
        item for item in report.ContentSequence if _code(item.ConceptNameCodeSequence) == ("126010", "DCM")
    ]
    found = []
    for group in measurements.ContentSequence:
        numbers = {}
        of = None
        for item in group.ContentSequence:
            if item.ValueType == "NUM":
                measured = item.MeasuredValueSequence[0]
                extra = {_code(one.ConceptNameCodeSequence): one for one in item.get("ContentSequence", [])}
                derivation = extra.get(("121401", "DCM"))
                key = _code(item.ConceptNameCodeSequence)[0]
                if derivation is not None:
                    key += f" {_code(derivation.ConceptCodeSequence)[0]}"
                unit = measured.MeasurementUnitsCodeSequence[0]
                numbers[key] = (float(measured.NumericValue), unit.CodeValue, unit.CodingSchemeDesignator)
            elif _code(item.ConceptNameCodeSequence) == ("112002", "DCM"):
                of = item.UID
        found.append({"of": of, "numbers": numbers})
    return found


def _code(sequence: Any) -> tuple[str, str]:
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator


def test_it_says_what_was_measured_before_and_after(write: Write):
    report = dcmread(write().path)
    measured, before, after, checked = groups(report)
    source, derived = "1.2.826.0.2", report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[1]
    assert [group["of"] for group in (measured, before)] == [source, source]
    assert [group["of"] for group in (after, checked)] == [derived.SeriesInstanceUID] * 2
    assert measured["numbers"] == {"MTF50": (0.41, "/mm", "UCUM"), "MTF10": (0.7, "/mm", "UCUM")}
    assert before["numbers"] == {
        "LAA950": (11.3, "%", "UCUM"),
        "PERC15": (-938.25, HU, "UCUM"),
        "118538004": (812.0, "g", "UCUM"),
        "112031 373098007": (-850.2, HU, "UCUM"),
        "112031 386136009": (49.1, HU, "UCUM"),
    }
    assert set(after["numbers"]) == set(before["numbers"])
    assert checked["numbers"] == {"LUNG_SHIFT_BELOW": (0.21, HU, "UCUM")}


def test_an_interval_is_told_in_the_unit_of_the_number(write: Write):
    report = dcmread(write().path)
    f50 = next(
        item
        for group in report.ContentSequence[-1].ContentSequence
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    )
    told = {
        item.MeasuredValueSequence[0].NumericValue: item.MeasuredValueSequence[0]
        .MeasurementUnitsCodeSequence[0]
        .CodeValue
        for item in f50.ContentSequence
        if item.ValueType == "NUM"
    }
    assert {float(value): unit for value, unit in told.items()} == {0.02: "/mm", 0.01: "/mm"}


def test_it_refers_to_every_instance_of_both_series_and_to_its_maker(write: Write):
    report = dcmread(write().path)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID == "1.2.826.0.1"
    found = [
        [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    ]
    assert found == [["1.2.826.0.1.1", "1.2.826.0.1.2"], ["2.25.1", "2.25.2"]]
    assert (report.Modality, report.SOPClassUID.name) == ("SR", "Enhanced SR Storage")
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.SeriesInstanceUID not in {series.SeriesInstanceUID for series in study.ReferencedSeriesSequence}
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == PRIVATE


def test_patient_and_study_are_the_source_s_own(write: Write):
    def odd(one: Dataset) -> None:
        one.PatientName, one.PatientSex, one.PatientBirthDate = "Dö^Jané", "W", "1950"
        one.StudyDescription = "Thörax"
        del one.StudyTime

    report = dcmread(write(odd).path)
    assert (str(report.PatientName), report.PatientID, report.StudyDescription) == ("Dö^Jané", "P1", "Thörax")
    assert (report.PatientSex, report.PatientBirthDate) == ("W", "1950")
    assert report.AccessionNumber == "A1"


def test_the_same_arguments_make_the_same_bytes_and_another_round_another_report(write: Write):
    first = write()
    content = first.path.read_bytes()
    again = write()
    assert (again, again.path.read_bytes()) == (first, content)
    later = write(number=2, made_at=MADE_AT + timedelta(days=1))
    assert later.series_instance_uid == first.series_instance_uid
    assert later.sop_instance_uid != first.sop_instance_uid


def test_without_a_figure_there_is_no_report(write: Write):
    nothing = {"value": None, "unit": "1", "low": None, "high": None}
    assert write(measurement=Measurement(), report={"before": {"x": nothing}}, verdict={}) is None


def test_it_is_never_taken_for_a_series_to_harmonize(write: Write):
    facts = examine([read_header(write().path)], "PACS", "NODE", lambda _: False).facts
    assert "carry a Device UID (0018,1002) of this software" in facts.never[0]


@pytest.mark.parametrize("name", ["x" * 100, "größe", "", "Perc15 "])
def test_any_name_of_a_quantity_makes_a_code(name: str):
    concept = quality(name).concept
    assert 1 <= len(concept.value) <= 16
    assert 1 <= len(concept.meaning) <= 64
    assert concept.meaning.isascii()


def test_outside_judges_read_it(write: Write, judge: Callable[..., list[str]]):
    path = write().path
    assert judge("dciodvfy", [path]) == []
    for tool, told in (("dsrdump", "Share of lung voxels below -950 HU"), ("dsr2html", "-938.25")):
        done = subprocess.run([f"/usr/bin/{tool}", str(path)], capture_output=True, check=True)
        assert told in done.stdout.decode("latin-1"), tool


@pytest.mark.slow
def test_orthanc_stores_it_and_finds_it(write: Write, orthanc: Orthanc):
    written = write()
    orthanc.upload(written.path)
    record = orthanc.series(written.series_instance_uid)
    assert record
    assert record["MainDicomTags"]["Modality"] == "SR"
    (found,) = orthanc.rest("/dicom-web/instances", params={"SOPInstanceUID": written.sop_instance_uid})
    assert found["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.88.22"]
    tags = orthanc.rest(f"/instances/{record['Instances'][0]}/simplified-tags")
    assert tags["ContentSequence"][-1]["ConceptNameCodeSequence"][0]["CodeMeaning"] == "Imaging Measurements"
