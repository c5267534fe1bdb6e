"""The lungs of a virtual patient are found, and what is said of how well."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.ct_harmonizer.evaluate import lungs
from plugins.ct_harmonizer.evaluate.lungs import Overlap
from plugins.ct_harmonizer.simulate.phantom.patient import Emphysema, Patient


def test_dice_counts_what_is_shared() -> None:
    a, b = np.zeros((2, 10), bool)
    a[:4], b[2:6] = True, True
    assert lungs.dice(a, b) == pytest.approx(0.5)
    assert lungs.dice(a, a) == 1
    assert lungs.dice(a, ~a) == 0


def test_a_series_that_misses_the_bar_fails_its_line() -> None:
    good = [Overlap(1, "soft", 1.0, 0.99, 0.0, 0.01), Overlap(2, "soft", 1.0, 0.985, 0.0, 0.02)]
    bad = [Overlap(1, "sharp", 1.0, 0.99, 0.0, 0.01), Overlap(2, "sharp", 1.0, 0.979, 0.0, 0.03)]
    _, _, soft, sharp = lungs.table([*good, *bad]).splitlines()
    assert soft.endswith("| 0.9850 | 0.00 | 1.50 | pass |")
    assert sharp.endswith("| 0.9790 | 0.00 | 2.00 | FAIL |")


def test_soft_and_sharp_images_of_a_patient_show_the_same_lungs(monkeypatch) -> None:
    healthy = Patient(5, emphysema=Emphysema(0.0), nodules=())  # severe emphysema takes minutes to draw
    monkeypatch.setattr(lungs, "random_patient", lambda _seed: healthy)
    monkeypatch.setattr(lungs, "STEP_MM", 25.0)
    monkeypatch.setattr(lungs, "RENDITIONS", ("Force Br32 20 mAs", "Force Br69 20 mAs"))
    found = lungs.overlaps(5, (5.0,), matrix=256)
    assert all(one.dice > lungs.MUST for one in found)
