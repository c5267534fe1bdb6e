"""`harmonode harmonize` and `harmonode mtf`: the plugin on a folder, without a node."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from node import plugin
from node.cli.context import JSON, err, out, print_json, settings, uid_column
from node.config import Derive
from node.dicom.facts import series_facts
from node.dicom.headers import read_header
from node.dicom.volume import LoadedVolume, load_folder, load_volume
from node.errors import ConfigError, HarmonodeError, SeriesRefused

FOLDER = Annotated[Path, typer.Argument(help="A folder of DICOM files, searched to its depth.", metavar="DIR")]
FOLDERS = Annotated[
    list[Path], typer.Argument(help="Folders of DICOM files, searched to their depth.", metavar="DIR...")
]
PLUGIN = Annotated[str, typer.Option("--plugin", help="The plugin to use.")]
PARAMETERS = Annotated[
    list[str] | None, typer.Option("--set", help="A parameter of the plugin; may be repeated.", metavar="NAME=VALUE")
]


def register(app: typer.Typer) -> None:
    app.command("harmonize", epilog="Example: harmonode harmonize ./chest --out ./harmonized")(harmonize)
    app.command("mtf", epilog="Example: harmonode mtf ./chest --picture mtf.png")(mtf)


def harmonize(
    ctx: typer.Context,
    folder: FOLDER,
    output: Annotated[Path, typer.Option("--out", help="Where the derived series go, a subfolder each.")],
    name: PLUGIN = "ct_harmonizer",
    parameters: PARAMETERS = None,
) -> None:
    """Harmonize every series of a folder; exit status 1 where one was refused."""
    chosen = plugin.load(name)
    given = plugin.parameters(chosen, _parsed(parameters))
    refused = False
    for uid, paths in _series(folder):
        try:
            made, count = _harmonize_one(chosen, given, paths, output, settings(ctx).derive)
        except HarmonodeError as error:
            refused = True
            err.print(f"Series {uid} was refused; nothing was written: ", end="")
            err.print(str(error), markup=False, highlight=False)
        else:
            out.print(f"Series {uid}: {count} instances in {made}")
    if refused:
        raise typer.Exit(1)


def mtf(
    folders: FOLDERS,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="Where the picture goes: a .png file, or a folder for one a series. By default the current folder; with --json, none is drawn.",
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            help="A .png file for one picture of all series: their curves with bands, and what came of each. Then --picture is drawn only if given.",
        ),
    ] = None,
    parameters: PARAMETERS = None,
    as_json: JSON = False,
) -> None:
    """Measure the MTF of every series of the folders at the skin-air interface, and the noise in its soft tissue.

    Draws, a series a picture, the MTF with its band, the accepted skin on a slice, the edge, and the noise's spectrum.
    With --json: one object for one series, a list for several; frequencies in cycles/mm.
    Exit status 1 where a series was refused or cannot be read; the others are measured all the same.
    """
    chosen = plugin.load("ct_harmonizer")
    given = plugin.parameters(chosen, {"require_lungs": False, **_parsed(parameters)})
    drawn_in = picture or (None if as_json or compare else Path())
    found = [series for folder in folders for series in _series(folder)]
    if drawn_in and _is_png(drawn_in) and len(found) > 1:
        raise ConfigError(f"--picture {drawn_in} is one file, and there are {len(found)} series: name a folder")
    results: list[dict[str, Any]] = []
    labels: list[str] = []
    for uid, paths in found:
        labels.append(f"series ...{uid[-12:]}")
        try:
            volume = plugin.Volume.of(_load(paths))
            labels[-1] = _label(volume)
            measurement = chosen.measure(volume, given)
        except HarmonodeError as error:
            results.append({"series_instance_uid": uid, "refused": str(error)})
            continue
        results.append({"series_instance_uid": uid, **measurement.data})
        if drawn_in and isinstance(chosen, plugin.Draws):
            path = drawn_in if _is_png(drawn_in) else drawn_in / f"mtf-{uid}.png"
            _write(path, chosen.picture(volume, measurement))
    if compare and isinstance(chosen, plugin.Draws):
        _write(compare, chosen.comparison(list(zip(labels, results, strict=True))))
    if as_json:
        print_json(results[0] if len(results) == 1 else results)
    else:
        _print_mtf(results)
    if any("refused" in result for result in results):
        raise typer.Exit(1)


def _label(volume: plugin.Volume) -> str:
    """Scanner, kernel and slice thickness."""
    header = volume.headers[0]
    maker, kernel = (header.get(keyword) or "" for keyword in ("Manufacturer", "ConvolutionKernel"))
    kernel = kernel[0] if isinstance(kernel, (list, tuple)) else kernel
    return f"{maker} {kernel}".strip() + f", {volume.slice_thickness_mm or volume.spacing_mm[0]:g} mm"


def _write(path: Path, png: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    err.print(f"Picture: {path}", markup=False, highlight=False, soft_wrap=True)


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _print_mtf(results: list[dict[str, Any]]) -> None:
    table = Table(
        uid_column(), "f50 /mm", "f10 /mm", "overshoot", "noise HU", "segments", "from", box=None, pad_edge=False
    )
    for result in results:
        uid = result["series_instance_uid"]
        if "refused" in result:
            table.add_row(uid, "-", "-", "-", "-", "-", escape(result["refused"]))
            continue
        figures = [
            f"{result[f'{name}_per_mm']:.3f} ({result[f'{name}_low_per_mm']:.3f} to {result[f'{name}_high_per_mm']:.3f})"
            if result.get(f"{name}_low_per_mm") is not None
            else f"{result[f'{name}_per_mm']:.3f}"
            for name in ("f50", "f10")
        ]
        noise = "-" if result["noise_hu"] is None else f"{result['noise_hu']:.1f}"
        over = result.get("overshoot")
        peak = f"{over['mtf']:.2f} at {over['at_per_mm']:.2f} /mm" if over else "-"
        table.add_row(uid, *figures, peak, noise, str(result["segments_accepted"]), result["source"])
    out.print(table)


def _harmonize_one(
    chosen: plugin.Plugin, given: Any, paths: list[Path], output: Path, derive_settings: Derive
) -> tuple[Path, int]:
    from node.derive import derive, derived_series_uid

    _refuse_what_a_node_would(paths)
    loaded = _load(paths)
    volume = plugin.Volume.of(loaded)
    measurement = chosen.measure(volume, given)
    method = chosen.method(measurement, given)
    harmonized = np.empty_like(volume.hu)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("harmonizing", total=len(volume.hu))
        for number, hu in enumerate(plugin.harmonized_slices(chosen, volume, measurement, given)):
            harmonized[number] = hu
            progress.advance(task)
    verdict = chosen.check(volume, harmonized, measurement, given)
    if not verdict.passed:
        raise SeriesRefused(f"its check did not pass: {'; '.join(verdict.reasons)}")
    folder = output / derived_series_uid(volume.series_instance_uid, method)
    folder.mkdir(parents=True, exist_ok=True)
    made = derive(loaded, harmonized, method, measurement, derive_settings, folder, None, datetime.now(UTC))
    report = chosen.report(volume, harmonized, measurement, given, verdict)
    for title, png in report.pictures.items():
        (folder / f"{title.removesuffix('.png')}.png").write_bytes(png)
    return folder, len(made)


def _refuse_what_a_node_would(paths: list[Path]) -> None:
    facts = series_facts([read_header(path) for path in paths], "", "", lambda _: False)
    reasons = (*facts.malformed, *facts.never)
    if reasons:
        raise SeriesRefused("; ".join(reasons))


def _series(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    found = load_folder(folder)
    if not found:
        raise ConfigError(f"no DICOM file under {folder}")
    yield from found.items()


def _load(paths: list[Path]) -> LoadedVolume:
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("reading", total=len(paths))
        return load_volume(paths, lambda done, total: progress.update(task, completed=done, total=total))


def _parsed(parameters: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE, the value read as YAML so that 0.5 is a number."""
    parsed = {}
    for text in parameters or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text!r} is not of the form NAME=VALUE")
        parsed[name] = yaml.safe_load(value)
    return parsed
