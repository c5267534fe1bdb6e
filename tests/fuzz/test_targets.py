"""A few hundred inputs for each fuzz target, made from its seeds; `make fuzz` runs a million."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TARGETS = sorted(Path(__file__).parent.glob("target_*.py"))
_EDITS = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert", "repeat", "end"]), st.integers(0, 2000), st.binary(max_size=8)),
    max_size=6,
)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def edited(seed: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for what, where, new in edits:
        at = where % (len(data) + 1)
        match what:
            case "set":
                data[at : at + len(new)] = new
            case "cut":
                del data[at : at + len(new)]
            case "insert":
                data[at:at] = new
            case "repeat":
                data[at:at] = data[at : at + 64]
            case "end":
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.stem)
def test_no_input_breaks_it(path: Path):
    target = load(path)
    for seed in target.SEEDS:
        target.one(seed)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=300), st.builds(edited, st.sampled_from(target.SEEDS), _EDITS)))
    def holds(data: bytes) -> None:
        target.one(data)

    holds()


def test_every_target_is_run_by_make_fuzz():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert "tests/fuzz/target_*.py" in makefile
