"""Clauses that can never decide are told when the rule is loaded; those that can are not."""

from __future__ import annotations

import pytest

from node.rules.match import InForce
from node.rules.reach import shadowed

CT = {"tag": "Modality", "equals": "CT"}
MR = {"tag": "Modality", "equals": "MR"}
THIN = {"tag": "SliceThickness", "between": [None, 5]}
THICK = {"tag": "SliceThickness", "between": [6, None]}
SPACED = {"fact": "spacing_uniform", "equals": True}


def refused(parts, said):
    return pytest.param({"all": parts}, said, id=said[:60])


@pytest.mark.parametrize(
    ("match", "said"),
    [
        refused([CT, MR], "match.all[1] (tag Modality): can never hold beside match.all[0] (equals CT)"),
        refused([CT, {"tag": "Modality", "one_of": ["MR", "PT"]}], "can never hold beside match.all[0]"),
        refused([CT, {"tag": "Modality", "like": "M*"}], "match.all[1] (tag Modality): can never hold"),
        refused([{"tag": "Modality", "matches": "^m"}, CT], "match.all[1] (tag Modality): can never hold"),
        refused([THIN, THICK], "match.all[1] (tag SliceThickness): can never hold beside match.all[0] (is at most 5)"),
        refused([THIN, {"tag": "SliceThickness", "equals": 8}], "can never hold"),
        refused([{"tag": "SeriesNumber", "between": [1, 5]}, {"tag": "SeriesNumber", "between": [5.5, 9]}], "can never hold"),
        refused(
            [{"tag": "KVP", "one_of": [80, 100]}, {"tag": "KVP", "one_of": [100, 120]}, {"tag": "KVP", "one_of": [120, 80]}],
            "match.all[2] (tag KVP): can never hold beside match.all[0]",
        ),
        refused([CT, {"not": CT}], "match.all[1].not (tag Modality): is the opposite of match.all[0]"),
        refused([CT, {"not": {"tag": "Modality", "one_of": ["CT", "MR"]}}], "match.all[1].not (tag Modality): can never hold"),
        refused([CT, {"tag": "Modality", "present": False}], "match.all[1] (tag Modality): can never hold"),
        refused([{"tag": "Modality", "present": False}, CT], "match.all[1] (tag Modality): can never hold"),
        refused([CT, {"not": {"tag": "Modality", "present": True}}], "match.all[1].not (tag Modality): can never hold"),
        refused([{"tag": "ImageType", "present": False}, {"tag": "ImageType", "equals": "AXIAL"}], "can never hold"),
        refused([SPACED, {"fact": "spacing_uniform", "equals": False}], "(fact spacing_uniform): can never hold"),
        refused([CT, {"tag": "Modality", "equals": "ct "}], "match.all[1] (tag Modality): says the same as match.all[0]"),
        refused([{"tag": "KVP", "one_of": [80, 100]}, {"tag": "KVP", "one_of": [100.0, 80]}], "says the same"),
        refused([CT, {"all": [THIN, CT]}], "match.all[1].all[1] (tag Modality): says the same as match.all[0]"),
        refused([CT, {"not": MR}], "match.all[1].not (tag Modality): always holds here"),
        refused([CT, {"tag": "Modality", "one_of": ["CT", "MR"]}], "match.all[1] (tag Modality): always holds here"),
        refused([{"tag": "Modality", "present": True}, CT], "match.all[0] (tag Modality): always holds here"),
        refused([THIN, {"tag": "SliceThickness", "between": [None, 3]}], "match.all[0] (tag SliceThickness): always holds"),
        refused([CT, {"any": [MR, THIN]}], "match.all[1].any[0] (tag Modality): can never hold beside match.all[0]"),
        refused([{"any": [MR, THIN]}, CT], "match.all[0].any[0] (tag Modality): can never hold beside match.all[1]"),
        refused([CT, {"any": [CT, THIN]}], "match.all[1].any[0] (tag Modality): always holds here"),
        refused([{"any": [CT, THIN]}, {"any": [THIN, CT]}], "match.all[1]: says the same as match.all[0]"),
        refused([THIN, {"any": [CT, {"all": [SPACED, THICK]}]}], "match.all[1].any[1].all[1] (tag SliceThickness): can never"),
        refused([CT, {"not": {"all": [CT, THIN]}}], "match.all[1].not.all[0] (tag Modality): can never hold"),
        refused([CT, {"not": {"any": [THIN, MR]}}], "match.all[1].not.any[1] (tag Modality): always holds here"),
        pytest.param({"any": [CT, THIN, CT]}, "match.any[2] (tag Modality): says the same as match.any[0]", id="any twice"),
        pytest.param({"any": [CT, {"not": CT}]}, "match.any[1].not (tag Modality): is the opposite of match.any[0]", id="any not"),
        pytest.param({"any": [{"all": [CT, MR]}, THIN]}, "match.any[0].all[1] (tag Modality): can never hold", id="in any"),
    ],
)  # fmt: skip
def test_what_decides_nothing_is_named(refusal, match, said):
    assert said in refusal(match)


