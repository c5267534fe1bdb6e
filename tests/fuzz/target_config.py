"""config.yaml: a configuration, or refused in words that name the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from node.config import Config, load
from node.errors import ConfigError

_FILE = Path(tempfile.mkdtemp(prefix="harmonode-fuzz-")) / "config.yaml"

SEEDS = [
    b"data_dir: /srv/harmonode\nreceive:\n  port: 104\n  peers:\n    - {ae_title: PACS, addresses: [10.0.0.5/32]}\n",
    b"destinations:\n  - {name: pacs, kind: dimse, ae_title: PACS, host: 10.0.0.5, port: 104, tls: {ca: a.pem}}\n",
    b"complete: &a {quiet_s: 1e3}\nlog: {level: DEBUG}\nretention: {passed_days: null, delivered_days: 0x10}\n",
    b"derive: {series_description: 'Harmonized {source}', image_comments: \"{{ {kernel}\"}\nweb: {tls: null}\n",
    b"a: 2020-10-04\n? [b, !!binary YQ==]\n: !!int 3\nnotify: {webhooks: [{name: a, url: 'http://[::1]/', secret: b}]}\n",
]


def one(data: bytes) -> None:
    """Nothing but a refusal is raised."""
    _FILE.write_bytes(data)
    try:
        assert isinstance(load(_FILE), Config)
    except ConfigError:
        return
