"""A file of rules: rules that explain themselves on any series, or flaws with their lines."""

from __future__ import annotations

from pathlib import Path

import node.rules
from node.errors import RuleError
from node.rules import load
from node.rules.explain import text
from node.rules.file import parse
from node.rules.match import evaluate
from node.series import SeriesFacts, TagValues

_CT = {
    "Modality": TagValues(("CT",)),
    "ImageType": TagValues((("ORIGINAL", "PRIMARY", "AXIAL"),)),
    "SliceThickness": TagValues((1.25,)),
    "BodyPartExamined": TagValues(("CHEST", "")),
}
_SERIES = (
    SeriesFacts("", "", "CT1", "HARMONODE", 200, "axial", 0.0, 1.25, True, 250.0, _CT),
    SeriesFacts("", "", "", "", 1, None, None, None, None, None, {}),
)

SEEDS = [
    (Path(node.rules.__file__).parent / "shipped.yaml").read_bytes(),
    b"""name: a
plugin: p
match: {all: [{tag: Modality, equals: CT}, {not: {fact: gantry_tilt_deg, between: [1, 5]}}]}
""",
    b"""- name: b
  plugin: p
  match: &m {any: [{tag: ProtocolName, matches: '(a+)+$'}, {tag: StudyDate, exists: true}]}
- {name: c, plugin: p, priority: 5, late: wait, match: *m}
""",
    b"""name: d
plugin: p
match: {tag: '0018,1210', like: 'B?0*'}
when: {zone: Europe/Berlin, windows: [{days: [mon], hours: '20:00-06:00'}]}
""",
]


def one(data: bytes) -> None:
    """Nothing but a refusal is raised, each flaw has a line, and each sound rule decides."""
    try:
        texts = parse(data.decode("utf-8", "replace"), "f")
    except RuleError:
        return
    for found in texts:
        rule, flaws = load.examine(found.document)
        for flaw in flaws:
            assert found.where(flaw.places).startswith("f:")
            assert flaw.told(found.document)
        if rule is not None and not flaws:
            for series in _SERIES:
                assert text(evaluate(rule.match, series))
