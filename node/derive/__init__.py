"""Derive: the harmonized slices as CT Image instances of a new series, linked to their sources."""

from node.derive.report import write_report
from node.derive.series import Derived, derive, derived_series_uid

__all__ = ["Derived", "derive", "derived_series_uid", "write_report"]
