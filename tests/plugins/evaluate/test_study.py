"""A tiny study from phantom to report, and that it goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from once import once

from plugins.ct_harmonizer.evaluate import report, study, tables
from plugins.ct_harmonizer.evaluate.methods import named
from plugins.ct_harmonizer.evaluate.study import Plan
from plugins.ct_harmonizer.simulate.renditions import by_name, unseen
from plugins.ct_harmonizer.weights import shipped

PLAN = Plan(phantoms=1, seed=5, slices=2, matrix=128)
NAMES = ("Force Br40 100 mAs", "Force Br69 20 mAs")


ENERGIES = study.bands.Reference((8.0, 12.0, 16.0, 20.0, 25.0))


@pytest.fixture(scope="module")
def studied(tmp_path_factory) -> tuple[list[study.Row], Path, dict]:
    """Rows of one phantom in two renditions and one nodule, with the file they are in."""
    rows, folder = once(tmp_path_factory, "study", lambda: _study(tmp_path_factory.mktemp("rows")))
    return rows, folder, named(ENERGIES, shipped())


def _study(folder: Path) -> tuple[list[study.Row], Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "renditions", lambda _self: tuple(by_name(name) for name in NAMES))
        patch.setattr(study, "_NODULE_RENDITIONS", NAMES[:1])
        rows = study._phantom(PLAN, ENERGIES, folder, PLAN.seed)
        again = study._phantom(PLAN, ENERGIES, folder, PLAN.seed)
    assert rows == again
    return rows, folder


def test_a_line_that_was_cut_short_is_taken_off(studied, tmp_path) -> None:
    rows, folder, _ = studied
    cut = tmp_path / "rows.jsonl"
    cut.write_text((folder / f"{PLAN.seed}.jsonl").read_text()[:-40])  # as if it were killed while writing
    assert study._kept(cut) == rows[:-8]  # a line holds an image's methods, and for a stack of slices its MTF
    assert cut.read_text().endswith("\n")


def test_every_method_has_a_row_of_each_image(studied) -> None:
    rows = studied[0]
    made = [row for row in rows if row["kind"] != "resolution"]
    assert len(made) == 3 * 7
    assert {row["method"] for row in made} == {
        "identity",
        "Eq. 2 filter",
        "band energy",
        "U-Net",
        "U-Net, anchored",
        "network, not anchored",
        "network",
    }
    assert [row["rendition"] for row in rows if row["kind"] == "resolution"] == list(NAMES[:1])
    json.dumps(rows, allow_nan=False)


def test_a_sharp_noisy_image_is_farther_from_the_truth_and_the_filter_brings_it_nearer(studied) -> None:
    found = {(row["rendition"], row["method"]): row for row in studied[0] if row["kind"] == "chest"}
    soft, sharp = (found[name, "identity"] for name in NAMES)
    assert soft["psnr_db"] > sharp["psnr_db"] + 2
    # Pixels of 3.9 mm show nothing above 0.13 /mm, where most of a filter's work lies.
    assert found[NAMES[1], "Eq. 2 filter"]["psnr_db"] > sharp["psnr_db"] + 0.1
    assert soft["true_laa950_percent"] == sharp["true_laa950_percent"]


def test_the_report_holds_every_table_and_picture(studied, tmp_path) -> None:
    rows, _, methods = studied
    two = [*rows, *({**row, "phantom": 6} for row in rows)]
    pages = report.write(two, replace(PLAN, phantoms=2), methods, tmp_path)
    for page in pages:
        text = page.read_text()
        assert all(name in text for name in ("SSIM %", "FAIL", "Eq. 2 filter", "bland-altman.png", "slices.png"))
        headings = text.count("<h2>") or text.count("\n## ")
        assert text.count("from seed 5; commit ") == text.count("--seed 5 ") == headings - 2  # tables, not pictures
        assert f"network {shipped().name}" in text
    assert (tmp_path / "slices.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "bland-altman.png").read_bytes().startswith(b"\x89PNG")


def test_kernels_never_trained_on_have_a_table_of_their_own(studied) -> None:
    rows = studied[0]
    new = [{**row, "rendition": unseen()[0].name} for row in rows if row["rendition"] == NAMES[1]]
    lines = tables.comparison([*rows, *new], tables.NEVER_TRAINED_ON)
    assert len(lines) == 8
    assert lines == tables.comparison(new) != tables.comparison(rows)


def test_rows_of_other_images_are_not_mixed(tmp_path) -> None:
    (tmp_path / "plan.json").write_text('{"slices": 9}')
    with pytest.raises(ValueError, match="choose another folder"):
        study.run(PLAN, tmp_path, 1, lambda _done, _total: None)


def test_bars_are_judged_both_ways() -> None:
    assert tables.Bar("a", 95, 97, 96, higher=True).verdict == "pass"
    assert tables.Bar("a", 95, 97, 97, higher=True).verdict == "stretch"
    assert tables.Bar("a", 95, 97, 94.9, higher=True).verdict == "FAIL"
    assert tables.Bar("a", 2, 1, 2.1).verdict == "FAIL"
    assert tables.Bar("a", 2, 1, 0.9).verdict == "stretch"
    assert tables.Bar("a", 2, 1, None).verdict == "not measured"
