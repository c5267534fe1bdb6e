"""Any file is a configuration, or refused in words."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node import manual
from node.config import Config, load
from node.errors import ConfigError

KEYS = sorted({part for entry in manual.entries() for part in entry.key.replace("[]", "").split(".")})

scalars = (
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=8) | st.dates()
    | st.sampled_from(["dimse", "folder", "pacs", "127.0.0.1", "*", "http://[", "INFO", "1e400"])
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
top = st.dictionaries(st.sampled_from(sorted(Config.model_fields)), trees, max_size=4)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given((top | trees).map(lambda tree: yaml.safe_dump(tree, allow_unicode=True)) | st.text(max_size=40))
def test_any_file_is_a_configuration_or_refused_in_words(content: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        said: Any = None
        try:
            said = load(path)
        except ConfigError as error:
            said = str(error)
        assert isinstance(said, Config) or str(path) in said
