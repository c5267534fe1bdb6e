"""QIDO-RS: the same queries to the node and to a real Orthanc that hold the same series, and what the standard has beyond."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import sqlalchemy as sa

from node.store.session import Database
from node.store.tables import HeldSeries, HeldStudy, Series

UID = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}


@pytest.fixture
def both(service, orthanc, chest, sharp, other):
    """The node and an Orthanc with the same three series of two patients."""
    every = [*chest.paths, *sharp.paths, *other.paths]
    orthanc.upload(*every)
    service.hold(every)

    def ask(path: str, **parameters: Any) -> tuple[list[dict], list[dict]]:
        ours = service.get(path, **parameters)
        query = urlencode(parameters, safe="*")  # which Debian's Orthanc does not know percent-encoded
        theirs = httpx.get(
            f"{orthanc.dicomweb_url}/{path}?{query}", headers={"Accept": "application/dicom+json"}, timeout=60
        )
        assert theirs.status_code == 200, theirs.text
        assert ours.status_code in (200, 204), ours.text
        return (ours.json() if ours.content else []), theirs.json()

    return ask


def uids(matches: list[dict], tag: str) -> set[str]:
    return {match[tag]["Value"][0] for match in matches}


def queries(chest, other) -> list[tuple[str, dict[str, str], int]]:
    header, lidc = chest.headers[0], other.headers[0]
    return [
        ("studies", {}, 2),
        ("studies", {"PatientID": str(header.PatientID)}, 1),
        ("studies", {"00100020": str(header.PatientID)}, 1),
        ("studies", {"PatientID": str(lidc.PatientID)[:4] + "*"}, 1),
        ("studies", {"PatientName": str(header.PatientName).lower()}, 1),
        ("studies", {"PatientName": "*"}, 2),
        ("studies", {"StudyDate": str(header.StudyDate)}, 1),
        ("studies", {"StudyDate": f"{header.StudyDate}-"}, 1),
        ("studies", {"StudyDate": f"-{lidc.StudyDate}"}, 1),
        ("studies", {"StudyDate": f"{lidc.StudyDate}-{header.StudyDate}"}, 2),
        ("studies", {"StudyInstanceUID": f"{chest.study},{other.study}"}, 2),
        ("studies", {"ModalitiesInStudy": "CT"}, 2),
        ("studies", {"PatientID": "nobody"}, 0),
        ("series", {}, 3),
        ("series", {"Modality": "CT", "PatientID": str(lidc.PatientID)}, 1),
        ("series", {"SeriesInstanceUID": chest.series}, 1),
        ("series", {"SeriesNumber": str(header.SeriesNumber), "PatientID": str(header.PatientID)}, 1),
        ("series", {"Modality": "MR"}, 0),
        (f"studies/{chest.study}/series", {}, 2),
        (f"studies/{chest.study}/instances", {}, 7),
        (f"{chest.path}/instances", {}, 4),
        (f"{chest.path}/instances", {"SOPInstanceUID": chest.uids[2]}, 1),
        (f"{chest.path}/instances", {"InstanceNumber": str(chest.headers[1].InstanceNumber)}, 1),
        (f"{chest.path}/instances", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, 4),
        (f"{chest.path}/instances", {"limit": "2", "offset": "1"}, 2),
    ]  # fmt: skip


def test_the_same_is_found_as_in_orthanc(both, chest, other):
    for path, parameters, count in queries(chest, other):
        ours, theirs = both(path, **parameters)
        tag = UID[path.rpartition("/")[2]]
        told = (path, parameters)
        assert len(ours) == count, told
        assert len(theirs) == count, told
        if "limit" not in parameters:
            assert uids(ours, tag) == uids(theirs, tag), told
        by_uid = {match[tag]["Value"][0]: match for match in theirs}
        for match in ours:
            if match[tag]["Value"][0] not in by_uid:
                continue
            theirs_of_it = by_uid[match[tag]["Value"][0]]
            missing = set(theirs_of_it) - set(match) - {"00081190", "00080005"}  # JSON is UTF-8, PS3.18 section F.2
            # What Orthanc returns beside and holds no value of.
            if tag != UID["instances"]:  # of an instance Orthanc returns what is of its study and series too
                assert not [name for name in missing if theirs_of_it[name].get("Value")], told
            for name in set(match) & set(theirs_of_it) - {"00081190", "00080005"}:
                assert match[name].get("Value") == theirs_of_it[name].get("Value"), (told, name)


def test_wildcards_match_with_regard_to_case_but_for_names(service, chest, other):
    """PS3.4 section C.2.2.2.4; Orthanc has no regard for case, so it is no judge here."""
    service.hold([*chest.paths[:1], *other.paths[:1]])
    patient = str(chest.headers[0].PatientID)  # "Lung_Dx-A0002"
    name = str(chest.headers[0].PatientName)
    for parameters, count in (
        ({"PatientID": f"{patient[:4]}*"}, 1),
        ({"PatientID": f"{patient[:4].upper()}*"}, 0),
        ({"PatientID": "?" * len(patient)}, 1 + (len(other.headers[0].PatientID) == len(patient))),
        ({"PatientID": f"*{patient[-3:]}"}, 1),
        ({"PatientID": "[L]*"}, 0),
        ({"PatientID": "%"}, 0),
        ({"PatientName": f"{name[:3].swapcase()}*"}, 1),
        ({"PatientName": f"{name[:3]}%"}, 0),
        ({"StudyDescription": "*"}, 2),
        ({"StudyInstanceUID": f"{chest.study}\\{other.study}"}, 2),
    ):
        answer = service.get("studies", **parameters)
        assert len(answer.json() if answer.content else []) == count, parameters


def test_counts_and_modalities_of_a_study(both, chest):
    ours, theirs = both(f"studies/{chest.study}/series")
    assert {one["00201209"]["Value"][0] for one in ours} == {one["00201209"]["Value"][0] for one in theirs} == {4, 3}
    ours, _ = both("studies", StudyInstanceUID=chest.study)
    (study,) = ours
    assert study["00080061"] == {"vr": "CS", "Value": ["CT"]}
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [7])


def test_another_library_searches(service, chest, other):
    service.hold([*chest.paths, *other.paths])
    viewer = service.viewer()
    found = viewer.search_for_studies(
        search_filters={"PatientID": str(chest.headers[0].PatientID)}, fields=["StudyDescription"]
    )
    assert [match["0020000D"]["Value"] for match in found] == [[chest.study]]
    assert viewer.search_for_series(chest.study)[0]["0020000E"]["Value"] == [chest.series]
    assert len(viewer.search_for_instances(chest.study, chest.series, get_remaining=True)) == 4
    assert viewer.search_for_studies(search_filters={"PatientID": "nobody"}) == []


def test_fields_are_included_when_asked_for(service, chest):
    service.hold(chest.paths)
    plain = service.get(f"studies/{chest.study}/series").json()[0]
    assert "0008103E" in plain
    assert "00080070" not in plain
    asked = service.get(f"studies/{chest.study}/series", includefield="Manufacturer,00200052").json()[0]
    assert asked["00080070"]["Value"] == [chest.headers[0].Manufacturer]
    assert asked["00200052"]["Value"] == [chest.headers[0].FrameOfReferenceUID]
    everything = service.get(f"studies/{chest.study}/series", includefield="all").json()[0]
    assert set(asked) < set(everything)
    of_instance = service.get(f"{chest.path}/instances", includefield="SliceLocation,WindowCenter").json()[0]
    assert of_instance["00201041"]["Value"] == [float(chest.headers[0].SliceLocation)]
    assert service.get(f"{chest.path}/instances", includefield="all").json()[0]["00180050"]["Value"] == [8.0]


def test_more_results_are_told_of(service, chest, other):
    service.hold([*chest.paths, *other.paths])
    first = service.get("studies", limit=1)
    assert first.headers["warning"] == '299 harmonode "There are additional results that can be requested"'
    second = service.get("studies", limit=1, offset=1)
    assert "warning" not in second.headers
    assert {first.json()[0]["0020000D"]["Value"][0], second.json()[0]["0020000D"]["Value"][0]} == {
        chest.study,
        other.study,
    }
    assert service.get("studies", limit=1, offset=2).status_code == 204
    fuzzy = service.get("studies", fuzzymatching="true")
    assert "fuzzymatching parameter is not supported" in fuzzy.headers["warning"]


@pytest.mark.parametrize(
    ("path", "parameters", "told"),
    [
        ("studies", {"Nonsense": "1"}, "'Nonsense' is no keyword"),
        ("studies", {"SliceThickness": "1"}, "SliceThickness cannot be matched here; there are: AccessionNumber,"),
        ("studies", {"StudyDate": "2020"}, "'2020' is not a date"),
        ("studies", {"StudyDate": "-"}, "without ends"),
        ("studies", {"StudyInstanceUID": "1..2"}, "'1..2' is not a UID"),
        ("series", {"SeriesNumber": "one"}, "is no integer"),
        ("studies", {"limit": "-1"}, "limit=-1 is no number"),
        ("studies", {"fuzzymatching": "perhaps"}, "neither true nor false"),
        ("studies", {"includefield": "Nonsense"}, "no keyword"),
        ("studies/x/series", {}, "'x' is not a UID"),
        ("instances", {"InstanceNumber": "1"}, "within one series"),
    ],
)
def test_what_cannot_be_asked_is_said(service, path: str, parameters: dict[str, str], told: str):
    answer = service.get(path, **parameters)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]


def test_only_json_is_spoken(service):
    assert service.get("studies", accept='multipart/related; type="application/dicom+xml"').status_code == 406
    assert service.get("studies", accept="application/json;q=0.5, text/html").status_code == 204


def test_a_hundred_thousand_series_are_searched_by_index(service, database: Database):
    """Each query's plan uses an index or the rows' own order; none sorts or reads a whole table for a page."""
    with database.read() as session:
        queries = {
            "by patient": sa.select(HeldStudy).where(HeldStudy.patient_id == "x").order_by(HeldStudy.id).limit(10),
            "by date": sa.select(HeldStudy).where(HeldStudy.study_date >= "2020", HeldStudy.study_date < "2021:"),
            "by name": sa.select(HeldStudy).where(HeldStudy.patient_name == "x"),
            "page": sa.select(HeldStudy).order_by(HeldStudy.id).limit(10).offset(50_000),
            "series": sa.select(HeldSeries).where(HeldSeries.series_instance_uid == "1.2"),
        }
        for name, query in queries.items():
            text = query.compile(dialect=session.bind.dialect, compile_kwargs={"literal_binds": True})
            plan = [row[3] for row in session.execute(sa.text(f"EXPLAIN QUERY PLAN {text}"))]
            assert not [step for step in plan if "TEMP B-TREE" in step], (name, plan)
            assert name == "page" or [step for step in plan if "USING INDEX" in step], (name, plan)


def test_what_left_the_disk_is_not_found(service, chest, other):
    service.hold([*chest.paths, *other.paths])
    with service.web.database.write() as session:
        session.execute(
            sa.update(Series).where(Series.series_instance_uid == chest.series).values(removed_at=datetime.now(UTC))
        )
    assert uids(service.get("studies").json(), "0020000D") == {other.study}
    assert service.get(f"studies/{chest.study}/series").status_code == 204
