"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.store.durable import write_whole


def test_a_file_is_whole_under_its_name_or_not_there(tmp_path: Path):
    write_whole(tmp_path / "whole", b"first")
    write_whole(tmp_path / "whole", b"second")
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "taken", b"third")
    assert (tmp_path / "whole").read_bytes() == b"second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken", "whole"]
