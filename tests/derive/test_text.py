"""Text of ours in the character set of the source."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset, dcmread

from node.plugin import Method

SETS = [
    ("ISO_IR 100", "Thorax für Köpfe"),
    ("ISO_IR 144", "Грудная клетка"),
    ("ISO_IR 192", "胸部 Thorax ñ"),
    ("GB18030", "胸部薄层"),
    ("GBK", "胸部薄层"),
    (["", "ISO 2022 IR 87"], "Thorax 胸部"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾑﾈ 胸部"),
    (["", "ISO 2022 IR 149"], "Thorax 흉부"),
    (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Thorax für"),
]


@pytest.mark.parametrize(("character_set", "text"), SETS)
def test_names_and_descriptions_survive(workshop: Any, character_set: Any, text: str) -> None:
    def written(source: Dataset) -> None:
        source.SpecificCharacterSet = character_set
        source.SeriesDescription = text
        source.PatientName = f"{text}^X"
        source.InstitutionName = text

    [path] = workshop.source(written)
    [derived] = workshop.derive([path])
    source, made = dcmread(path), dcmread(derived.path)
    assert made.SpecificCharacterSet == source.SpecificCharacterSet
    assert made.PatientName == source.PatientName
    assert made.SeriesDescription == f"Harmonized {text}"
    assert made.ContributingEquipmentSequence[0].InstitutionName == source.InstitutionName
    assert text in str(source.InstitutionName)


@pytest.mark.parametrize(("character_set", "text"), SETS)
def test_a_long_description_is_cut_by_characters(workshop: Any, character_set: Any, text: str) -> None:
    def written(source: Dataset) -> None:
        source.SpecificCharacterSet = character_set
        source.SeriesDescription = (text * 12)[:64]

    made = workshop.one(written).SeriesDescription
    whole = "Harmonized " + (text * 12)[:64]
    assert made == whole[:64].rstrip()


def test_a_broken_description_is_kept_as_its_bytes(workshop: Any) -> None:
    def ascii_only(source: Dataset) -> None:
        del source.SpecificCharacterSet
        source.SeriesDescription = "ThXrax"

    paths = workshop.source(ascii_only)
    paths[0].write_bytes(paths[0].read_bytes().replace(b"ThXrax", b"Th\xf6rax"))
    [derived] = workshop.derive(paths)
    assert b"Harmonized Th\xf6rax" in derived.path.read_bytes()


@pytest.mark.parametrize(
    ("character_set", "template", "made"),
    [
        ("ISO_IR 100", "Harmonisé {source}", "Harmonisé Lung"),
        (None, "Harmonisé {source}", "Harmonise Lung"),
        ("ISO_IR 144", "Harmonisé {source}", "Harmonise Lung"),
        ("ISO_IR 100", "調和 {source}", "?? Lung"),
        ("ISO_IR 192", "調和 {source}", "調和 Lung"),
        ("ISO_IR 100", "{source}\\new\n", "Lung/new"),
        ("ISO_IR 100", "Harmonized", "Harmonized"),
        ("ISO_IR 100", "{source} {{0}}", "Lung {0}"),
    ],
)
def test_a_template_of_another_alphabet(workshop: Any, character_set: str | None, template: str, made: str) -> None:
    def written(source: Dataset) -> None:
        del source.SpecificCharacterSet
        if character_set:
            source.SpecificCharacterSet = character_set
        source.SeriesDescription = "Lung"

    assert workshop.one(written, series_description=template).SeriesDescription == made


def test_a_source_without_a_description(workshop: Any) -> None:
    def nameless(source: Dataset) -> None:
        del source.SeriesDescription

    assert workshop.one(nameless).SeriesDescription == "Harmonized"


def test_a_character_set_nobody_knows(workshop: Any) -> None:
    def martian(source: Dataset) -> None:
        source.SpecificCharacterSet = "ISO_IR 999"

    assert workshop.one(martian, series_description="ö {source}").SeriesDescription == "o Thorax 1.0 B70f"


EVERY_FIELD = "{source}|{kernel}|{plugin}|{target}|{version}|{{x}}"


def test_every_field_of_a_template_is_filled(workshop: Any):
    method = Method("sharpener", "2.1", "Made sharper.", "ab" * 32, target="lung-standard")
    made = workshop.one(method=method, series_description=EVERY_FIELD, image_comments=EVERY_FIELD)
    assert made.SeriesDescription == "Thorax 1.0 B70f|B70f|sharpener|lung-standard|2.1|{x}"
    assert made.ImageComments == "|B70f|sharpener|lung-standard|2.1|{x}"


def test_a_field_that_looks_like_another_is_not_filled_again(workshop: Any):
    def sly(source: Dataset) -> None:
        source.ConvolutionKernel = ["{source}", "B"]

    assert workshop.one(sly, series_description="K {kernel}").SeriesDescription == "K {source}"


def test_comments_keep_to_the_source_s_unless_asked(workshop: Any):
    def remarked(source: Dataset) -> None:
        source.ImageComments = "größer als früher"

    assert workshop.one(remarked).ImageComments == "größer als früher"
    remark = "Harmonized: for quantification. {source}"
    assert workshop.one(remarked, image_comments=remark).ImageComments == (
        "Harmonized: for quantification. größer als früher"
    )
    assert workshop.one(image_comments=remark).ImageComments == "Harmonized: for quantification."
    long = workshop.one(lambda source: source.__setattr__("ImageComments", "x" * 10240), image_comments=remark)
    assert len(long.ImageComments) == 10240
