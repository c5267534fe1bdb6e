"""`harmonode notify` says of each way whether it took a message."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from node.cli import app


@pytest.fixture
def hook_port() -> object:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if body["kind"] == "test" and self.path == "/good" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_each_way_is_tried(tmp_path: Path, hook_port: int):
    hooks = [{"name": name, "url": f"http://127.0.0.1:{hook_port}/{name}?key=sesame"} for name in ("bad", "good")]
    file = tmp_path / "config.yaml"

    def run(webhooks: list[dict[str, str]]) -> tuple[int, str]:
        file.write_text(yaml.safe_dump({"data_dir": str(tmp_path), "notify": {"webhooks": webhooks}}))
        result = CliRunner().invoke(app, ["--config", str(file), "notify"])
        return result.exit_code, result.output

    status, told = run([hooks[0], {**hooks[1], "url": hooks[1]["url"].partition("?")[0]}])
    assert status == 1
    assert "✗ bad: TransientError: webhook bad answers with HTTP status 404" in told
    assert "✓ good took it" in told
    assert "sesame" not in told
    assert run([])[0] == 0