@pytest.mark.parametrize(
    "match",
    [
        {"all": [{"tag": "ImageType", "equals": "ORIGINAL"}, {"tag": "ImageType", "equals": "AXIAL"}]},
        {"all": [{"tag": "ImageType", "value": 1, "equals": "ORIGINAL"}, {"tag": "ImageType", "equals": "AXIAL"}]},
        {"all": [{"tag": "Modality", "like": "C*"}, {"tag": "Modality", "like": "*T"}]},
        {"all": [{"tag": "KVP", "one_of": [80, 100]}, {"tag": "KVP", "one_of": [100, 120]}]},
        {"all": [THIN, {"any": [CT, {"tag": "SliceThickness", "between": [None, 1]}]}]},
        {"all": [{"not": CT}, {"not": MR}]},
        {"all": [{"tag": "Modality", "present": True}, {"not": CT}]},
        {"all": [{"not": {"tag": "KVP", "between": [None, 100]}}, {"not": {"tag": "KVP", "between": [100, None]}}]},
        {"all": [{"not": {"fact": "spacing_uniform", "equals": True}}, {"not": {"fact": "spacing_uniform", "equals": False}}]},
        {"any": [CT, MR]},
        {"any": [{"all": [CT, THIN]}, {"all": [MR, THICK]}]},
        {"not": {"all": [CT, THIN]}},
        {"not": {"not": CT}},
    ],
)  # fmt: skip
def test_what_may_decide_is_loaded(rule, match):
    assert rule(match).document()["match"] == match


class TestShadowed:
    """A rule behind one that selects whatever it selects."""

    def pairs(self, rule, *rules):
        return shadowed(
            [InForce(rule(match, name=name, priority=priority), 1, on) for name, match, priority, on in rules]
        )

    def test_the_same_match(self, rule):
        twins = [("a", {"all": [CT, THIN]}, 5, True), ("b", {"all": [THIN, CT]}, 1, True)]
        assert self.pairs(rule, *twins) == [("b", "a")]

    def test_a_match_that_asks_for_more(self, rule):
        assert self.pairs(rule, ("wide", CT, 5, True), ("narrow", {"all": [CT, THIN]}, 1, True)) == [("narrow", "wide")]

    def test_a_match_that_asks_for_more_and_comes_first(self, rule):
        assert self.pairs(rule, ("wide", CT, 1, True), ("narrow", {"all": [CT, THIN]}, 5, True)) == []

    def test_a_match_that_asks_for_something_else(self, rule):
        assert self.pairs(rule, ("a", {"all": [CT, THICK]}, 5, True), ("b", {"all": [CT, THIN]}, 1, True)) == []

    def test_a_disabled_rule_hides_nothing(self, rule):
        assert self.pairs(rule, ("a", CT, 5, False), ("b", CT, 1, True)) == []
