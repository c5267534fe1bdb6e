"""What is wrong with a rule is told when it is loaded, with the path of the clause."""

from __future__ import annotations

from functools import reduce

import pytest

CT = {"tag": "Modality", "equals": "CT"}


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        # what it names
        ({"tag": "BodyPartExamend", "equals": "CHEST"}, "(tag BodyPartExamend): no such DICOM keyword; did you mean BodyPartExamined?"),
        ({"tag": "bodypartexamined", "equals": "CHEST"}, "did you mean BodyPartExamined?"),
        ({"tag": "Body Part Examined", "equals": "CHEST"}, "did you mean BodyPartExamined?"),
        ({"tag": "(0018,0015)", "equals": "CHEST"}, "attributes are named by keyword, (0018,0015) is BodyPartExamined"),
        ({"tag": "Xyzzyxyzzy", "equals": "CHEST"}, "(tag Xyzzyxyzzy): no such DICOM keyword"),
        ({"fact": "number_of_slice", "equals": 3}, "(fact number_of_slice): no such fact; did you mean number_of_slices?"),
        ({"equals": 3}, "a clause needs either `tag`, a DICOM keyword, or `fact`, a derived fact"),
        ({"tag": "Modality", "fact": "orientation", "equals": "CT"}, "a clause needs either `tag`"),
        ({"fact": "orientation", "value": 1, "equals": "axial"}, "`value` goes with `tag`"),
        ({"tag": "Modality", "value": 2, "equals": "CT"}, "Modality (0008,0060) has at most 1 value, so there is no value 2"),
        ({"tag": "PixelSpacing", "value": 3, "equals": 1}, "has at most 2 values, so there is no value 3"),
        ({"tag": "PatientName", "like": "DOE*"}, "no rule can ask for Patient's Name (0010,0010): it may identify the patient"),
        ({"tag": "StudyDate", "equals": "20240101"}, "dates and times are not kept"),
        ({"tag": "SliceLocation", "between": [0, 1]}, "it is of each instance, not of the series"),
        ({"tag": "TransferSyntaxUID", "equals": "1.2"}, "belongs to the file or the message, not to the data set"),
        # the type of what it asks for
        ({"tag": "Modality", "between": [1, 2]}, "`between` compares numbers, and Modality (0008,0060), CS, is a text"),
        ({"fact": "spacing_uniform", "between": [0, 1]}, "`between` compares numbers, and uniform slice spacing is true or false"),
        ({"tag": "SliceThickness", "equals": "abc"}, "Slice Thickness (0018,0050), DS, is a number, not 'abc'"),
        ({"tag": "SliceThickness", "one_of": [1, "5"]}, "is a number, not '5'"),
        ({"tag": "SliceThickness", "equals": True}, "is a number, not true"),
        ({"tag": "SliceThickness", "like": "5*"}, "`like` compares texts, and Slice Thickness (0018,0050), DS, is a number"),
        ({"fact": "number_of_slices", "matches": "3"}, "`matches` compares texts, and number of slices is a whole number"),
        ({"tag": "BodyPartExamined", "equals": False}, "is a text: write false in quotes"),
        ({"tag": "SeriesDescription", "equals": 5}, "is a text: write 5 in quotes"),
        ({"fact": "spacing_uniform", "equals": "yes"}, "uniform slice spacing is true or false, not 'yes'"),
        ({"tag": "ContributingEquipmentSequence", "equals": "x"}, "cannot be compared: only `present` can be asked of it"),
        ({"tag": "PixelData", "like": "x*"}, "cannot be compared"),
        ({"tag": "SeriesNumber", "equals": 3.5}, "is a whole number, never 3.5"),
        # an answer that is always the same
        ({"fact": "orientation", "equals": "axail"}, "orientation is one of axial, coronal, sagittal, oblique, never 'axail'"),
        ({"fact": "orientation", "one_of": ["axial", "oblique", "coronal", "sagittal"]}, "names every value"),
        ({"fact": "spacing_uniform", "one_of": [True, False]}, "names every value"),
        ({"fact": "number_of_slices", "between": [-5, -1]}, "number of slices is never between -5 and -1, so this clause is always false"),
        ({"fact": "number_of_slices", "between": [0, None]}, "number of slices is always 0 or more"),
        ({"fact": "number_of_slices", "between": [20.2, 20.8]}, "is never between 20.2 and 20.8"),
        ({"fact": "number_of_slices", "equals": -1}, "number of slices is never -1"),
        ({"fact": "number_of_slices", "present": True}, "always known"),
        ({"tag": "KVP", "between": [None, None]}, "open at both ends"),
        ({"tag": "KVP", "between": [140, 100]}, "`between` is inverted: 140 is more than 100"),
        ({"tag": "Modality", "one_of": []}, "the list of `one_of` is empty"),
        ({"tag": "Modality", "one_of": ["CT", "ct "]}, "`one_of` names ct twice"),
        ({"tag": "Modality", "equals": " "}, "an empty value counts as missing"),
        ({"tag": "ImageType", "equals": "ORIGINAL\\PRIMARY"}, "a backslash parts the values of Image Type (0008,0008)"),
        ({"tag": "Modality", "like": "CT"}, "has no * or ?: use `equals`, or *CT*"),
        ({"tag": "Modality", "like": "*"}, "is like every value"),
        ({"tag": "Modality", "like": " "}, "the pattern of `like` is empty"),
        ({"tag": "Modality", "matches": "(CT"}, "'(CT' is not a regular expression of RE2: missing )"),
        ({"tag": "Modality", "matches": "(?=CT)"}, "is not a regular expression of RE2"),
        ({"tag": "Modality", "matches": "(?:CT)?"}, "matches every value"),
        ({"all": []}, "the list of `all` is empty"),
        ({"any": []}, "the list of `any` is empty"),
        # the shape
        ({"tag": "Modality"}, "nothing here says what to test; expected one of all, any, not, equals"),
        ({"tag": "Modality", "equal": "CT"}, "nothing here says what to test (did you mean equals?)"),
        ({"tag": "Modality", "equals": "CT", "like": "C*"}, "a part of the tree has one test, and this one has equals and like"),
        ({"tag": "Modality", "equals": "CT", "vlaue": 1}, "unknown key (did you mean value?)"),
        ({"tag": "Modality", "equals": ["CT"]}, "expected a text in quotes, a number, true or false, got ['CT']"),
        ({"tag": "Modality", "equals": None}, "expected a text in quotes"),
        ({"tag": "KVP", "equals": float("nan")}, "expected a text in quotes, a number, true or false, got nan"),
        ({"tag": "KVP", "between": [1, 2, 3]}, "expected two numbers, [low, high]"),
        ({"tag": "KVP", "between": [1]}, "expected two numbers, [low, high]"),
        ({"tag": "KVP", "between": 5}, "expected two numbers, [low, high]"),
        ({"tag": "KVP", "between": ["1", 5]}, "expected a number, got '1'"),
        ({"tag": "KVP", "between": [1, float("inf")]}, "expected a number, got inf"),
        ({"tag": "KVP", "present": "yes"}, "Input should be a valid boolean"),
        ({"tag": "ImageType", "value": 0, "equals": "X"}, "greater than or equal to 1"),
        ("Modality == CT", "expected a clause such as {tag: Modality, equals: CT}, or all, any, not; got 'Modality == CT'"),
    ],
)  # fmt: skip
def test_a_flawed_clause_is_named_by_its_path(refusal, clause, said):
    message = refusal({"all": [CT, {"any": [{"not": clause}, {"tag": "KVP", "equals": 120}]}]})
    assert message.startswith("rule 'test' cannot be loaded: match.all[1].any[0].not")
    assert said in message


