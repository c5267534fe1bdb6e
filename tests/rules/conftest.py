"""A series to ask rules about, and the shortest way to ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node.errors import RuleError
from node.rules.explain import Explanation
from node.rules.load import parse_rule
from node.rules.match import evaluate
from node.rules.model import Rule
from node.series import SeriesFacts, TagValues

CHEST = SeriesFacts(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.4",
    calling_ae_title="CT1",
    called_ae_title="HARMONODE",
    number_of_slices=30,
    orientation="axial",
    gantry_tilt_deg=0.0,
    slice_spacing_mm=2.5,
    spacing_uniform=True,
    z_extent_mm=75.0,
    tags={
        "Modality": TagValues(("CT",)),
        "ImageType": TagValues((("ORIGINAL", "PRIMARY", "AXIAL"),)),
        "BodyPartExamined": TagValues(("CHEST",)),
        "SeriesDescription": TagValues(("Thorax  8.0  B70f ",)),
        "SliceThickness": TagValues((8.0,)),
        "SeriesNumber": TagValues((3,)),
        "KVP": TagValues((100.0, 120.0)),
        "ConvolutionKernel": TagValues(("B70f", "B40f")),
        "ContrastBolusAgent": TagValues(("iodine",), missing=3),
        "ImageComments": TagValues(()),
        "PixelSpacing": TagValues(((0.646, 0.646),)),
        "ProtocolName": TagValues((), missing=30),
    },
)


@pytest.fixture
def chest() -> SeriesFacts:
    """30 axial slices of a chest, thick, with two kernels and two voltages mixed, contrast agent on 27 of them."""
    return CHEST


@pytest.fixture
def rule() -> Callable[..., Rule]:
    """A rule of this match."""

    def make(match: Any, **fields: Any) -> Rule:
        return parse_rule({"name": "test", "match": match, "plugin": "identity", **fields})

    return make


@pytest.fixture
def ask(rule: Callable[..., Rule]) -> Callable[..., Explanation]:
    """What a match says of the chest, or of other facts."""
    return lambda match, facts=CHEST: evaluate(rule(match).match, facts)


@pytest.fixture
def refusal(rule: Callable[..., Rule]) -> Callable[..., str]:
    """The message with which a match is refused."""

    def refused(match: Any, **fields: Any) -> str:
        with pytest.raises(RuleError) as caught:
            rule(match, **fields)
        return str(caught.value)

    return refused
