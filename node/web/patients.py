"""The patient of a series, for sites that allow the pages to show it. It is read from a file: the database has no name."""

from __future__ import annotations

import sqlalchemy as sa

from node.dicom.headers import read_header
from node.dicom.values import text
from node.errors import HarmonodeError
from node.store.tables import Instance, Series
from node.web.site import Site


def patient_of(site: Site, series: Series) -> str | None:
    """Patient's Name (0010,0010) and Patient ID (0010,0020); None where no file of the series can be read."""
    with site.database.read() as session:
        path = session.scalar(sa.select(Instance.path).where(Instance.series_id == series.id).limit(1))
    if path is None:
        return None
    try:
        header = read_header(site.config.spool_dir / path)
    except (HarmonodeError, OSError):
        return None
    return ", ".join(value for value in (text(header, "PatientName"), text(header, "PatientID")) if value)
