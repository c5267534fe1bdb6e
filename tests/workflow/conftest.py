"""A node's database and folder with a worker: one for all tests of a module, or one for a test that kills workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from workshop import Workshop, install, worker


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("floor")
    with pytest.MonkeyPatch.context() as patch:
        install(folder, patch.setattr)
        patch.setattr("node.workflow.deliver.POLLS_S", (0.0,))
        opened = Workshop(folder)
        with worker(opened):
            yield opened
        opened.close()


@pytest.fixture
def shop(floor: Workshop) -> Iterator[Workshop]:
    """A workshop with a worker in this process, which other tests of the module use too."""
    yield floor
    floor.assert_sound()
    floor.forget_all()


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workshop for workers in processes of their own, to be killed; one in this process may finish their work."""
    install(tmp_path, monkeypatch.setattr)
    opened = Workshop(tmp_path)
    yield opened
    opened.assert_sound()
    opened.close()
