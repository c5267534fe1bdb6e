"""A small virtual chest scan that the tests of plugins share."""

from __future__ import annotations

import pytest

from plugins.ct_harmonizer.simulate.series import Request, Scan, scan_chest


@pytest.fixture(scope="session")
def virtual_scan() -> Scan:
    """24 slices of 256 x 256 pixels of 1.5 mm, with the truth."""
    return scan_chest(Request(slices=24, matrix=256), lambda _done, _total: None)
