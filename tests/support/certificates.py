"""Certificate authorities of a test, by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256, as openssl prints it: AB:CD:..."""
        return openssl("x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256").strip().partition("=")[2]


class Authority:
    """Signs certificates; its own is the file `ca`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.ca = folder, folder / "ca.pem"
        self._key = folder / "ca.key"
        openssl("req", "-x509", "-nodes", *_CURVE, "-keyout", self._key, "-out", self.ca, "-subj", f"/CN={folder.name}",
                "-days", "365", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip

    def issue(self, name: str, *, alternative: str = "DNS:localhost,IP:127.0.0.1", days: int = 365) -> Issued:
        """A certificate for a Common Name; negative days make one that has expired."""
        request = self.folder / f"{name}.csr"
        made = Issued(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        openssl("req", "-nodes", *_CURVE, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}",
                "-addext", f"subjectAltName={alternative}")  # fmt: skip
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial",
                "-out", made.certificate, "-days", str(days), "-copy_extensions", "copy")  # fmt: skip
        return made


def openssl(*arguments: str | Path) -> str:
    """Run openssl; what it prints."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Authority]:
    """An authority by name; skips where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed: this test makes certificates with it")
    folder = tmp_path_factory.mktemp("certificates")
    made: dict[str, Authority] = {}

    def make(name: str) -> Authority:
        if name not in made:
            made[name] = Authority(folder / name)
        return made[name]

    return make


@pytest.fixture(scope="session")
def authority(make_authority: Callable[[str], Authority]) -> Authority:
    """The hospital's authority."""
    return make_authority("hospital")
