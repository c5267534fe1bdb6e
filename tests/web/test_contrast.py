"""Every text colour reads on every ground it may stand on, in both schemes: WCAG 2.2 AA, computed from the style sheet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import node.web

SHEET = Path(node.web.__file__).with_name("static") / "harmonode.css"
TEXT = ("text", "muted", "accent", "good", "warn", "bad")
GROUNDS = ("ground", "raised", "sunken")
NOTES = (("bad", "bad-ground"), ("warn", "warn-ground"), ("good", "good-ground"), ("on-accent", "accent"))
DRAWN = ("edge", "accent", "good", "warn", "bad", "source", "target", "after")  # borders of controls, dots, curves


def schemes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root\s*\{(.*?)\}", SHEET.read_text(), re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block)) for block in blocks)
    return {"light": light, "dark": dark}


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_reads_on_its_ground(scheme: str):
    colours = schemes()[scheme]
    pairs = [(text, ground) for text in TEXT for ground in GROUNDS] + list(NOTES)
    low = {
        f"{a} on {b}": round(contrast(colours[a], colours[b]), 2)
        for a, b in pairs
        if contrast(colours[a], colours[b]) < 4.5
    }
    assert low == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_drawn_stands_out(scheme: str):
    colours = schemes()[scheme]
    low = [(a, b) for a in DRAWN for b in ("ground", "raised") if contrast(colours[a], colours[b]) < 3]
    assert low == []


def test_both_schemes_have_the_same_colours_and_no_rule_brings_its_own():
    light, dark = schemes().values()
    assert light.keys() == dark.keys()
    rules = re.sub(r":root\s*\{.*?\}", "", SHEET.read_text(), flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == []
