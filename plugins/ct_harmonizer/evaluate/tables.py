"""From rows to tables: means over phantoms with intervals, by group, and the acceptance table with its verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from plugins.ct_harmonizer.evaluate.combat import combat
from plugins.ct_harmonizer.evaluate.resolution import JUDGED_F50_PER_MM
from plugins.ct_harmonizer.evaluate.statistics import Estimate, estimate, paired_gain
from plugins.ct_harmonizer.evaluate.study import Row, of
from plugins.ct_harmonizer.evaluate.variability import spread
from plugins.ct_harmonizer.simulate.renditions import UNSEEN

REFERENCE = "Force Br40 100 mAs"  # the batch that ComBat brings others to
COMBAT = "ComBat on figures"
_RESOLUTION_BARS = (("f50 RMS error %", 5, 3), ("f50 bias, abs %", 3, 3), ("f10 RMS error %", 8, 5))


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of the tables, a mean over a phantom's rows."""

    name: str
    of_row: Callable[[Row], float | None]
    digits: int = 1


def _absolute(key: str) -> Callable[[Row], float | None]:
    return lambda row: abs(row[key])


def _plain(key: str) -> Callable[[Row], float | None]:
    return lambda row: row[key]


FIGURES = (
    Figure("SSIM %", _plain("ssim_percent")),
    Figure("PSNR dB", _plain("psnr_db")),
    Figure("NRMSE %", _plain("nrmse_percent")),
    Figure("RMSE HU", _plain("rmse_hu")),
    Figure("abs LAA-950 points", _absolute("error_laa950_points"), 2),
    Figure("abs Perc15 HU", _absolute("error_perc15_hu")),
    Figure("abs mass %", _absolute("error_mass_percent"), 2),
    Figure("mean lung shift HU", _plain("error_mean_hu")),
    Figure("d'", _plain("d_prime")),
)


def by_phantom(rows: Sequence[Row], value: Callable[[Row], float | None]) -> dict[int, float]:
    """The mean of each phantom's rows; those without the figure are left out."""
    found: dict[int, list[float]] = {}
    for row in rows:
        one = value(row)
        if one is not None:
            found.setdefault(row["phantom"], []).append(one)
    return {phantom: float(np.mean(values)) for phantom, values in found.items()}


def methods_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows if row["method"]))


PAPER, OTHERS, NEVER_TRAINED_ON = "paper's renditions", "other scanners", "kernels never trained on"


def group_of(row: Row) -> str:
    """The paper's renditions, other scanners', or `simulate.renditions.unseen`."""
    if row["rendition"].startswith(UNSEEN):
        return NEVER_TRAINED_ON
    return PAPER if row["rendition"].startswith("Force") else OTHERS


def kernel_of(row: Row) -> str:
    """Kernel with its iterative strength, or the other scanner's rendition."""
    if not row["rendition"].startswith("Force"):
        return str(row["rendition"])
    return str(row["kernel"]) + (f" strength {row['strength']}" if row["strength"] else "")


def told(found: Estimate, digits: int = 1) -> str:
    """Mean ± SD between phantoms (95 % interval of the mean)."""
    return f"{found.mean:.{digits}f}±{found.deviation:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def comparison(rows: Sequence[Row], group: str | None = None) -> list[list[str]]:
    """Head and a line a method: every figure of chests, of one group where one is given."""
    rows = [row for row in rows if group in {None, group_of(row)}]
    lines = [["method", *(figure.name for figure in FIGURES)]]
    for method in methods_of(rows):
        own = of(rows, "chest", method)
        cells = [_cell(by_phantom(own, figure.of_row), figure.digits) for figure in FIGURES]
        lines.append([method, *cells])
    return lines


def _cell(values: dict[int, float], digits: int) -> str:
    return told(estimate(values), digits) if values else "-"


def grouped(rows: Sequence[Row], figure: Figure, group: Callable[[Row], str]) -> list[list[str]]:
    """One figure by group (a line each) and method (a column each)."""
    names = methods_of(rows)
    lines = [[figure.name, *names]]
    for name in sorted({group(row) for row in rows if row["kind"] == "chest"}):
        chosen = [[row for row in of(rows, "chest", method) if group(row) == name] for method in names]
        lines.append([name, *(_cell(by_phantom(own, figure.of_row), figure.digits) for own in chosen)])
    return lines


