"""What a person and a program read of a decision."""

from __future__ import annotations

import json

from node.rules.explain import Answer, Decision, Explanation, misses, summary, text

MATCH = {
    "all": [
        {"tag": "Modality", "equals": "CT"},
        {"tag": "SliceThickness", "between": [None, 5]},
        {"any": [{"tag": "ProtocolName", "like": "*lung*"}, {"tag": "BodyPartExamined", "one_of": ["LUNG", "HEAD"]}]},
        {"not": {"tag": "ImageType", "value": 1, "equals": "ORIGINAL"}},
    ]
}


def test_the_tree_line_by_line(ask):
    assert text(ask(MATCH)) == (
        "✗ all of: 1 of 4 hold\n"
        "  ✓ Modality (0008,0060) is CT on 30 of 30 slices, wanted CT\n"
        "  ✗ Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5\n"
        "  ✗ any of: none of 2 holds\n"
        "    ✗ Protocol Name (0018,1030) is missing on 30 of 30 slices, wanted like *lung*\n"
        "    ✗ Body Part Examined (0018,0015) is CHEST on 30 of 30 slices, wanted one of LUNG, HEAD\n"
        "  ✗ not: the part below holds\n"
        "    ✓ Image Type (0008,0008) value 1 is ORIGINAL on 30 of 30 slices, wanted ORIGINAL"
    )


def test_each_part_knows_its_path(ask):
    said = ask(MATCH)
    assert said.path == "match"
    assert said.parts[2].parts[1].path == "match.all[2].any[1]"
    assert said.parts[3].parts[0].path == "match.all[3].not"


def test_the_summary_names_what_decided(ask):
    assert summary(ask(MATCH)) == (
        "Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5; "
        "none of 2 alternatives at match.all[2]: Protocol Name (0018,1030) is missing on 30 of 30 slices, "
        "Body Part Examined (0018,0015) is CHEST on 30 of 30 slices; "
        "excluded: Image Type (0008,0008) value 1 is ORIGINAL on 30 of 30 slices"
    )
    chosen = ask({"any": [{"tag": "Modality", "equals": "MR"}, {"tag": "Modality", "equals": "CT"}]})
    assert summary(chosen) == "Modality (0008,0060) is CT on 30 of 30 slices"


def test_several_values_are_said(ask):
    assert ask({"tag": "KVP", "equals": 120}).why == "KVP (0018,0060) is 100 or 120 over 30 slices, wanted 120"
    partly = ask({"tag": "ContrastBolusAgent", "equals": "iodine"})
    assert partly.found == "Contrast/Bolus Agent (0018,0010) is missing on 3 of 30 slices, else iodine"


def test_json_both_ways(ask):
    said = ask(MATCH)
    stored = json.loads(json.dumps(said.to_json()))
    assert Explanation.from_json(stored) == said
    assert stored["parts"][1]["why"] == "Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5"
    decision = Decision("lung", (Answer("lung", 2, 10, said),))
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision
    never = Decision(None, (), ("it is a localizer",))
    assert Decision.from_json(never.to_json()) == never


def test_a_decision_without_a_match_says_what_each_rule_lacked(ask):
    decision = Decision(None, (Answer("thin", 1, 0, ask({"tag": "SliceThickness", "between": [None, 5]})),))
    assert decision.reason == (
        "no rule selects it: thin: Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5"
    )


class TestMisses:
    """What kept a rule from selecting a series, and whether it was one thing alone."""

    def test_one_clause_of_many_is_a_near_miss(self, ask):
        match = {"all": [{"tag": "Modality", "equals": "CT"}, {"tag": "SliceThickness", "between": [None, 5]}]}
        (missed,) = misses(ask(match))
        assert missed.path == "match.all[1]"
        answer = Answer("test", 1, 0, ask(match))
        assert answer.near_miss == (
            "match.all[1]: Slice Thickness (0018,0050) is 8 on 30 of 30 slices, wanted at most 5"
        )
        assert answer.to_json()["near_miss"] == answer.near_miss

    def test_two_clauses_are_none(self, ask):
        match = {"all": [{"tag": "Modality", "equals": "MR"}, {"tag": "SliceThickness", "between": [None, 5]}]}
        assert len(misses(ask(match))) == 2
        assert Answer("test", 1, 0, ask(match)).near_miss == ""

    def test_of_alternatives_the_nearest_counts(self, ask):
        wrong = {"tag": "Modality", "equals": "MR"}
        both = {"all": [wrong, {"tag": "KVP", "equals": 80}]}
        (missed,) = misses(ask({"any": [both, {"tag": "BodyPartExamined", "equals": "LUNG"}]}))
        assert missed.path == "match.any[1]"

    def test_what_is_excluded_is_one_miss(self, ask):
        (missed,) = misses(
            ask({"not": {"any": [{"tag": "Modality", "equals": "CT"}, {"tag": "KVP", "present": True}]}})
        )
        assert missed.kind == "not"

    def test_a_match_misses_nothing(self, ask):
        assert misses(ask({"tag": "Modality", "equals": "CT"})) == ()
