"""The files of docker/, as far as they can be tried without an engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import peers
import pytest
import yaml
from pydantic import BaseModel

from node.config import Config, DimseDestination, load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
COMPOSE = FOLDER / "compose.yaml"


def environment(service: str) -> dict[str, str]:
    """The variables of a service, where none of those that compose itself reads is set."""
    written: dict[str, str] = services()[service]["environment"]
    return {
        name: re.sub(r"\$\{\w+(?::-([^}]*)|:\?[^}]*)\}", lambda match: match[1] or "", value)
        for name, value in written.items()
    }


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def variables(text: str) -> set[str]:
    return set(re.findall(r"\bHARMONODE_[A-Z_]+", text))


def is_key(variable: str) -> bool:
    """Whether a variable names a key of the configuration."""
    model: Any = Config
    for part in variable.removeprefix("HARMONODE_").lower().split("__"):
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
    return True


@pytest.mark.parametrize("name", ["compose.yaml", "Dockerfile", "harmonode.service"])
def test_every_variable_is_a_key_of_the_configuration(name: str):
    found = variables((FOLDER / name).read_text())
    assert found
    assert [variable for variable in found if not is_key(variable)] == []
    assert not is_key("HARMONODE_RECEIVE__PORTS")


def test_the_node_of_compose_has_a_configuration_that_meets_its_orthanc(monkeypatch, tmp_path: Path):
    for name, value in environment("node").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    config = load()
    (pacs,) = config.destinations
    assert isinstance(pacs, DimseDestination)
    assert pacs.host in services()
    orthanc = (ROOT / "orthanc" / "orthanc.json").read_text()
    assert f'"DicomAet": "{pacs.ae_title}"' in orthanc
    assert f'"DicomPort": {pacs.port}' in orthanc
    assert f'"AET": "{config.receive.ae_title}"' in orthanc
    assert f'"Port": {config.receive.port}' in orthanc
    assert environment("orthanc")["NODE_HOST"] in services()
    (network,) = yaml.safe_load(COMPOSE.read_text())["networks"]["dicom"]["ipam"]["config"]
    assert network["subnet"] in config.receive.peers[0].addresses
    assert config.url.startswith("sqlite:///")
    # What is plain HTTP is published to this machine alone.
    assert (config.web.host, config.web.allow_plain_http) == ("0.0.0.0", True)
    assert f"127.0.0.1:{config.web.port}:{config.web.port}" in services()["node"]["ports"]


def test_what_is_mounted_built_from_and_copied_exists():
    everything = yaml.safe_load(COMPOSE.read_text())
    sources = [volume.split(":")[0] for service in services().values() for volume in service.get("volumes", [])]
    assert {source for source in sources if "/" not in source} == set(everything["volumes"])
    assert [source for source in sources if "/" in source and not (FOLDER / source).is_file()] == []

    context = FOLDER / services()["node"]["build"]["context"]
    dockerfile = (context / services()["node"]["build"]["dockerfile"]).read_text()
    let_through = [line[1:] for line in (context / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [path for path in let_through if not (context / path).exists()] == []
    copied = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE)
    assert set(copied) - {"."} <= set(let_through)
    # What the wheel is made of, by pyproject.toml.
    assert {"pyproject.toml", "README.md", "LICENSE", "node", "plugins", "migrations", "config.yaml"} <= set(
        let_through
    )


def test_orthanc_reads_the_files_that_compose_mounts_together(monkeypatch, tmp_path: Path):
    if not peers.ORTHANC.exists():
        pytest.skip(f"{peers.ORTHANC} is not installed: this test needs a real Orthanc (`make peers` says how)")
    orthanc = services()["orthanc"]
    for name, value in {**environment("orthanc"), "ORTHANC_PASSWORD": "chosen"}.items():
        monkeypatch.setitem(peers.NO_DELAY, name, value)
    dicom_port, http_port = peers.free_port(), peers.free_port()
    folder = tmp_path / "etc"
    folder.mkdir()
    (tmp_path / "none").mkdir()
    for volume in orthanc["volumes"]:
        source, target = volume.split(":")[:2]
        if target.startswith("/etc/orthanc/"):
            text = (FOLDER / source).read_text()
            text = text.replace("/etc/orthanc/harmonode.py", str(folder / "harmonode.py"))
            text = text.replace("/var/lib/orthanc/db", str(tmp_path / "db"))
            text = text.replace("/usr/local/share/orthanc/plugins", str(tmp_path / "none"))
            text = text.replace('"DicomPort": 4242', f'"DicomPort": {dicom_port}')
            text = text.replace('"HttpPort": 8042', f'"HttpPort": {http_port}')
            (folder / Path(target).name).write_text(text)
    started = peers.Peer([str(peers.ORTHANC), str(folder)], [dicom_port, http_port], tmp_path / "etc")
    try:
        url = f"http://127.0.0.1:{http_port}"
        assert httpx.get(f"{url}/system", timeout=30).status_code == 401
        modality = httpx.get(f"{url}/modalities/harmonode/configuration", auth=("orthanc", "chosen"), timeout=30).json()
        assert (modality["AET"], modality["Host"], modality["Port"]) == ("HARMONODE", "node", 11112)
    finally:
        started.kill()
    assert "remote access is allowed" in started.log.read_text()


def test_the_health_check_asks_the_node(start_node):
    node = start_node()
    own = {**os.environ, "HARMONODE_CONFIG": str(node.file)}

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(FOLDER / "healthcheck.py")],
            env=own, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert check().returncode == 0
    node.stop()
    down = check()
    assert down.returncode == 1
    assert "this node" in down.stderr
    assert "Traceback" not in down.stderr


def test_systemd_understands_the_unit(tmp_path: Path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed: the unit cannot be verified")
    text = (FOLDER / "harmonode.service").read_text()
    unit = tmp_path / "harmonode.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout[-200:]  # its exposure is at most 2.0 of 10


def test_hadolint_finds_nothing_in_the_dockerfile():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
