"""Real series under outside judges: dicom3tools, and what a viewer lines slices up by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from node.dicom.codecs import CodecMissing
from node.dicom.facts import series_facts
from node.dicom.headers import read_header
from node.dicom.volume import load_volume
from node.plugin import Method

Judge = Callable[[str, Sequence[Path]], list[str]]

BOTH = Method("ct_harmonizer", "1", "Towards f50 0.40 /mm, f10 0.63 /mm.", "cd" * 32, sharpens=True, smooths=True)
SERIES = ("lidc-0001", "b70f", "b40f", "head-ub", "head-ya")


@pytest.mark.parametrize("name", SERIES)
def test_dicom3tools_find_no_error_where_the_source_may_have_some(
    chest: dict[str, list[Path]], workshop: Any, judge: Judge, name: str
) -> None:
    sources = chest[name]
    derived = [one.path for one in workshop.derive(sources, method=BOTH)]
    assert len(derived) == len(sources)
    assert judge("dciodvfy", derived) == []
    assert judge("dcentvfy", [*sources, *derived]) == []


def test_two_derived_series_of_two_kernels_stand_in_one_study(
    chest: dict[str, list[Path]], workshop: Any, judge: Judge
) -> None:
    files = [one for name in ("b70f", "b40f") for one in chest[name]]
    derived = [one.path for name in ("b70f", "b40f") for one in workshop.derive(chest[name], method=BOTH)]
    assert judge("dcentvfy", [*files, *derived]) == []
    assert len({dcmread(path, stop_before_pixels=True).SeriesInstanceUID for path in derived}) == 2


@pytest.mark.parametrize("name", SERIES)
def test_a_viewer_lines_both_series_up_and_shows_the_same(
    chest: dict[str, list[Path]], workshop: Any, name: str
) -> None:
    paths = chest[name][:8]
    source, made = load_volume(paths), load_volume([one.path for one in workshop.derive(paths)])
    assert made.spacing_mm == source.spacing_mm
    assert np.array_equal(made.padding, source.padding)
    assert np.array_equal(made.hu, source.hu)  # the identity, padding included
    for theirs, ours in zip(source.sources, made.sources, strict=True):
        for keyword in (
            *("StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"),
            *("PixelSpacing", "SliceThickness", "InstanceNumber", "WindowCenter", "WindowWidth", "KVP"),
        ):
            assert ours[keyword].value == theirs[keyword].value
        assert ours.SourceImageSequence[0].ReferencedSOPInstanceUID == theirs.SOPInstanceUID


def test_a_compressed_source_becomes_an_uncompressed_derived_one(data: Path, workshop: Any, judge: Judge) -> None:
    derived: dict[str, Path] = {}
    for path in sorted((data / "syntaxes/ct-image").glob("*.dcm")):
        try:
            loaded = load_volume([path])
        except CodecMissing:
            continue
        [one] = workshop.derive([path], loaded=loaded)
        derived[path.name] = one.path
        made = dcmread(one.path)
        real = ~loaded.padding[0]
        back = made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept)
        assert np.all(np.abs(back - loaded.hu[0])[real] <= 0.5), path.name
        lossy = dcmread(path, stop_before_pixels=True).get("LossyImageCompression") == "01"
        assert (made.get("LossyImageCompression") == "01") == lossy, path.name
    assert len(derived) >= 10
    assert judge("dciodvfy", list(derived.values())) == []


def test_lossless_syntaxes_of_one_image_make_one_object(data: Path, workshop: Any) -> None:
    folder = data / "syntaxes/ct-image"
    names = ["LittleEndianExplicit-1.2.840.10008.1.2.1", "LittleEndianImplicit-1.2.840.10008.1.2"]
    names += ["BigEndianExplicit-1.2.840.10008.1.2.2", "DeflatedExplicitVRLittleEndian-1.2.840.10008.1.2.1.99"]
    names += ["RLELossless-1.2.840.10008.1.2.5", "JPEGProcess14SV1-1.2.840.10008.1.2.4.70"]
    made = {workshop.derive([folder / f"{name}.dcm"])[0].sha256 for name in names}
    assert len(made) == 1


def test_an_error_of_the_source_is_mended_or_stays_and_none_is_added(data: Path, workshop: Any, judge: Judge) -> None:
    sources = sorted((data / "syntaxes/wg04").glob("CT*"))
    sources += [data / "chest/lidc-0002-incomplete/000.dcm", data / "phantom/head-tilted-uneven/000.dcm"]
    mended = 0
    for source in sources:
        before = judge("dciodvfy", [source])
        [derived] = workshop.derive([source], method=BOTH, keep_private_tags=True)
        after = judge("dciodvfy", [derived.path])
        # The one that stays cannot be mended without inventing how the patient was de-identified.
        assert [line for line in after if "<DeidentificationMethod>" not in line] == []
        assert set(after) <= set(before)
        mended += len(before) - len(after)
    assert mended > 5


def test_our_own_output_is_never_a_candidate(chest: dict[str, list[Path]], workshop: Any) -> None:
    derived = workshop.derive(chest["b70f"][:3])
    facts = series_facts([read_header(one.path) for one in derived], "PACS", "HARMONODE", lambda _: False)
    assert len(facts.never) >= 2
    assert any("Device UID" in reason for reason in facts.never)
    assert facts.malformed == ()
