"""The plugin as the node uses it, on real chests."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from node.errors import ConfigError, SeriesRefused
from node.plugin import Measurement, load, parameters
from plugins.ct_harmonizer import plugin as module
from plugins.ct_harmonizer.plugin import HarmonizerParameters


@pytest.fixture(scope="session")
def plugin():
    return load("ct_harmonizer")


@pytest.fixture(scope="session")
def sharp(series):
    return series("chest/lung-dx-a0002-b70f")


@pytest.fixture(scope="session")
def soft(series):
    return series("chest/lung-dx-a0002-b40f")


@pytest.fixture(scope="session")
def run(plugin):
    """Parameters, measurement (through JSON, as the node keeps it) and harmonized slices of a series at the defaults; each series once."""
    kept = {}

    def once(volume):
        if volume.series_instance_uid not in kept:
            chosen = parameters(plugin, {"mode": "classical"})
            stored = json.dumps(plugin.measure(volume, chosen).to_json(), allow_nan=False)
            measurement = Measurement.from_json(json.loads(stored))
            harmonized = np.stack(list(plugin.harmonize(volume, measurement, chosen)))
            kept[volume.series_instance_uid] = chosen, measurement, harmonized
        return kept[volume.series_instance_uid]

    return once


def test_two_kernels_of_one_acquisition_come_together(plugin, run, sharp, soft) -> None:
    """8 mm slices: the skin is not trusted, the named kernels are taken, and said so everywhere."""
    figures = []
    for volume, named in ((sharp, "B70f"), (soft, "B40f")):
        chosen, measurement, harmonized = run(volume)
        assert measurement.data["source"] == f"kernel table Siemens {named}"
        assert "8 mm" in measurement.data["distrust"]
        method = plugin.method(measurement, chosen)
        assert f"not measured but taken from the kernel table Siemens {named}" in method.description
        assert len(method.description) <= 900
        assert method.smooths
        assert not method.sharpens
        verdict = plugin.check(volume, harmonized, measurement, chosen)
        assert verdict.passed, verdict.reasons
        report = plugin.report(volume, harmonized, measurement, chosen, verdict)
        assert report.before.keys() == report.after.keys()
        assert "not trusted" in report.notes[1]
        assert all(png.startswith(b"\x89PNG") for png in report.pictures.values())
        assert set(report.pictures) == {"overview", "skin"}
        json.dumps(report.to_json(), allow_nan=False)
        figures.append((report.before, report.after))
    (sharp_before, sharp_after), (soft_before, soft_after) = figures
    for name, share in (("Perc15", 0.4), ("LAA-950", 0.2), ("noise", 0.2)):
        apart = abs(sharp_before[name].value - soft_before[name].value)
        left = abs(sharp_after[name].value - soft_after[name].value)
        assert left < share * apart, name


def test_what_the_skin_reads_tells_the_kernels_apart(run, sharp, soft) -> None:
    read = [run(volume)[1].data["skin"] for volume in (sharp, soft)]
    assert read[0]["f50_per_mm"] > 1.2 * read[1]["f50_per_mm"]
    assert read[0]["cloth_mm"] > 0.1  # the patient wears a shirt


def test_a_guard_stops_slices_that_moved(plugin, run, soft) -> None:
    chosen, measurement, harmonized = run(soft)
    verdict = plugin.check(soft, harmonized + np.float32(4), measurement, chosen)
    assert not verdict.passed
    assert any("lung" in reason and "+4" in reason for reason in verdict.reasons)
    broken = harmonized.copy()
    broken[0, 0, 0] = np.nan
    assert not plugin.check(soft, broken, measurement, chosen).passed


def test_a_thin_chest_is_measured_at_the_skin(plugin, run, series) -> None:
    volume = series("chest/lidc-0001")
    chosen, measurement, harmonized = run(volume)
    data = measurement.data
    assert data["source"] == "skin"
    assert data["f50_low_per_mm"] < data["f50_per_mm"] < data["f50_high_per_mm"]
    assert 0.2 < data["f50_per_mm"] < 0.55  # GE STANDARD: 0.51 /mm at isocentre, less at the skin
    assert data["segments_accepted"] > 300
    assert len({len(each) for each in data["curve"].values()}) == 1
    assert measurement.quantities["f50"].low == data["f50_low_per_mm"]
    assert plugin.check(volume, harmonized, measurement, chosen).passed
    unknown = volume.hu < -1500  # round the circle, told by no header
    assert (harmonized[unknown] == volume.hu[unknown]).all()


def test_a_head_is_refused_unless_it_is_only_measured(plugin, series) -> None:
    sharp, soft = series("phantom/head-ya"), series("phantom/head-ub")
    with pytest.raises(SeriesRefused, match="no chest CT"):
        plugin.measure(sharp, parameters(plugin, {}))
    chosen = parameters(plugin, {"require_lungs": False})
    f50 = [plugin.measure(volume, chosen).data["f50_per_mm"] for volume in (sharp, soft)]
    assert f50[0] > 1.5 * f50[1]


def test_what_is_refused_says_which_series_and_what_comes_of_it(plugin, series) -> None:
    volume = series("chest/lidc-0001")
    half = replace(volume, hu=volume.hu[:, :, 256:], padding=volume.padding[:, :, 256:])
    with pytest.raises(SeriesRefused) as refused:
        plugin.measure(half, parameters(plugin, {}))
    told = str(refused.value)
    assert told.startswith(f"series {volume.series_instance_uid} has its lungs cut by the edge of the field of view")
    assert told.endswith("it is not harmonized and nothing is sent for it")


def test_a_table_entry_of_another_kernel_is_refused_by_the_noise(plugin, soft) -> None:
    """The header says B70f, the pictures are B40f."""
    misnamed = replace(soft, headers=({"Manufacturer": "SIEMENS", "ConvolutionKernel": "B70f"},) * 30)
    with pytest.raises(SeriesRefused, match=r"sharper than the images are"):
        plugin.measure(misnamed, parameters(plugin, {}))


def test_a_measurement_of_another_series_is_not_sent(plugin, run, sharp, soft) -> None:
    chosen, measurement, _ = run(sharp)
    verdict = plugin.check(soft, run(soft)[2], measurement, chosen)
    assert any("sharper than the images are" in reason for reason in verdict.reasons)


def test_half_a_chest_without_skin_is_refused_with_the_reason(plugin, series) -> None:
    volume = series("chest/lidc-0001")
    middle = (slice(None), slice(130, 380), slice(260, 420))
    tight = replace(volume, hu=volume.hu[middle], padding=volume.padding[middle])
    with pytest.raises(SeriesRefused, match=r"skin|lung"):
        plugin.measure(tight, parameters(plugin, {"fallback": "refuse"}))


def test_without_skin_or_table_the_series_is_refused_with_both_reasons(plugin, sharp) -> None:
    with pytest.raises(SeriesRefused, match=r"8 mm.*not harmonized"):
        plugin.measure(sharp, parameters(plugin, {"fallback": "refuse"}))
    nameless = replace(sharp, headers=({"Manufacturer": "SIEMENS", "ConvolutionKernel": ["X99", "2"]},) * 30)
    with pytest.raises(SeriesRefused, match=r"no kernel 'X99' of 'SIEMENS'"):
        plugin.measure(nameless, parameters(plugin, {}))


def test_slices_do_not_depend_on_their_neighbours(plugin, run, soft) -> None:
    chosen, measurement, harmonized = run(soft)
    some = slice(10, 12)
    part = replace(soft, hu=soft.hu[some], padding=soft.padding[some], headers=soft.headers[some])
    assert np.array_equal(np.stack(list(plugin.harmonize(part, measurement, chosen))), harmonized[some])


def test_the_fingerprint_follows_what_decides_the_pixels(plugin, run, soft) -> None:
    measurement = run(soft)[1]
    prints = {
        plugin.method(measurement, parameters(plugin, given)).fingerprint
        for given in ({}, {"mode": "classical"}, {"target": "Br32"}, {"max_gain": 1.5}, {"skin_share": 1.0})
    }
    assert len(prints) == 5
    again = plugin.method(measurement, parameters(plugin, {"target": "Br32"}))
    assert again.fingerprint in prints
    assert again.name == "ct_harmonizer"


@pytest.mark.parametrize(
    "given",
    [
        {"target": "B99"},
        {"max_gain": 0.5},
        {"target_f50_per_mm": 0.4},
        {"target_f50_per_mm": 0.6, "target_f10_per_mm": 0.5},
        {"mode": "magic"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_wrong_parameters_are_named(plugin, given) -> None:
    with pytest.raises(ConfigError, match="ct_harmonizer"):
        parameters(plugin, given)


def test_a_target_may_be_given_in_numbers(plugin, run, soft) -> None:
    chosen = parameters(plugin, {"mode": "classical", "target_f50_per_mm": 0.3, "target_f10_per_mm": 0.5})
    measurement = run(soft)[1]
    assert "Target custom: f50 0.300 /mm, f10 0.500 /mm" in plugin.method(measurement, chosen).description


def test_the_network_is_asked_for_and_says_that_its_weights_are_provisional(plugin, soft) -> None:
    chosen = parameters(plugin, {"mode": "network"})
    measurement = plugin.measure(soft, chosen)
    method = plugin.method(measurement, chosen)
    assert "PROVISIONAL" in method.description
    assert plugin.weights().split()[2].rstrip(",") in method.description
    assert len(method.description) <= 900
    harmonized = np.stack(list(plugin.harmonize(soft, measurement, chosen)))
    verdict = plugin.check(soft, harmonized, measurement, chosen)
    assert verdict.passed, verdict.reasons
    assert "dense tissue shift" in verdict.quantities
    report = plugin.report(soft, harmonized, measurement, chosen, verdict)
    assert report.after["noise"].value < 0.5 * report.before["noise"].value
    assert report.pictures["overview"].startswith(b"\x89PNG")
    some = slice(10, 12)
    part = replace(soft, hu=soft.hu[some], padding=soft.padding[some], headers=soft.headers[some])
    assert np.array_equal(np.stack(list(plugin.harmonize(part, measurement, chosen))), harmonized[some])


def test_the_steps_of_a_series_share_its_lungs_and_its_noise(plugin, soft, monkeypatch):
    asked: list[str] = []

    def counted(name: str):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: asked.append(name) or real(*args))

    counted("lung_mask")
    counted("measure_noise")
    hu, padding = soft.hu.copy(), soft.padding.copy()
    hu.flags.writeable = padding.flags.writeable = False
    series = replace(soft, hu=hu, padding=padding)
    chosen = HarmonizerParameters(mode="classical")
    measurement = plugin.measure(series, chosen)
    harmonized = np.stack(list(plugin.harmonize(series, measurement, chosen)))
    verdict = plugin.check(series, harmonized, measurement, chosen)
    plugin.report(series, harmonized, measurement, chosen, verdict)
    assert sorted(asked) == ["lung_mask", "measure_noise", "measure_noise"]  # of the noise, before and after
