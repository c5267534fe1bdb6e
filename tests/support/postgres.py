"""A Postgres server of a test's own, on a socket in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


class Postgres:
    """A running server with empty databases; `url` is that of the first. It can be stopped and started again."""

    def __init__(self, *databases: str) -> None:
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not binaries:
            pytest.skip("no Postgres server is installed: `apt-get install postgresql`")
        self._programs = binaries[-1].parent
        self._folder = Path(tempfile.mkdtemp(prefix="harmonode-postgres-"))
        self._as_owner: list[str] = []
        if os.geteuid() == 0:  # Postgres refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as_owner = ["runuser", "-u", "postgres", "--"]
        self._data = str(self._folder / "data")
        self._run("initdb", "--pgdata", self._data, "--username", "node", "--auth", "trust", "--no-sync")
        self.url = f"postgresql+psycopg://node@/{databases[0]}?host={self._folder}"
        self.start()
        for name in databases:
            self._run("createdb", "--host", str(self._folder), "--username", "node", name)

    def start(self) -> None:
        settings = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "--pgdata", self._data, "--wait", "--log", log, "--options", settings, "start")

    def stop(self) -> None:
        """At once, with every connection cut, as by a crash."""
        self._run("pg_ctl", "--pgdata", self._data, "--mode", "immediate", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_owner, str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder)
