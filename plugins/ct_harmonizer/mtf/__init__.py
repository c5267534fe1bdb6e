"""The in-plane MTF, measured at the skin-air interface of the patient. Needs only numpy, scipy and scikit-image."""

from plugins.ct_harmonizer.mtf.curve import FREQUENCY_PER_MM, Band, MTFCurve, on_grid
from plugins.ct_harmonizer.mtf.measure import MTFMeasurement, MTFRefused, RadiusBand, measure_mtf

__all__ = [
    "FREQUENCY_PER_MM",
    "Band",
    "MTFCurve",
    "MTFMeasurement",
    "MTFRefused",
    "RadiusBand",
    "measure_mtf",
    "on_grid",
]
