"""Chromium as Debian has it, driven without a window; tests that ask for it are skipped, and say so, where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

PROGRAM = Path("/usr/bin/chromium")
PATIENCE_MS = 60_000  # for what is on a page within a moment, unless other tests have the processor
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not PROGRAM.exists():
        pytest.skip(f"no Chromium at {PROGRAM}: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=list(_OPTIONS))
        yield browser
        browser.close()
