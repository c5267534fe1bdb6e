"""config.yaml is the manual: it and the model are held against each other, both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from node import config as module
from node.config import Config, FolderDestination, load
from node.errors import ConfigError

MANUAL = Path(__file__).parents[1] / "config.yaml"


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        found.add(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= keys_of(field.annotation, f"{prefix}{name}.")
    return found


def keys_in(data: dict[str, object], prefix: str = "") -> set[str]:
    found = set()
    for name, value in data.items():
        found.add(prefix + name)
        if isinstance(value, dict):
            found |= keys_in(value, f"{prefix}{name}.")
    return found


def test_the_manual_has_every_key_of_the_model_and_no_other():
    assert keys_in(yaml.safe_load(MANUAL.read_text())) == keys_of(Config)


def test_the_manual_shows_every_default():
    assert load(MANUAL).model_dump() == Config().model_dump()


def test_every_key_of_the_manual_is_commented():
    lines = MANUAL.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r" *[a-z_]+:", line)]
    bare = [lines[number] for number in keys if not lines[number - 1].strip().startswith("#")]
    assert bare == []


KINDS = [
    name
    for name, value in vars(module).items()
    if isinstance(value, type)
    and "kind" in getattr(value, "model_fields", ())
    and name.endswith(("Destination", "Source"))
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_manual_names_every_key_of_a_destination_and_of_a_source(kind: str):
    model = getattr(module, kind)
    text = MANUAL.read_text()
    block = text[text.index("# Archives that" if kind.endswith("Source") else "# Where derived series go") :]
    example = next(
        part for part in block.split("#   - name: ")[1:] if f"kind: {model.model_fields['kind'].default}" in part
    )
    written = {"name", *re.findall(r"#     (\w+):", example), *re.findall(r"or (\w+):", example)}
    assert set(model.model_fields) <= written


@pytest.mark.parametrize(("model", "start"), [("ServerTLS", "  # null is plain TCP"), ("ClientTLS", "#     tls: null")])
def test_the_manual_names_every_key_of_tls(model: str, start: str):
    text = MANUAL.read_text()
    block = text[text.index(f"\n{start}") :].split("\n  tls: null")[0].split("#   - name")[0]
    assert set(getattr(module, model).model_fields) <= set(re.findall(r"# {5,7}(\w+):", block))


def test_the_manual_names_every_key_of_a_peer():
    block = MANUAL.read_text().split("# Who may open an association")[1].split("check_called_ae_title")[0]
    assert set(module.Peer.model_fields) <= set(re.findall(r"(\w+):", block))


def test_the_password_of_a_key_may_come_from_a_variable_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text("receive: {tls: {certificate: a.pem, key: a.key}}")
    monkeypatch.setenv("HARMONODE_RECEIVE__TLS__KEY_PASSWORD", "open sesame")
    tls = load(file).receive.tls
    assert tls is not None
    assert (tls.key_password.get_secret_value(), tls.certificate) == ("open sesame", Path("a.pem"))
    assert "open sesame" not in f"{load(file)!r}{load(file).model_dump_json()}"


def test_a_variable_overrides_one_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HARMONODE_RECEIVE__PORT", "11113")
    monkeypatch.setenv("HARMONODE_PROCESS__RETRY__ATTEMPTS", "2")
    monkeypatch.setenv("HARMONODE_DESTINATIONS", '[{"kind": "folder", "name": "out", "path": "/srv"}]')
    config = load(MANUAL)
    assert (config.receive.port, config.receive.ae_title) == (11113, "HARMONODE")
    assert config.process.retry.attempts == 2
    assert config.destination("out") == FolderDestination(name="out", path=Path("/srv"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("recieve: {port: 1}", "recieve"),
        ("receive: {prot: 1}", "receive.prot"),
        ("receive: {port: 70000}", "receive.port"),
        ("receive: {ae_title: SEVENTEEN_LETTERS}", "receive.ae_title"),
        ("receive: {peers: [{addresses: [nonsense]}]}", "receive.peers.0.addresses"),
        ("destinations: [{kind: pigeon, name: x}]", "destinations.0"),
        (
            "destinations: [{kind: folder, name: x, path: a}, {kind: folder, name: x, path: b}]",
            "two destinations are called x",
        ),
        ("derive: {series_description: 'Lung {kernal}'}", "{kernal} is no field of a template"),
        ("derive: {image_comments: 'for {source!r}'}", "{source} is no field of a template"),
        ("derive: {image_comments: 'half a {'}", "derive.image_comments"),
        ("receive: [", "not YAML"),
        ("just words", "holds no keys"),
        ("- data_dir", "holds no keys"),
        ("receive: {peers: [{addresses: []}]}", "receive.peers.0.addresses"),
        ("receive: {peers: [{ae_title: SEVENTEEN_LETTERS, addresses: [10.0.0.0/8]}]}", "receive.peers.0.ae_title"),
        ("receive: {ae_title: '  '}", "receive.ae_title"),
        ("receive: {peers: [{addresses: [10.0.0.0/8], certificates: [ct1]}]}", "only seen with tls.ca"),
        (
            "destinations: [{kind: dimse, name: p, ae_title: P, host: h, port: 1, tls: {key: k}}]",
            "certificate and key belong together",
        ),
        ("destinations: [{kind: folder, name: '', path: a}]", "destinations.0.folder.name"),
        ("data_dir: !!int ''", "is not YAML"),
        ("data_dir: 2020-13-45", "is not YAML"),
        ("?", "None is the name of no key"),
        (f"data_dir: {'[' * 1000}", "is nested too deeply"),
    ],
)
def test_a_wrong_key_is_an_error_that_names_it(tmp_path: Path, text: str, names: str):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(names)):
        load(file)


def test_a_file_that_is_no_text_is_told_of(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file)


@pytest.mark.parametrize(
    ("variable", "value", "names"),
    [
        ("HARMONODE_DESTINATION", "[]", "HARMONODE_DESTINATION sets no key"),
        ("HARMONODE_RECEIVE__PROT", "1", "receive.prot"),
        ("HARMONODE_DESTINATIONS", "[bad", '"destinations"'),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, names: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=re.escape(names)):
        load(MANUAL)


def test_padding_of_an_ae_title_means_nothing():
    peer = {"ae_title": " CT1 ", "addresses": ["10.0.0.0/8"]}
    config = Config.model_validate({"receive": {"ae_title": "NODE ", "peers": [peer]}})
    assert (config.receive.ae_title, config.receive.peers[0].ae_title) == ("NODE", "CT1")


def test_a_file_that_was_named_must_exist(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        load(tmp_path / "none.yaml")


def test_an_unknown_destination_is_named_with_those_there_are():
    with pytest.raises(ConfigError, match="no destination 'pacs' in the configuration; there are: none"):
        Config().destination("pacs")


def test_a_password_is_never_printed():
    config = Config.model_validate(
        {"destinations": [{"kind": "orthanc", "name": "o", "url": "http://x", "password": "open sesame"}]}
    )
    assert "open sesame" not in f"{config!r}{config.model_dump_json()}"
