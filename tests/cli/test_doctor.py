"""`harmonode doctor` finds what is wrong and says what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from syslogs import OddServer
from typer.testing import CliRunner

from node.cli import app


def examine(tmp_path: Path, **settings: Any) -> tuple[int, dict[str, dict[str, str]]]:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data"), "web": {"port": 0}, **settings}))
    result = CliRunner().invoke(app, ["--config", str(file), "doctor", "--json"])
    return result.exit_code, {finding["subject"]: finding for finding in json.loads(result.stdout)}


def test_a_healthy_node(tmp_path: Path, free_port: int):
    (tmp_path / "out").mkdir()
    status, found = examine(
        tmp_path,
        receive={"port": free_port, "disk_reserve_mb": 1},
        destinations=[{"kind": "folder", "name": "out", "path": str(tmp_path / "out")}],
    )
    assert status == 0, found
    assert {finding["level"] for subject, finding in found.items() if subject != "database"} == {"ok"}, found
    assert set(found) >= {
        "database", "disk", "port", "destination out", "codecs", "plugin identity", "plugin ct_harmonizer", "GPU", "packages",
    }  # fmt: skip


def test_a_destination_that_does_not_answer(tmp_path: Path, free_port: int):
    status, found = examine(
        tmp_path,
        destinations=[{"kind": "dimse", "name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": free_port}],
    )
    assert status == 1
    assert found["destination pacs"]["level"] == "error"
    assert str(free_port) in found["destination pacs"]["what"]
    assert found["destination pacs"]["remedy"]


def test_a_taken_port(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        _, found = examine(tmp_path, receive={"port": taken.getsockname()[1]})
    assert found["port"]["level"] == "warning"


def test_a_port_that_can_never_be_taken(tmp_path: Path):
    status, found = examine(tmp_path, receive={"host": "192.0.2.1"})  # of RFC 5737, nobody's
    assert (status, found["port"]["level"]) == (1, "error")


def test_a_count_source_that_does_not_answer(tmp_path: Path, free_port: int):
    source = {"calling_ae_title": "CT1", "ae_title": "PACS", "host": "127.0.0.1", "port": free_port}
    _, found = examine(tmp_path, complete={"count_sources": [source]})
    assert found["count source PACS"]["level"] == "warning"
    assert str(free_port) in found["count source PACS"]["what"]


def test_images_that_every_user_could_read(tmp_path: Path):
    (tmp_path / "data").mkdir(mode=0o755)
    _, found = examine(tmp_path)
    assert (found["privacy"]["level"], found["privacy"]["remedy"]) == ("warning", f"chmod 700 {tmp_path / 'data'}")
    (tmp_path / "data").chmod(0o700)
    assert "privacy" not in examine(tmp_path)[1]


def test_a_database_that_is_none(tmp_path: Path):
    status, found = examine(tmp_path, database_url="sqlite:////etc/hostname")
    assert (status, found["database"]["what"]) == (1, "cannot be used: file is not a database")
    status, found = examine(tmp_path, database_url="nonsense")
    assert (status, found["database"]["level"]) == (1, "error")


def test_a_full_disk(tmp_path: Path):
    status, found = examine(tmp_path, receive={"disk_reserve_mb": 1 << 40})
    assert (status, found["disk"]["level"]) == (1, "error")
    assert "A700" in found["disk"]["what"]


def test_a_database_that_is_behind(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "harmonode.sqlite3").touch()
    status, found = examine(tmp_path)
    assert (status, found["database"]["remedy"]) == (1, "run `harmonode db upgrade`")


def test_a_clashing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = tmp_path / "site"
    (site / "node-1.0.dist-info").mkdir(parents=True)
    (site / "node-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: node\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    status, found = examine(tmp_path)
    assert (status, found["packages"]["remedy"]) == (1, "pip uninstall node")


def test_certificates_are_looked_at_before_they_fail(tmp_path: Path, free_port: int, authority):
    soon, good = authority.issue("soon.example", days=10), authority.issue("good.example")
    for issued in (soon, good):
        issued.key.chmod(0o600)
    pacs = {"kind": "dimse", "name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": free_port}
    _, found = examine(
        tmp_path,
        receive={"port": free_port, "tls": {"certificate": str(soon.certificate), "key": str(soon.key)}},
        destinations=[{**pacs, "tls": {"certificate": str(good.certificate), "key": str(soon.key)}}],
    )
    assert (found["receive.tls"]["level"], found["destination pacs tls"]["level"]) == ("warning", "error")
    assert "in 9 days" in found["receive.tls"]["what"]
    assert "does not belong to the certificate" in found["destination pacs tls"]["what"]


def test_plain_tcp_beyond_this_machine_is_told_of(tmp_path: Path, free_port: int):
    _, found = examine(tmp_path, receive={"host": "0.0.0.0", "port": free_port})
    assert found["receive.tls"]["level"] == "warning"
    assert "anyone can listen" in found["receive.tls"]["what"]


def test_audit_servers_are_greeted(tmp_path: Path, odd_server: OddServer, free_port: int):
    good = odd_server.server().model_dump(mode="json", exclude={"tls"}) | {"tls": {"ca": str(odd_server.authority.ca)}}
    servers = [
        good,
        {**good, "name": "down", "port": free_port},
        {**good, "name": "stranger", "tls": {}},
        {"name": "open", "host": "127.0.0.1", "port": 514, "transport": "udp"},
    ]
    _, found = examine(tmp_path, audit={"servers": servers})
    assert found["audit server odd"]["level"] == "ok", found
    for name, told in (("down", "refused"), ("stranger", "certificate"), ("open", "UDP")):
        finding = found[f"audit server {name}"]
        assert finding["level"] == "warning"
        assert told in finding["what"]
        assert finding["remedy"]


def test_the_port_of_the_page_is_looked_at(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        _, found = examine(tmp_path, web={"port": taken.getsockname()[1]})
    assert found["web"]["level"] == "warning"
    assert "web.port" in found["web"]["remedy"]
    assert examine(tmp_path, web={"enabled": False})[1]["web"]["level"] == "ok"