def gains(rows: Sequence[Row], base: str = "identity") -> list[list[str]]:
    """PSNR over the base, paired by phantom."""
    below = by_phantom(of(rows, "chest", base), _plain("psnr_db"))
    found = {name: by_phantom(of(rows, "chest", name), _plain("psnr_db")) for name in methods_of(rows) if name != base}
    return [["method", "gain in PSNR, dB"], *([name, told(paired_gain(own, below), 2)] for name, own in found.items())]


def spreads(rows: Sequence[Row]) -> list[list[str]]:
    """SD across the paper's renditions of each patient's LAA-950 and Perc15, ComBat on the identity's figures beside the methods."""
    lines = [["method", "SD LAA-950 points", "SD Perc15 HU"]]
    for method in methods_of(rows):
        own = [row for row in of(rows, "chest", method) if group_of(row) == PAPER]
        lines.append([method, *_spread_cells(own)])
    own = [row for row in of(rows, "chest", "identity") if group_of(row) == PAPER]
    adjusted = combat_rows(own)
    if adjusted:
        lines.append([COMBAT, *_spread_cells(adjusted)])
    return lines


def spread_of(rows: Sequence[Row], key: str) -> Estimate:
    values: dict[int, list[float]] = {}
    for row in rows:
        values.setdefault(row["phantom"], []).append(row[key])
    return estimate(spread(values))


def _spread_cells(rows: Sequence[Row]) -> list[str]:
    return [told(spread_of(rows, key), 2) for key in ("laa950_percent", "perc15_hu")]


def combat_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows with LAA-950, Perc15 and mass adjusted, each rendition a batch; none where phantoms are fewer than three."""
    if len({row["phantom"] for row in rows}) < 3:
        return []
    keys = ("laa950_percent", "perc15_hu", "mass_g")
    features = np.array([[row[key] for key in keys] for row in rows], np.float64)
    out = combat(features, [row["rendition"] for row in rows], reference=REFERENCE, empirical_bayes=False)
    return [{**row, **dict(zip(keys, one.tolist(), strict=True))} for row, one in zip(rows, out, strict=True)]


NODULE_FIGURES = (("volume", "volume_mm3"), ("area per volume", "area_per_volume"), ("sphericity", "sphericity"))


def nodule_nrmse(rows: Sequence[Row], key: str) -> float | None:
    """`100 ||x - t|| / ||t||` over nodules that were found in image and truth."""
    pairs = [(row[key], row[f"true_{key}"]) for row in rows if row[key] is not None and row[f"true_{key}"] is not None]
    if not pairs:
        return None
    image, truth = np.transpose(pairs)
    return float(100 * np.linalg.norm(image - truth) / np.linalg.norm(truth))


def nodules(rows: Sequence[Row]) -> list[list[str]]:
    """NRMSE of shape, and how many of the nodules were found."""
    lines = [["method", *(f"{name} NRMSE %" for name, _ in NODULE_FIGURES), "found"]]
    for method in methods_of(rows):
        own = of(rows, "nodule", method)
        if own:
            errors = [nodule_nrmse(own, key) for _, key in NODULE_FIGURES]
            found = sum(row["volume_mm3"] is not None for row in own)
            lines.append([method, *("-" if e is None else f"{e:.1f}" for e in errors), f"{found} of {len(own)}"])
    return lines


@dataclass(frozen=True, slots=True)
class Bar:
    """What is asked: `value` at least or at most `must`, better `stretch`."""

    name: str
    must: float
    stretch: float
    value: float | None
    higher: bool = False

    @property
    def verdict(self) -> str:
        """In words; a figure that was not measured passes nothing."""
        if self.value is None or not np.isfinite(self.value):
            return "not measured"
        sign = 1 if self.higher else -1
        if sign * self.value >= sign * self.stretch:
            return "stretch"
        return "pass" if sign * self.value >= sign * self.must else "FAIL"


def bars(rows: Sequence[Row], method: str) -> list[Bar]:
    """The acceptance bars of one method: chests in the paper's renditions, nodules of 6 mm and more."""
    chests = [row for row in of(rows, "chest", method) if group_of(row) == PAPER]
    found = {figure.name: by_phantom(chests, figure.of_row) for figure in FIGURES}
    mean = {name: float(np.mean(list(values.values()))) if values else None for name, values in found.items()}
    shift = by_phantom(chests, _absolute("error_mean_hu"))
    errors = {key: nodule_nrmse(of(rows, "nodule", method), key) for _, key in NODULE_FIGURES}
    many = len({row["rendition"] for row in chests}) > 1
    return [
        Bar("SSIM %", 95, 97, mean["SSIM %"], higher=True),
        Bar("PSNR dB", 32, 34, mean["PSNR dB"], higher=True),
        Bar("NRMSE %", 9.5, 8, mean["NRMSE %"]),
        Bar("abs error LAA-950, points", 0.3, 0.15, mean["abs LAA-950 points"]),
        Bar("abs error Perc15, HU", 8, 3, mean["abs Perc15 HU"]),
        Bar("abs error lung mass, %", 1, 0.3, mean["abs mass %"]),
        Bar("SD across renditions, LAA-950", 0.9, 0.4, spread_of(chests, "laa950_percent").mean if many else None),
        Bar("SD across renditions, Perc15 HU", 2.5, 1.5, spread_of(chests, "perc15_hu").mean if many else None),
        Bar("nodule volume NRMSE %", 2.5, 1.5, errors["volume_mm3"]),
        Bar("nodule A/V NRMSE %", 14, 8, errors["area_per_volume"]),
        Bar("nodule sphericity NRMSE %", 16, 8, errors["sphericity"]),
        Bar("mean lung shift, abs HU", 2, 1, float(np.mean(list(shift.values()))) if shift else None),
    ]


