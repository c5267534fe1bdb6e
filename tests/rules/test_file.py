"""A file of rules: every flaw is named with its line and column, and no file can harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import RuleError
from node.rules import load
from node.rules.file import parse

TWO_FLAWS = """\
# our rules
- name: chest
  match:
    all:
      - {tag: Modality, equals: CT}
      - {tag: SliceThicknes, between: [null, 5]}   # misspelt
  plugin: identity
- name: head
  match: {tag: Modality, equals: CT}
  plugin: identity
  when:
    zone: Europe/Berlin
    windows: [{hours: "20:00"}]
"""


@pytest.fixture
def refusal(tmp_path: Path):
    def refused(content: str) -> list[str]:
        (tmp_path / "rules.yaml").write_text(content)
        with pytest.raises(RuleError) as caught:
            load.read_rules(tmp_path / "rules.yaml")
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return refused


def test_every_flaw_of_every_rule_with_its_line(refusal):
    first, second = refusal(TWO_FLAWS)
    assert first.startswith(
        "rules.yaml:6:9: rule 'chest': match.all[1] (tag SliceThicknes): no such DICOM keyword; did you mean"
    )
    assert second.startswith("rules.yaml:13:16: rule 'head': when.windows[0].hours: expected hours such as")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("- name: a\n  match: {tag: Modality, equals: CT}\n", "rules.yaml:1:3: rule 'a': plugin: is missing"),
        ("- 5", "rules.yaml:1:3: a rule without a name: a rule is a map"),
        ("", "rules.yaml:1:1: a rule without a name: a rule is a map"),
        ("name: a\nplugin: p\nplugn: p\nmatch: {tag: Modality, equals: CT}", "rules.yaml:3:1: rule 'a': plugn: unknown key"),
        ("name: a\nplugin: p\npriority: 5000\nmatch: {tag: KVP, equals: 80}", "rules.yaml:3:1: rule 'a': priority: Input should"),
    ],
)  # fmt: skip
def test_the_nearest_place(refusal, content, place):
    assert refusal(content)[0].startswith(place)


def test_two_of_one_name_with_the_second_ones_line(refusal):
    rule = "- {name: a, match: {tag: KVP, equals: %s}, plugin: p}\n"
    assert refusal(rule % 80 + rule % 100) == ["rules.yaml:2:4: two rules are called a"]


def test_a_few_lines_cannot_stand_for_millions(refusal):
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9))
    assert "aliases counted" in refusal(bomb)[0]
    assert "nested too deeply" in refusal("[" * 5000)[0]
    assert "larger than 1 MB" in refusal("#" * (1 << 20) + "x")[0]


def test_what_a_file_names_must_exist(tmp_path: Path):
    path = tmp_path / "rules.yaml"
    path.write_text("- name: a\n  plugin: p\n  match: {tag: KVP, equals: 80}\n  destinations: [pacs, pcas]\n")
    with pytest.raises(RuleError, match=r"rules.yaml:4:24: rule 'a': no destination pcas in the configuration"):
        load.check_file(load.read_file(path), ["pacs"], lambda *_: None)


pieces = st.sampled_from(["- ", "name: a", "match:", "{", "}", "[", "]", "tag: Modality", ", ", "equals: CT", "\n", "  ", "&a ", "*a", ": ", "!!python/x ", "!!binary x", "2020-13-45", "? ", "<<: ", "|", '"', "'", "\t", "\0", "%"])  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(pieces, max_size=25).map("".join) | st.text(max_size=30))
def test_any_text_is_rules_or_refused_in_words(content: str):
    try:
        texts = parse(content, "f")
    except RuleError as error:
        texts = []
        assert str(error).startswith("f ")  # noqa: PT017 - it may be raised or not
    for text in texts:
        _rule, flaws = load.examine(text.document)
        for flaw in flaws:
            assert text.where(flaw.places).startswith("f:")
            assert flaw.told(text.document)
