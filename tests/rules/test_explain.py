"""What a person and a program read of a decision."""

from __future__ import annotations

import json

from node.rules.explain import Answer, Decision, Explanation, summary, text

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
