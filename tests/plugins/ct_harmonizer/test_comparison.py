"""One picture of several series: curves with bands, and every series in the table, read or refused."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from plugins.ct_harmonizer.comparison import compare

FREQUENCY = np.linspace(0, 1.6, 81)


def read(f50_per_mm, **more):
    mtf = 0.5 ** ((FREQUENCY / f50_per_mm) ** 2)
    figures = {
        f"{name}{end}_per_mm": at * share
        for name, at in (("f50", f50_per_mm), ("f10", 1.8 * f50_per_mm))
        for end, share in (("", 1.0), ("_low", 0.95), ("_high", 1.05))
    }
    curve = {
        "frequency_per_mm": FREQUENCY.tolist(),
        "mtf": mtf.tolist(),
        "low": (0.9 * mtf).tolist(),
        "high": mtf.tolist(),
    }
    return (
        {"source": "skin", "segments_accepted": 90, "segments_seen": 120, "noise_hu": 12.0, "edge": {}, "curve": curve}
        | figures
        | more
    )


def pixels(*series):
    return np.asarray(Image.open(io.BytesIO(compare(series))).convert("RGB"))


def coloured(image, red, green, blue):
    return int((np.abs(image.astype(int) - (red, green, blue)).max(axis=2) < 40).sum())


def test_each_series_has_a_curve_in_its_colour_and_a_line_of_the_table() -> None:
    one = pixels(("sharp", read(0.5)))
    two = pixels(("sharp", read(0.5)), ("soft", read(0.3)))
    assert two.shape[0] > one.shape[0]
    assert coloured(one, 0x1D, 0x4E, 0xD8) > 500
    assert coloured(one, 0xC2, 0x41, 0x0C) < 50
    assert coloured(two, 0xC2, 0x41, 0x0C) > 500


def test_what_is_not_used_is_dashed_and_what_is_refused_has_no_curve() -> None:
    table = {"source": "kernel table X B70", "distrust": "slices of 8 mm", "f50_per_mm": 0.75, "noise_hu": None}
    used, unused = pixels(("a", read(0.5))), pixels(("a", table | {"skin": read(0.5)}))
    refused = pixels(("a", {"refused": "no skin " * 30}))
    blue = [coloured(image, 0x1D, 0x4E, 0xD8) for image in (used, unused, refused)]
    assert 0.4 * blue[0] < blue[1] < 0.9 * blue[0]
    assert blue[2] < 0.2 * blue[0]
    assert len(compare([("a", {"refused": "no skin"})])) < 100_000
