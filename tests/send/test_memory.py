"""A series is never held in memory while it is sent, whatever the route that streams it."""

from __future__ import annotations

import tracemalloc

import pytest

from node.config import DimseDestination, StowDestination
from node.send import send

COUNT, MOST_BYTES = 24, 4 << 20


@pytest.mark.parametrize("route", ["dimse", "stow"])
def test_a_series_of_twelve_megabytes_takes_less_than_four(orthanc, write_series, progress, route):
    sent = write_series(COUNT, size=512)
    assert sum(path.stat().st_size for path in sent.paths) > 3 * MOST_BYTES
    there = {
        "dimse": DimseDestination(name="pacs", ae_title=orthanc.aet, host="127.0.0.1", port=orthanc.dicom_port),
        "stow": StowDestination(name="web", url=orthanc.dicomweb_url),
    }[route]
    send(there, sent.paths[:1], progress.append)  # what is imported on first use counts for itself
    tracemalloc.start()
    try:
        assert send(there, sent.paths, progress.append) == COUNT
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES, f"{peak >> 10} KiB"
