"""The harmonizer as the node sees it: the only file here that knows the node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from node.errors import SeriesRefused
from node.plugin import Curve, Measurement, Method, Quantity, Report, Verdict, Volume
from plugins.ct_harmonizer import pictures
from plugins.ct_harmonizer.comparison import compare
from plugins.ct_harmonizer.guards import dense, lungs, metal
from plugins.ct_harmonizer.guards.noise import foreign, untrained
from plugins.ct_harmonizer.metrics import LungMetrics, lung_mask, lung_metrics
from plugins.ct_harmonizer.modes import Mode, at_skin, classical, network
from plugins.ct_harmonizer.mtf import FREQUENCY_PER_MM, Band, MTFCurve, MTFMeasurement, MTFRefused, measure_mtf
from plugins.ct_harmonizer.mtf.body import NO_DATA_HU
from plugins.ct_harmonizer.mtf.noise import Noise, measure_noise
from plugins.ct_harmonizer.once import once
from plugins.ct_harmonizer.physics.guard import consistency
from plugins.ct_harmonizer.physics.kernels import TARGETS, Kernel, look_up
from plugins.ct_harmonizer.weights import shipped

_SKIN = "skin"


class HarmonizerParameters(BaseModel):
    """What a rule may set. The defaults aim at a medium kernel of quantitative chest CT."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["network", "classical"] = Field(
        "network",
        description="network: the paper's physics-informed network, towards the patient without blur and noise; classical: its Eq. 2 as a regularised filter, towards a kernel",
    )
    target: str = Field(
        "Br40", description=f"kernel that the classical mode harmonizes to, one of {', '.join(sorted(TARGETS))}"
    )
    target_f50_per_mm: float | None = Field(None, gt=0.1, lt=1.5, description="instead of a named target, with f10")
    target_f10_per_mm: float | None = Field(None, gt=0.15, lt=1.6, description="instead of a named target, with f50")
    max_gain: float = Field(2.0, ge=1.0, le=4.0, description="no frequency is amplified more than this")
    noise_to_signal: float = Field(
        0.02, ge=0.0, le=1.0, description="Wiener term at 0.5 /mm, grows as frequency squared: more is more cautious"
    )
    skin_share: float = Field(
        0.7,
        ge=0.4,
        le=1.0,
        description="f50 at the skin over f50 at isocentre, where target kernels are defined; 1 where blur does not grow outwards",
    )
    fallback: Literal["kernel_table", "refuse"] = Field(
        "kernel_table", description="where the skin cannot be trusted: take the kernel's published curve, or refuse"
    )
    max_slice_mm: float = Field(5.0, gt=0, le=20, description="the skin of thicker slices is not trusted")
    max_interval: float = Field(
        0.25,
        gt=0,
        le=1,
        description="the skin is not trusted where half of f50's interval is wider than this share of f50",
    )
    require_lungs: bool = Field(True, description="refuse a series without lungs; false only to measure phantoms")
    seed: int = Field(0, ge=0, description="of the bootstrap")

    @model_validator(mode="after")
    def _target_is_whole(self) -> Self:
        given = (self.target_f50_per_mm, self.target_f10_per_mm)
        if (given[0] is None) != (given[1] is None):
            raise ValueError("target_f50_per_mm and target_f10_per_mm are given together")
        if given[0] is not None and given[1] is not None and given[0] >= given[1]:
            raise ValueError("target_f50_per_mm must be less than target_f10_per_mm")
        if self.target not in TARGETS:
            raise ValueError(f"no target kernel {self.target!r}; there are {', '.join(sorted(TARGETS))}")
        return self

    @property
    def kernel(self) -> Kernel:
        """The classical mode's target."""
        if self.target_f50_per_mm is not None and self.target_f10_per_mm is not None:
            return Kernel("custom", self.target_f50_per_mm, self.target_f10_per_mm)
        return TARGETS[self.target]


def mode_of(measurement: Measurement, parameters: HarmonizerParameters) -> Mode:
    """How a series of this measurement is harmonized under these parameters."""
    if parameters.mode == "network":
        return network(measurement.data, parameters.skin_share, shipped())
    return classical(
        measurement.data,
        parameters.kernel,
        parameters.skin_share,
        max_gain=parameters.max_gain,
        noise_to_signal=parameters.noise_to_signal,
    )


