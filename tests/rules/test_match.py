"""Every kind of clause, over the whole series."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from node.errors import RuleError
from node.rules.match import InForce, decide, evaluate
from node.rules.model import Equals
from node.series import SeriesFacts, TagValues


@pytest.mark.parametrize(
    ("clause", "matched"),
    [
        ({"tag": "Modality", "equals": "CT"}, True),
        ({"tag": "Modality", "equals": "MR"}, False),
        ({"tag": "Modality", "equals": " ct "}, True),
        ({"tag": "SliceThickness", "equals": 8}, True),
        ({"tag": "SliceThickness", "equals": 8.1}, False),
        ({"tag": "SeriesNumber", "equals": 3}, True),
        ({"fact": "spacing_uniform", "equals": True}, True),
        ({"fact": "spacing_uniform", "equals": False}, False),
        ({"fact": "orientation", "equals": "Axial"}, True),
        ({"fact": "calling_ae_title", "equals": "ct1"}, True),
        ({"tag": "BodyPartExamined", "one_of": ["LUNG", "chest"]}, True),
        ({"tag": "BodyPartExamined", "one_of": ["LUNG", "HEAD"]}, False),
        ({"tag": "SliceThickness", "one_of": [5, 8.0]}, True),
        ({"fact": "orientation", "one_of": ["coronal", "sagittal"]}, False),
        ({"tag": "SeriesDescription", "like": "*thorax*"}, True),
        ({"tag": "SeriesDescription", "like": "thorax*b70?"}, True),
        ({"tag": "SeriesDescription", "like": "*8.0*"}, True),
        ({"tag": "SeriesDescription", "like": "*8x0*"}, False),
        ({"tag": "SeriesDescription", "like": "horax*"}, False),
        ({"tag": "SliceThickness", "between": [None, 5]}, False),
        ({"tag": "SliceThickness", "between": [8, 8]}, True),
        ({"tag": "SliceThickness", "between": [5, None]}, True),
        ({"fact": "number_of_slices", "between": [30, 30]}, True),
        ({"fact": "number_of_slices", "between": [31, None]}, False),
        ({"fact": "slice_spacing_mm", "between": [2.5, 3]}, True),
        ({"fact": "z_extent_mm", "between": [None, 74.9]}, False),
        ({"fact": "gantry_tilt_deg", "between": [None, 0.5]}, True),
        ({"tag": "SeriesDescription", "matches": "b[0-9]+f$"}, True),
        ({"tag": "SeriesDescription", "matches": "^b[0-9]+f"}, False),
        ({"tag": "SeriesDescription", "matches": "(?-i)thorax"}, False),
        ({"fact": "called_ae_title", "matches": "^harmo"}, True),
        ({"tag": "Modality", "present": True}, True),
        ({"tag": "Modality", "present": False}, False),
        ({"fact": "orientation", "present": True}, True),
    ],
)
def test_each_test(ask, clause, matched):
    assert ask(clause).matched is matched


@pytest.mark.parametrize(
    ("clause", "matched"),
    [
        ({"tag": "ImageType", "equals": "AXIAL"}, True),
        ({"tag": "ImageType", "equals": "LOCALIZER"}, False),
        ({"tag": "ImageType", "value": 1, "equals": "ORIGINAL"}, True),
        ({"tag": "ImageType", "value": 2, "equals": "ORIGINAL"}, False),
        ({"tag": "ImageType", "value": 4, "equals": "AXIAL"}, False),
        ({"tag": "ImageType", "value": 4, "present": False}, True),
        ({"tag": "ImageType", "value": 3, "present": True}, True),
        ({"tag": "PixelSpacing", "value": 2, "between": [0.6, 0.7]}, True),
        ({"tag": "ImageType", "like": "AX*"}, True),
        ({"all": [{"tag": "ImageType", "equals": "ORIGINAL"}, {"tag": "ImageType", "equals": "AXIAL"}]}, True),
    ],
)
def test_an_attribute_of_several_values(ask, clause, matched):
    assert ask(clause).matched is matched


def test_a_value_that_one_instance_lacks_is_missing(ask, chest: SeriesFacts):
    types = TagValues((("ORIGINAL", "PRIMARY", "AXIAL"), ("ORIGINAL", "PRIMARY")))
    said = ask({"tag": "ImageType", "value": 3, "equals": "AXIAL"}, replace(chest, tags={"ImageType": types}))
    assert not said.matched
    assert said.missing
    assert "is missing on some of 30 slices, else AXIAL" in said.why


@pytest.mark.parametrize(
    ("clause", "matched"),
    [
        ({"tag": "KVP", "between": [100, 120]}, True),
        ({"tag": "KVP", "between": [110, 120]}, False),
        ({"tag": "KVP", "equals": 120}, False),
        ({"tag": "KVP", "one_of": [100, 120, 140]}, True),
        ({"tag": "ConvolutionKernel", "equals": "B70f"}, False),
        ({"tag": "ConvolutionKernel", "like": "B?0f"}, True),
        ({"not": {"tag": "ConvolutionKernel", "equals": "B70f"}}, True),
        ({"not": {"tag": "ConvolutionKernel", "matches": "^b"}}, False),
    ],
)
def test_a_clause_speaks_of_every_instance(ask, clause, matched):
    assert ask(clause).matched is matched


@pytest.mark.parametrize(
    "test",
    [{"equals": "x"}, {"one_of": ["x"]}, {"like": "x*"}, {"matches": "x"}, {"present": True}],
)
@pytest.mark.parametrize("tag", ["ProtocolName", "StudyDescription", "ContrastBolusAgent"])
def test_missing_makes_a_clause_false_and_says_so(ask, tag, test):
    said = ask({"tag": tag, **test})
    assert not said.matched
    assert said.missing
    assert "is missing on " + ("3 of 30" if tag == "ContrastBolusAgent" else "30 of 30") in said.why


def test_a_fact_that_cannot_be_known_is_missing(ask, chest: SeriesFacts):
    said = ask({"fact": "slice_spacing_mm", "between": [1, 5]}, replace(chest, slice_spacing_mm=None))
    assert not said.matched
    assert said.why == "slice spacing cannot be known, wanted between 1 and 5 mm"


def test_present_false_asks_that_no_instance_has_it(ask):
    assert ask({"tag": "ProtocolName", "present": False}).matched
    assert ask({"tag": "PatientPosition", "present": False}).matched
    assert not ask({"tag": "ContrastBolusAgent", "present": False}).matched
    assert not ask({"tag": "ContrastBolusAgent", "present": True}).matched


def test_not_of_a_missing_attribute_holds_and_says_so(ask):
    said = ask({"not": {"tag": "ProtocolName", "equals": "HEAD"}})
    assert said.matched
    assert "Protocol Name (0018,1030) is missing on 30 of 30 slices" in said.why
    both = ask({"all": [{"tag": "ProtocolName", "present": True}, {"not": {"tag": "ProtocolName", "equals": "HEAD"}}]})
    assert not both.matched


def test_presence_is_all_that_can_be_asked_of_a_sequence(ask, chest: SeriesFacts):
    clause = {"tag": "ContributingEquipmentSequence", "present": True}
    assert not ask(clause).matched
    assert ask(clause, replace(chest, tags={"ContributingEquipmentSequence": TagValues(("present",))})).matched


@pytest.mark.parametrize("value", ["", "   ", None, ()])
def test_an_empty_value_counts_as_missing(ask, chest: SeriesFacts, value):
    facts = replace(chest, tags={"SeriesDescription": TagValues((value,))})
    assert not ask({"tag": "SeriesDescription", "like": "*x*"}, facts).matched
    assert ask({"tag": "SeriesDescription", "present": False}, facts).matched


def test_what_is_no_number_is_not_in_a_range(ask, chest: SeriesFacts):
    for odd in ("8 mm", "nan", "inf", True):
        facts = replace(chest, tags={"SliceThickness": TagValues((odd,))})
        assert not ask({"tag": "SliceThickness", "between": [-1000, 1000]}, facts).matched
    spelt = replace(chest, tags={"SliceThickness": TagValues(("2.500 ",))})
    assert ask({"tag": "SliceThickness", "equals": 2.5}, spelt).matched


def test_a_pattern_that_ruins_backtracking_takes_no_time(ask, chest: SeriesFacts):
    facts = replace(chest, tags={"SeriesDescription": TagValues(("a" * 50_000 + "!",))})
    began = time.perf_counter()
    assert not ask({"tag": "SeriesDescription", "matches": "^(a+)+$"}, facts).matched
    assert not ask({"tag": "SeriesDescription", "like": "*a*a*a*a*a*a*b"}, facts).matched
    assert time.perf_counter() - began < 5


def test_a_clause_of_no_known_subject_cannot_be_asked(chest: SeriesFacts):
    with pytest.raises(RuleError, match="no such DICOM keyword"):
        evaluate(Equals(tag="Modalty", equals="CT"), chest)


class TestDecide:
    """Which of several rules takes a series."""

    def rules(self, rule, *wanted):
        return [
            InForce(rule({"tag": "Modality", "equals": modality}, name=name, priority=priority), 1, enabled)
            for name, modality, priority, enabled in wanted
        ]

    def test_the_highest_priority_that_matches(self, rule, chest):
        rules = self.rules(rule, ("low", "CT", 1, True), ("high", "CT", 5, True), ("highest", "MR", 9, True))
        decision = decide(rules, chest)
        assert decision.chosen == "high"
        assert [answer.rule for answer in decision.answers] == ["highest", "high", "low"]
        assert [answer.matched for answer in decision.answers] == [False, True, True]
        assert decision.reason.startswith("rule high (version 1) selects it: Modality (0008,0060) is CT")

    def test_a_tie_goes_by_name(self, rule, chest):
        assert decide(self.rules(rule, ("b", "CT", 1, True), ("a", "CT", 1, True)), chest).chosen == "a"

    def test_a_disabled_rule_is_not_asked(self, rule, chest):
        decision = decide(self.rules(rule, ("off", "CT", 1, False)), chest)
        assert decision.chosen is None
        assert decision.answers == ()
        assert decision.reason == "no rule is enabled"

    def test_what_can_never_be_a_candidate_is_asked_nothing(self, rule, chest):
        decision = decide(self.rules(rule, ("any", "CT", 1, True)), replace(chest, never=("this node made it",)))
        assert decision.chosen is None
        assert decision.answers == ()
        assert decision.reason == "never a candidate: this node made it"
