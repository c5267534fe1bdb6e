"""The picture of the lungs that are found."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from plugins.ct_harmonizer.contours import picture, read, shown


def test_slices_are_spread_over_those_with_lung() -> None:
    lungs = np.zeros((40, 4, 4), bool)
    lungs[10:31] = True
    assert shown(lungs) == [13, 17, 20, 23, 27]
    assert len(shown(~np.ones((40, 4, 4), bool))) == 5


def test_contours_are_drawn_round_real_lungs_and_nowhere_in_a_head(data) -> None:
    def coloured(folder: str) -> float:
        png = np.asarray(Image.open(io.BytesIO(picture([("one", read(data / folder))]))).convert("RGB")).astype(int)
        return float(np.mean(png[..., 0] - png[..., 2] > 100))

    assert coloured("chest/lung-dx-a0002-b40f") > 0.003
    assert coloured("phantom/head-ya") == 0
