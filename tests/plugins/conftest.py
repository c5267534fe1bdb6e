"""A small virtual chest scan that the tests of plugins share."""

from __future__ import annotations

import pytest
from once import once

from plugins.ct_harmonizer.simulate.series import Request, Scan, scan_chest


@pytest.fixture(scope="session")
def virtual_scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """24 slices of 256 x 256 pixels of 1.5 mm, with the truth."""
    request = Request(slices=24, matrix=256)
    return once(tmp_path_factory, "virtual-scan", lambda: scan_chest(request, lambda _done, _total: None))
