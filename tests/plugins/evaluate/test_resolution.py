from dataclasses import asdict

import numpy as np
import pytest

from plugins.ct_harmonizer.evaluate.resolution import resolution
from plugins.ct_harmonizer.evaluate.tables import acceptance, resolution_bars, resolutions


def row(f50, f10, *, true=(0.5, 0.8), kernel="Br49"):
    refused = None if f50 else "too little skin"
    return {
        "kind": "resolution",
        "method": None,
        "phantom": 1,
        "rendition": f"Force {kernel}",
        "kernel": kernel,
        "strength": 0,
        "f50_per_mm": f50,
        "f10_per_mm": f10,
        "true_f50_per_mm": true[0],
        "true_f10_per_mm": true[1],
        "refused": refused,
    }


def test_a_virtual_scan_reads_as_its_kernel_at_the_skin(virtual_scan):
    request = virtual_scan.request
    spacing = (request.spacing_mm, request.image.pixel_mm, request.image.pixel_mm)
    found = resolution(virtual_scan.hu.astype(np.float32), spacing, request.rendition, 150.0)
    assert found.refused is None
    assert found.f50_per_mm == pytest.approx(found.true_f50_per_mm, rel=0.05)
    assert found.true_f50_per_mm < request.rendition.kernel.f50_per_mm


def test_a_volume_without_skin_is_told_with_the_reason(virtual_scan):
    found = resolution(np.full((4, 64, 64), -1000, np.float32), (2.0, 1.0, 1.0), virtual_scan.request.rendition, 150.0)
    assert found.f50_per_mm is None
    assert "nothing denser" in found.refused
    assert asdict(found)["true_f50_per_mm"] > 0


def test_errors_are_relative_and_only_of_kernels_the_bars_are_for():
    rows = [row(0.51, 0.88), row(0.47, 0.80), row(0.9, 1.0, true=(0.8, 1.0), kernel="Br69"), row(None, None)]
    f50, bias, f10 = resolution_bars(rows)
    assert f50.value == pytest.approx(np.sqrt((2**2 + 6**2) / 2))
    assert bias.value == pytest.approx(2)
    assert f10.value == pytest.approx(np.sqrt(10**2 / 2))
    assert (f50.verdict, bias.verdict, f10.verdict) == ("pass", "stretch", "pass")
    head, *lines = resolutions(rows)
    assert lines[0] == ["Br49", "0.50, 0.80", "-2.0 (RMS 4.5)", "+5.0 (RMS 7.1)", "3", "1"]
    assert lines[1][2] == "+12.5 (RMS 12.5)"
    assert len(head) == len(lines[0])


def test_what_was_not_measured_passes_nothing():
    assert {bar.verdict for bar in resolution_bars([])} == {"not measured"}
    assert acceptance([])[-1][0] == "f10 RMS error %"
