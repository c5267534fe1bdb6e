import hashlib

import pytest

from plugins.ct_harmonizer.network.build import read
from plugins.ct_harmonizer.weights import FOLDER, WeightsError, shipped


def test_the_shipped_weights_are_whole_and_small_and_make_a_generator():
    weights = shipped()
    assert sum(path.stat().st_size for path in weights.paths) < 40 << 20
    generator, facts = read(list(weights.paths))
    assert not generator.training
    assert int(facts["step"]) > 0
    assert (FOLDER / "README.md").read_text().count(weights.sha256) == 1  # the model card is of these weights


def folder_of(tmp_path, content=b"weights"):
    (tmp_path / "generator.safetensors").write_bytes(content)
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  generator.safetensors\n")
    return tmp_path


def test_weights_are_known_by_their_hash(tmp_path):
    found = shipped(folder_of(tmp_path))
    assert found.name == f"generator {hashlib.sha256(b'weights').hexdigest()[:12]}"
    assert not found.provisional


def test_damaged_missing_and_unknown_weights_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match="damaged or was exchanged"):
        shipped(folder_of(tmp_path, b"wreckage"))
    (tmp_path / "generator.safetensors").unlink()
    with pytest.raises(WeightsError, match="is missing; install"):
        shipped(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(WeightsError, match="no weights"):
        shipped(tmp_path)
