"""The in-plane MTF, measured at the skin-air interface of the patient. Needs only numpy, scipy and scikit-image."""

from plugins.ct_harmonizer.mtf.curve import FREQUENCY_PER_MM, MTFCurve
from plugins.ct_harmonizer.mtf.measure import Band, MTFMeasurement, MTFRefused, measure_mtf

__all__ = ["FREQUENCY_PER_MM", "Band", "MTFCurve", "MTFMeasurement", "MTFRefused", "measure_mtf"]
