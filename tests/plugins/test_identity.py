"""The identity plugin: nothing changes, and a change is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from node.plugin import Plugin, Verdict, Volume, load
from plugins.identity import IdentityParameters, IdentityPlugin


@pytest.fixture
def volume() -> Volume:
    hu = np.random.default_rng(1).integers(-1024, 1500, (3, 8, 8)).astype(np.float32)
    padding = np.zeros(hu.shape, bool)
    padding[:, 0, :] = True
    return Volume("1.2.3", hu, (1.0, 0.7, 0.7), 1.0, padding, ({}, {}, {}))


def test_it_is_installed_and_follows_the_protocol() -> None:
    plugin = load("identity")
    assert isinstance(plugin, IdentityPlugin)
    assert isinstance(plugin, Plugin)


def test_slices_come_back_unchanged_and_pass(volume: Volume) -> None:
    plugin = IdentityPlugin()
    given = IdentityParameters()
    measurement = plugin.measure(volume, given)
    harmonized = np.stack(list(plugin.harmonize(volume, measurement, given)))

    assert np.array_equal(harmonized, volume.hu)
    verdict = plugin.check(volume, harmonized, measurement, given)
    assert verdict.passed
    report = plugin.report(volume, harmonized, measurement, given, verdict)
    assert report.before == report.after
    assert report.before["mean_hu"].value == pytest.approx(volume.hu[:, 1:].mean(dtype=float))


def test_a_changed_pixel_fails_and_changed_padding_does_not(volume: Volume) -> None:
    plugin = IdentityPlugin()
    given = IdentityParameters()
    measurement = plugin.measure(volume, given)
    harmonized = volume.hu.copy()
    harmonized[1, 0, 3] += 1
    assert plugin.check(volume, harmonized, measurement, given).passed
    harmonized[1, 4, 3] += 1
    verdict = plugin.check(volume, harmonized, measurement, given)
    assert not verdict.passed
    assert verdict.reasons == ("1 pixels differ from the source",)
    assert verdict.quantities["differing_pixels"].value == 1


def test_all_padding_has_no_mean(volume: Volume) -> None:
    plugin = IdentityPlugin()
    given = IdentityParameters(note="trial")
    empty = Volume("1.2.3", volume.hu, volume.spacing_mm, None, np.ones(volume.hu.shape, bool), volume.headers)
    report = plugin.report(empty, volume.hu, plugin.measure(empty, given), given, Verdict(passed=True))
    assert report.before == {}
    assert report.notes == ("trial",)


def test_the_note_is_told_and_makes_another_object(volume: Volume) -> None:
    plugin = IdentityPlugin()
    measurement = plugin.measure(volume, IdentityParameters())
    plain = plugin.method(measurement, IdentityParameters())
    noted = plugin.method(measurement, IdentityParameters(note="trial " + "x" * 2000))
    assert "trial" in noted.description
    assert len(noted.description) <= 900
    assert noted.fingerprint != plain.fingerprint
    assert not plain.sharpens
    assert not plain.smooths


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ValidationError, match="strength"):
        IdentityParameters.model_validate({"strength": 3})