def test_the_clause_alone_has_a_path_too(refusal):
    assert "match (tag Modalty): no such DICOM keyword" in refusal({"tag": "Modalty", "equals": "CT"})


def test_every_flaw_is_told_at_once(refusal):
    message = refusal({"all": [{"tag": "Modalty", "equals": "CT"}, {"tag": "KVP", "equals": "high"}]})
    assert "match.all[0] (tag Modalty)" in message
    assert "match.all[1] (tag KVP)" in message


def test_a_tree_without_end_is_refused(refusal):
    assert "levels deep" in refusal(reduce(lambda inner, _: {"not": inner}, range(50), CT))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "a rule without a name cannot be loaded: name: "),
        ({"name": "two words"}, "name: "),
        ({"priority": "high"}, "priority: "),
        ({"priorty": 3}, "priorty: unknown key (did you mean priority?)"),
        ({"plugin": None}, "plugin: "),
        ({"destinations": "pacs"}, "destinations: "),
        ({"enabled": "no"}, "enabled: "),
        ({"parameters": []}, "parameters: "),
        ({"match": None}, "match: expected a clause"),
    ],
)
def test_a_flawed_rule_is_named_by_its_key(refusal, fields, said):
    assert said in refusal(fields.pop("match", CT), **fields)


@pytest.mark.parametrize(
    "match",
    [
        {"tag": "ImageType", "value": 9, "equals": "X"},
        {"tag": "KVP", "one_of": [80, 100.0]},
        {"tag": "PatientAge", "like": "0*Y"},
        {"tag": "PatientSex", "equals": "F"},
        {"tag": "SmallestPixelValueInSeries", "between": [None, -1]},
        {"fact": "orientation", "present": False},
        {"fact": "slice_spacing_mm", "between": [None, 5]},
        {"tag": "Modality", "matches": "^(CT|MR)$"},
        {"tag": "SOPClassUID", "equals": "1.2.840.10008.5.1.4.1.1.2"},
    ],
)
def test_what_is_sound_is_loaded(rule, match):
    loaded = rule(match)
    assert rule(loaded.document()["match"]) == loaded
