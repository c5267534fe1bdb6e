"""What every page works with, and the key that signs cookies."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.config import Config
from node.queue import Queue
from node.store.durable import sync_folder
from node.store.session import Database
from node.web.echoes import Echoes

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Site:
    """The node as its web interface sees it."""

    config: Config
    database: Database
    queue: Queue
    key: bytes  # signs cookies; who reads it can be anybody
    echoes: Echoes  # of the destinations
    probes: Mapping[str, Callable[[], str]] = field(default_factory=dict)  # part of the node -> "", or what is wrong
    opened_at: float = field(default_factory=time.monotonic)

    @property
    def cookie(self) -> str:
        """Name of the session's cookie. Browsers do not tell ports apart, so two nodes behind tunnels need two names."""
        return f"harmonode-{hashlib.sha256(self.key).hexdigest()[:8]}"


def signing_key(data_dir: Path) -> bytes:
    """The key that is kept in `data_dir`, made where there is none. Removing the file ends every session."""
    path = data_dir / "web.key"
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(data_dir)
    return path.read_bytes()