def resolution_bars(rows: Sequence[Row]) -> list[Bar]:
    """Of the measured MTF, which is no method's: RMS and mean of the relative errors over series whose true f50 is what the bars are for."""
    low, high = JUDGED_F50_PER_MM
    judged = [row for row in rows if row["kind"] == "resolution" and low <= row["true_f50_per_mm"] <= high]
    errors = {
        name: np.array([100 * (row[name] / row[f"true_{name}"] - 1) for row in judged if row[name] is not None])
        for name in ("f50_per_mm", "f10_per_mm")
    }
    f50, f10 = errors["f50_per_mm"], errors["f10_per_mm"]
    if not f50.size:
        return [Bar(name, must, stretch, None) for name, must, stretch in _RESOLUTION_BARS]
    values = (float(np.sqrt(np.mean(f50**2))), abs(float(f50.mean())), float(np.sqrt(np.mean(f10**2))))
    return [Bar(*bar, value) for bar, value in zip(_RESOLUTION_BARS, values, strict=True)]


def resolutions(rows: Sequence[Row]) -> list[list[str]]:
    """By kernel: true and measured f50 and f10 in cycles/mm, and how many series were refused."""
    lines = [["kernel", "true f50, f10", "error of f50 %", "error of f10 %", "series", "refused"]]
    own = [row for row in rows if row["kind"] == "resolution"]
    for kernel in sorted({kernel_of(row) for row in own}):
        these = [row for row in own if kernel_of(row) == kernel]
        read = [row for row in these if row["f50_per_mm"] is not None]
        true = ", ".join(f"{np.mean([row[f'true_{name}_per_mm'] for row in these]):.2f}" for name in ("f50", "f10"))
        errors = [
            [100 * (row[f"{name}_per_mm"] / row[f"true_{name}_per_mm"] - 1) for row in read] for name in ("f50", "f10")
        ]
        cells = [f"{np.mean(e):+.1f} (RMS {np.sqrt(np.mean(np.square(e))):.1f})" if e else "-" for e in errors]
        lines.append([kernel, true, *cells, str(len(these)), str(len(these) - len(read))])
    return lines


def acceptance(rows: Sequence[Row]) -> list[list[str]]:
    """Each bar with every method's figure and verdict."""
    names = methods_of(rows)
    columns = [bars(rows, name) for name in names]
    lines = [["quantity", "must", "stretch", *names]]
    for same in zip(*columns, strict=True):
        cells = [one.verdict if one.value is None else f"{one.value:.2f} {one.verdict}" for one in same]
        lines.append([same[0].name, f"{same[0].must:g}", f"{same[0].stretch:g}", *cells])
    for bar in resolution_bars(rows):
        told_once = bar.verdict if bar.value is None else f"{bar.value:.2f} {bar.verdict}"
        lines.append([bar.name, f"{bar.must:g}", f"{bar.stretch:g}", told_once, *([""] * (len(names) - 1))])
    return lines
