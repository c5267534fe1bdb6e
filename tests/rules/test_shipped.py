"""The shipped rules against real series: what they select, and why not what they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.dicom.facts import series_facts
from node.dicom.headers import read_header
from node.plugin import load as load_plugin
from node.plugin import parameters
from node.rules.explain import Decision, Explanation
from node.rules.load import SHIPPED, check_references, read_rules
from node.rules.match import InForce, decide
from node.series import SeriesFacts, TagValues


@pytest.fixture(scope="module")
def read(data: Path) -> Callable[[str], SeriesFacts]:
    def facts(folder: str) -> SeriesFacts:
        paths = sorted((data / folder).glob("*.dcm"))
        return series_facts([read_header(path) for path in paths], "CT1", "HARMONODE", lambda _uid: False)

    return facts


def shipped(facts: SeriesFacts) -> Decision:
    return decide([InForce(rule, 1, rule.enabled) for rule in read_rules(SHIPPED)], facts)


def failing(decision: Decision) -> list[str]:
    """The clauses of the outermost `all` that do not hold."""
    return [part.why for part in decision.answers[0].explanation.parts if not part.matched]


def leaves(explanation: Explanation) -> Iterator[Explanation]:
    yield from (
        (leaf for part in explanation.parts for leaf in leaves(part)) if explanation.parts else iter([explanation])
    )


def test_they_name_what_is_installed():
    for rule in read_rules(SHIPPED):
        check_references(rule, [], lambda name, given: parameters(load_plugin(name), given))
        assert rule.plugin == "ct_harmonizer"


def test_a_thin_chest_is_selected(read):
    decision = shipped(read("chest/lidc-0001"))
    assert decision.chosen == "lung"
    assert "Slice Thickness (0018,0050) is 2.5 on 84 of 84 slices" in decision.reason
    assert "Body Part Examined (0018,0015) is CHEST on 84 of 84 slices" in decision.reason


@pytest.mark.parametrize("folder", ["chest/lung-dx-a0002-b70f", "chest/lung-dx-a0002-b40f"])
def test_a_thick_chest_fails_on_its_thickness_alone(read, folder):
    decision = shipped(read(folder))
    assert decision.chosen is None
    assert failing(decision) == ["Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5"]


@pytest.mark.parametrize("folder", ["phantom/head-ub", "phantom/head-ya"])
def test_a_head_is_not_selected(read, folder):
    decision = shipped(read(folder))
    assert decision.chosen is None
    assert "Body Part Examined (0018,0015) is BRAIN on 30 of 30 slices" in decision.reason
    assert len(failing(decision)) == 2  # it is no chest, and it is a brain


def test_a_tilted_head_is_not_selected(read):
    decision = shipped(read("phantom/head-tilted-uneven"))
    assert decision.chosen is None
    assert "gantry tilt is 18.5 deg, wanted at most 0.5 deg" in decision.reason
    assert "number of slices is 14, wanted at least 20" in decision.reason


def test_a_localizer_is_never_asked_about(read):
    decision = shipped(read("phantom/head-localizer"))
    assert decision.reason.startswith("never a candidate: ")
    assert "LOCALIZER" in decision.reason


def test_a_few_slices_of_a_neck_are_not_selected(read):
    decision = shipped(read("chest/lidc-0002-incomplete"))
    assert decision.chosen is None
    assert "incomplete" in decision.reason or "number of slices is 8, wanted at least 20" in decision.reason


WORDS = [
    "Thorax", "CT CHEST W/O", "HR Lunge nativ", "AThoraxRoutine", "Poumons", "TDM thoracique", "Pulmon", "Tórax", "TORAX",
    "Polmoni", "Torace", "Longen", "LOW_DOSE_LUNG", "Angio pulmonary", "Brustkorb", "LungRoutine", "klatka piersiowa",
]  # fmt: skip


@pytest.mark.parametrize("keyword", ["BodyPartExamined", "ProtocolName", "SeriesDescription", "StudyDescription"])
@pytest.mark.parametrize("word", WORDS)
def test_any_of_the_names_of_the_chest_will_do(chest: SeriesFacts, keyword: str, word: str):
    tags = {
        "Modality": chest.tags["Modality"],
        "ImageType": chest.tags["ImageType"],
        "SliceThickness": TagValues((1.0,)),
        keyword: TagValues((word,)),
    }
    assert shipped(replace(chest, tags=tags)).chosen == "lung"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Modality": "MR"}, "Modality (0008,0060) is MR"),
        ({"ImageType": ("DERIVED", "PRIMARY", "AXIAL")}, "value 1 is DERIVED"),
        ({"ImageType": ("ORIGINAL", "PRIMARY", "CORONAL")}, r"is ORIGINAL\PRIMARY\CORONAL"),
        ({"SliceThickness": None}, "Slice Thickness (0018,0050) is missing on 30 of 30 slices"),
        ({"BodyPartExamined": "HEAD"}, "Body Part Examined (0018,0015) is HEAD"),
        ({"BodyPartExamined": "ABDOMEN"}, "Body Part Examined (0018,0015) is ABDOMEN"),
        ({"BodyPartExamined": "", "SeriesDescription": "Darstellung Becken"}, "none of 4 alternatives"),
        ({"SeriesDescription": "Thoracic spine 2.0"}, "excluded: Series Description (0008,103E) is Thoracic spine 2.0"),
        ({"SeriesDescription": "BWS Thorax 2.0"}, "excluded: Series Description"),
    ],
)
def test_what_is_no_original_axial_chest(chest: SeriesFacts, changed, said):
    tags = {**chest.tags, "SliceThickness": TagValues((1.0,))}
    tags |= {keyword: TagValues((value,)) if value else TagValues(()) for keyword, value in changed.items()}
    decision = shipped(replace(chest, tags=tags))
    assert decision.chosen is None
    assert said in decision.reason


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"number_of_slices": 19}, "number of slices is 19, wanted at least 20"),
        ({"spacing_uniform": False}, "uniform slice spacing is false, wanted true"),
        ({"spacing_uniform": None}, "uniform slice spacing cannot be known, wanted true"),
        ({"gantry_tilt_deg": 12.0}, "gantry tilt is 12 deg, wanted at most 0.5 deg"),
    ],
)
def test_what_the_geometry_excludes(chest: SeriesFacts, changed, said):
    facts = replace(chest, tags={**chest.tags, "SliceThickness": TagValues((5,))})
    assert shipped(facts).chosen == "lung"
    assert said in shipped(replace(facts, **changed)).reason