class CTHarmonizer:
    """Brings chest CT of any kernel, dose and vendor to one resolution and noise."""

    name: ClassVar[str] = "ct_harmonizer"
    version: ClassVar[str] = "0.1.0"
    Parameters: ClassVar[type[BaseModel]] = HarmonizerParameters

    def measure(self, volume: Volume, parameters: HarmonizerParameters) -> Measurement:
        """The MTF at the skin, or, where it cannot be trusted, of the kernel's name.

        Raises:
            SeriesRefused: not a whole chest, spoilt by metal, neither the skin nor the table gives an MTF, the noise is not of that MTF, or not what the network knows.
        """
        if parameters.require_lungs:
            _refuse(volume, _no_chest(volume))
        noise = _noise_of(volume)
        measurement = self._measured(volume, parameters, noise)
        _refuse(volume, _unfit(measurement.data, noise, volume, parameters))
        return measurement

    def _measured(self, volume: Volume, parameters: HarmonizerParameters, noise: Noise) -> Measurement:
        try:
            read = measure_mtf(
                volume.hu,
                volume.spacing_mm,
                volume.padding,
                slice_thickness_mm=volume.slice_thickness_mm,
                seed=parameters.seed,
            )
        except MTFRefused as refusal:
            return self._from_table(volume, parameters, str(refusal), None, noise)
        distrust = _distrust(read, volume, parameters)
        if distrust:
            return self._from_table(volume, parameters, distrust, read, noise)
        data = {**_skin_data(read), "source": _SKIN, **_noise_data(noise)}
        return Measurement(data, _quantities(data, noise))

    def method(self, measurement: Measurement, parameters: HarmonizerParameters) -> Method:
        """How the slices are made from this measurement."""
        mode = mode_of(measurement, parameters)
        settings = parameters.model_dump(exclude={"require_lungs"})
        made_by = [self.name, self.version, settings, mode.fingerprint]
        return Method(
            self.name,
            self.version,
            mode.description,
            hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest(),
            sharpens=mode.sharpens,
            smooths=mode.smooths,
            target=mode.target,
        )

    def harmonize(
        self, volume: Volume, measurement: Measurement, parameters: HarmonizerParameters
    ) -> Iterator[NDArray[np.float32]]:
        """Slice by slice."""
        unknown = _unknown(volume.hu, volume.padding)
        yield from mode_of(measurement, parameters).slices(volume.hu, unknown, volume.spacing_mm[1:])

    def weights(self) -> str:
        """Which weights the network has, each file held against its hash.

        Raises:
            WeightsError: they are missing or damaged.
        """
        found = shipped()
        return f"weights {found.name}" + (", provisional: trained on a processor" if found.provisional else "")

    def check(
        self,
        volume: Volume,
        harmonized: NDArray[np.float32],
        measurement: Measurement,
        parameters: HarmonizerParameters,
    ) -> Verdict:
        """The curve against the noise, data consistency below half of f50 in lung and in soft tissue, and each millilitre of dense tissue."""
        if not np.isfinite(harmonized[~volume.padding]).all():
            return Verdict(passed=False, reasons=("the harmonized slices hold values that are not numbers",))
        found = _lungs_of(volume)
        mode, missing = mode_of(measurement, parameters), _unknown(volume.hu, volume.padding)
        noise = _noise_of(volume)
        bright = dense.moved(
            volume.hu,
            harmonized,
            missing,
            gain=mode.gain,
            blur=mode.blur,
            f50_per_mm=float(measurement.data["f50_per_mm"]),
            spacing_mm=volume.spacing_mm,
        )
        shift = consistency(
            volume.hu,
            harmonized,
            missing,
            found,
            gain=mode.gain,
            blur=mode.blur,
            f50_per_mm=float(measurement.data["f50_per_mm"]),
            pixel_mm=volume.spacing_mm[1:],
        )
        figures = {
            "lung shift below half f50": shift.lung_low_hu,
            "soft tissue shift below half f50": shift.soft_low_hu,
            "lung mean shift": shift.lung_mean_hu,
            "soft tissue mean shift": shift.soft_mean_hu,
            "dense tissue shift": None if bright is None else bright.by_hu,
        }
        reasons = list(shift.failures())
        unfit = _unfit(measurement.data, noise, volume, parameters)
        reasons += [why for why in (unfit and f"the series {unfit}", bright and bright.failure()) if why]
        if shift.lung_low_hu is None and parameters.require_lungs:
            reasons.append("too few lung voxels to judge the harmonized slices by")
        quantities = {name: Quantity(value, "[hnsf'U]") for name, value in figures.items() if value is not None}
        return Verdict(not reasons, tuple(reasons), quantities)

    def report(
        self,
        volume: Volume,
        harmonized: NDArray[np.float32],
        measurement: Measurement,
        parameters: HarmonizerParameters,
        verdict: Verdict,
    ) -> Report:
        """LAA-950, Perc15, mass and noise before and after in the same lungs, the curves, and two pictures."""
        found = _lungs_of(volume)
        before = _figures(volume.hu, _noise_of(volume), found, volume)
        after = _figures(harmonized, measure_noise(harmonized, volume.spacing_mm, volume.padding), found, volume)
        data, mode = measurement.data, mode_of(measurement, parameters)
        axes = ("frequency in cycles/mm", "MTF")
        frequency = tuple(FREQUENCY_PER_MM.tolist())
        measured = data["curve"]
        curves = {
            "source": Curve(frequency, tuple(measured["mtf"]), *axes, tuple(measured["low"]), tuple(measured["high"])),
        }
        if mode.gain is not None:
            curves |= {
                "target": Curve(frequency, tuple(mode.target_mtf.tolist()), *axes),
                "expected": Curve(frequency, tuple((mode.source_mtf * mode.gain.gain).tolist()), *axes),
                "gain": Curve(frequency, tuple(mode.gain.gain.tolist()), axes[0], "gain"),
            }
        sheet = pictures.Sheet(
            mode.title,
            FREQUENCY_PER_MM,
            np.array(measured["mtf"]),
            np.array(measured["low"]),
            np.array(measured["high"]),
            mode.source_mtf,
            mode.target_mtf,
            None if mode.gain is None else mode.source_mtf * mode.gain.gain,
            str(data["source"]),
            tuple((name, before[name].value, after[name].value, unit) for name, unit in _SHOWN if name in before),
            _told(verdict),
        )
        drawn = {
            "overview": pictures.overview(
                volume.hu, harmonized, volume.padding, found, spacing_mm=volume.spacing_mm, sheet=sheet
            ),
        }
        notes = [mode.description]
        if data.get("distrust"):
            notes.append(f"The skin was not trusted: {data['distrust']}. The curve is that of the {data['source']}.")
        skin = data.get("skin", data)
        if "edge" in skin:
            drawn["skin"] = self.picture(volume, measurement)
        return Report(before, after, curves, drawn, tuple(notes))

    def picture(self, volume: Volume, measurement: Measurement) -> bytes:
        """What was measured: the accepted skin on a slice, its edge, the MTF with its band, and the noise. PNG."""
        return pictures.skin(volume.hu, volume.spacing_mm, measurement.data)

    def comparison(self, series: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
        """The curves of several series with their bands, and a table of what came of each. PNG."""
        return compare(series)

    def _from_table(
        self,
        volume: Volume,
        parameters: HarmonizerParameters,
        why: str,
        read: MTFMeasurement | None,
        noise: Noise,
    ) -> Measurement:
        """The MTF by the kernel's name."""
        uid, header = volume.series_instance_uid, volume.headers[0] if volume.headers else {}
        if parameters.fallback == "refuse":
            raise SeriesRefused(f"the MTF of series {uid} cannot be measured at the skin: {why}; it is not harmonized")
        maker, named = (_text(header.get(keyword)) for keyword in ("Manufacturer", "ConvolutionKernel"))
        kernel = look_up(maker, named)
        if kernel is None:
            raise SeriesRefused(
                f"the MTF of series {uid} cannot be measured at the skin: {why}; and the kernel table has no kernel"
                f" {named or '(none given)'!r} of {maker or '(no manufacturer given)'!r}; it is not harmonized"
            )
        curve = kernel.mtf(FREQUENCY_PER_MM).tolist()
        f50, f10 = kernel.f50_per_mm, kernel.f10_per_mm
        data: dict[str, Any] = {
            "source": f"kernel table {maker.title()} {named}",
            "distrust": why,
            "f50_per_mm": f50,
            "f50_low_per_mm": None,
            "f50_high_per_mm": None,
            "f10_per_mm": f10,
            "f10_low_per_mm": None,
            "f10_high_per_mm": None,
            "segments_accepted": 0 if read is None else read.segments_accepted,
            "segments_seen": 0 if read is None else read.segments_seen,
            "curve": {"frequency_per_mm": FREQUENCY_PER_MM.tolist(), "mtf": curve, "low": curve, "high": curve},
            **_noise_data(noise),
        }
        if read is not None:
            data["skin"] = _skin_data(read)  # what was read and not trusted
        return Measurement(data, _quantities(data, noise))


_SHOWN = (("LAA-950", "%"), ("Perc15", "HU"), ("lung mass", "g"), ("mean lung", "HU"), ("noise", "HU"))


def _told(verdict: Verdict) -> tuple[str, ...]:
    """The guard's verdict, figures and reasons, for the picture."""
    figures = (f"{name} {quantity.value:+.2f} HU" for name, quantity in verdict.quantities.items())
    return ("guard: passed" if verdict.passed else "guard: NOT passed", *figures, *verdict.reasons)


def _refuse(volume: Volume, why: str | None) -> None:
    """Raise SeriesRefused where there is a reason."""
    if why:
        raise SeriesRefused(
            f"series {volume.series_instance_uid} {why}; it is not harmonized and nothing is sent for it"
        )


def _no_chest(volume: Volume) -> str | None:
    """Why this is no whole chest that metal has spared, None where it is."""
    missing = _unknown(volume.hu, volume.padding)
    found = _lungs_of(volume)
    return (
        lungs.cut_off(volume.hu, missing, found, volume.spacing_mm)
        or lungs.too_little(found, volume.spacing_mm)
        or metal.spoilt(volume.hu, missing, found, volume.spacing_mm)
    )


def _unfit(data: Mapping[str, Any], noise: Noise, volume: Volume, parameters: HarmonizerParameters) -> str | None:
    """Why the noise does not go with this measurement, or with what the network was trained on; None where it does."""
    curve = np.array(data["curve"]["mtf"])
    pixel_mm = max(volume.spacing_mm[1:])
    mean = None if noise.nps is None else noise.nps.mean_per_mm
    why = foreign(mean, curve, FREQUENCY_PER_MM, pixel_mm=pixel_mm, at_skin=data["source"] == _SKIN)
    if why or parameters.mode != "network":
        return why
    skin = at_skin(data, parameters.skin_share)
    return untrained(noise.level_hu, float(FREQUENCY_PER_MM[np.flatnonzero(skin >= 0.5)[-1]]))


def _unknown(hu: NDArray[np.float32], padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Padding, and what the scanner did not reconstruct although no header says so (-2000 HU and the like round the circle)."""
    return padding | ~(hu > NO_DATA_HU)


@once
def _lungs_of(volume: Volume) -> NDArray[np.bool_]:
    return lung_mask(volume.hu, volume.padding, volume.spacing_mm)


@once
def _noise_of(volume: Volume) -> Noise:
    return measure_noise(volume.hu, volume.spacing_mm, volume.padding)


def _figures(hu: NDArray[np.float32], noise: Noise, within: NDArray[np.bool_], volume: Volume) -> dict[str, Quantity]:
    figures = _noise_quantities(noise)
    if within.any():
        figures |= _lung_quantities(lung_metrics(hu, within, volume.spacing_mm))
    return figures


def _lung_quantities(found: LungMetrics) -> dict[str, Quantity]:
    return {
        "LAA-950": Quantity(found.laa950_percent, "%"),
        "Perc15": Quantity(found.perc15_hu, "[hnsf'U]"),
        "lung mass": Quantity(found.mass_g, "g"),
        "lung volume": Quantity(found.volume_ml, "mL"),
        "mean lung": Quantity(found.mean_hu, "[hnsf'U]"),
    }


def _distrust(read: MTFMeasurement, volume: Volume, parameters: HarmonizerParameters) -> str | None:
    """Why a reading at the skin is not used, None where it is."""
    thickness = volume.slice_thickness_mm or volume.spacing_mm[0]
    if thickness > parameters.max_slice_mm:
        return (
            f"slices of {thickness:g} mm, at most {parameters.max_slice_mm:g} mm are trusted: the skin bends within such a slice and reads too soft"
            f" (it reads f50 {read.f50_per_mm.value:.2f} /mm)"
        )
    band = read.f50_per_mm
    width = (band.high - band.low) / 2 / band.value
    if width > parameters.max_interval:
        return f"f50 {band.value:.2f} /mm is known within {100 * width:.0f} % only, {100 * parameters.max_interval:.0f} % are allowed"
    return None


def _skin_data(read: MTFMeasurement) -> dict[str, Any]:
    """A reading as JSON, with what its picture needs."""
    curve, points = read.curve, read.accepted_points
    slices, counts = np.unique(points[:, 0].astype(int), return_counts=True)
    shown = int(slices[np.argmax(counts)])
    on_slice = points[points[:, 0] == shown]
    known = np.isfinite(read.esf_hu)
    return {
        **_band("f50", read.f50_per_mm),
        **_band("f10", read.f10_per_mm),
        "peak": curve.peak,
        "peak_at_per_mm": curve.peak_at_per_mm,
        "overshoot": _overshoot(curve),
        "model_error": read.model_error,
        "segments_accepted": read.segments_accepted,
        "segments_seen": read.segments_seen,
        "segments_refused": read.refusals,
        "slices_measured": read.slices_measured,
        "radius_mm": list(read.radius_mm),
        "radius_bands": [
            {
                "low_mm": band.low_mm,
                "high_mm": band.high_mm,
                "segments": band.segments,
                "peak": band.curve.peak,
                "overshoot": _overshoot(band.curve),
                **_band("f50", band.f50_per_mm),
                **_band("f10", band.f10_per_mm),
                "mtf": band.curve.mtf.round(5).tolist(),
            }
            for band in read.radius_bands
        ],
        "skin_mm": read.skin_mm,
        "cloth_mm": read.cloth_mm,
        "residual_hu": read.residual_hu,
        "jitter_mm": read.jitter_mm,
        "slant_mm": read.slant_mm,
        "curve": {
            "frequency_per_mm": curve.frequency_per_mm.tolist(),
            "mtf": curve.mtf.tolist(),
            "low": curve.low.tolist(),
            "high": curve.high.tolist(),
        },
        "edge": {
            "depth_mm": read.depth_mm[known].round(3).tolist(),
            "hu": read.esf_hu[known].round(2).tolist(),
            "model_hu": read.model_hu[known].round(2).tolist(),
        },
        "surface": {"slice": shown, "points": on_slice[:, 1:].round(1).tolist()},
    }


def _overshoot(curve: MTFCurve) -> dict[str, float] | None:
    """None for a kernel that enhances nothing."""
    found = curve.overshoot
    if found is None:
        return None
    return {"mtf": found.value, "low": found.low, "high": found.high, "at_per_mm": curve.peak_at_per_mm}


def _band(name: str, band: Band) -> dict[str, float]:
    return {f"{name}_per_mm": band.value, f"{name}_low_per_mm": band.low, f"{name}_high_per_mm": band.high}


def _quantities(data: dict[str, Any], noise: Noise) -> dict[str, Quantity]:
    """For people: what was not measured says so in its name."""
    of = "" if data["source"] == _SKIN else " by kernel table, not measured"
    found = {
        name + of: Quantity(data[f"{name}_per_mm"], "/mm", data[f"{name}_low_per_mm"], data[f"{name}_high_per_mm"])
        for name in ("f50", "f10")
    }
    return found | _noise_quantities(noise)


def _noise_quantities(noise: Noise) -> dict[str, Quantity]:
    found = {} if noise.level_hu is None else {"noise": Quantity(noise.level_hu, "[hnsf'U]")}
    return found if noise.nps is None else found | {"NPS peak": Quantity(noise.nps.peak_per_mm, "/mm")}


def _noise_data(noise: Noise) -> dict[str, Any]:
    """Noise as JSON: its level and its radial spectrum, None where soft tissue is too little."""
    nps = noise.nps
    if nps is None:
        return {"noise_hu": noise.level_hu, "nps": None}
    spectrum = {
        "peak_per_mm": nps.peak_per_mm,
        "mean_per_mm": nps.mean_per_mm,
        "patches": nps.patches,
        "patch_mm": nps.patch_mm,
        "frequency_per_mm": nps.frequency_per_mm.round(4).tolist(),
        "hu2_mm2": nps.radial_hu2_mm2.tolist(),
    }
    return {"noise_hu": noise.level_hu, "nps": spectrum}


def _text(value: Any) -> str:
    """A header's value, its first where there are several."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    return "" if value is None else str(value).strip()
