"""`harmonode doctor`: is everything here that the node needs, and what to do where it is not."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from ipaddress import ip_address

import typer

from node import plugin
from node.cli.context import JSON, out, print_json, settings
from node.config import ClientTLS, Config, DimseDestination, ServerTLS
from node.errors import HarmonodeError, OperatorError
from node.store import watermark
from node.store.watermark import Level

_MARK = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    subject: str
    level: str  # "ok", "warning" or "error"
    what: str
    remedy: str = ""


def register(app: typer.Typer) -> None:
    app.command("doctor", epilog="Example: harmonode --config /etc/harmonode.yaml doctor")(doctor)


def doctor(ctx: typer.Context, as_json: JSON = False) -> None:
    """Check database, migrations, disk, port, destinations, codecs, plugins, GPU and packages; say what to do."""
    config = settings(ctx)
    findings = [finding for check in CHECKS for finding in check(config)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            out.print(f"{_MARK[finding.level]} [bold]{finding.subject}[/]: ", end="")
            out.print(finding.what, markup=False)
            if finding.remedy:
                out.print(f"    → {finding.remedy}", markup=False)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _database(config: Config) -> Iterator[Finding]:
    from node.store.session import Database, revision, sqlite_file

    try:
        file = sqlite_file(config.url)
        if file is not None and not file.exists():
            remedy = "`harmonode serve` or `harmonode db upgrade` makes it"
            yield Finding("database", "warning", f"{file} does not exist yet", remedy)
            return
        database = Database(config.url)
        try:
            current, head = revision(database)
        finally:
            database.close()
    except Exception as error:  # noqa: BLE001 - a driver may raise anything; the doctor says it
        what = str(getattr(error, "orig", None) or error)
        yield Finding("database", "error", f"cannot be used: {what}", "check database_url, and the file or the server")
        return
    if file is not None and not os.access(file, os.W_OK):
        yield Finding("database", "error", f"{file} cannot be written", "change its owner or its mode")
    elif current == head:
        yield Finding("database", "ok", f"{database.engine.dialect.name}, migration {current}")
    else:
        yield Finding(
            "database",
            "error",
            f"at migration {current or 'none'}, the node needs {head}",
            "run `harmonode db upgrade`",
        )


def _disk(config: Config) -> Iterator[Finding]:
    folder = config.data_dir
    while not folder.exists():
        folder = folder.resolve().parent
    space = watermark.look(config)
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "error", f"{folder} cannot be written", "change its owner, or data_dir")
    elif space.level is Level.STOP:
        yield Finding("disk", "error", space.message, "free space, or lower receive.disk_reserve_mb")
    elif space.level is Level.OK:
        yield Finding("disk", "ok", space.message)
    else:
        yield Finding(
            "disk", "warning", space.message, "free space soon; `harmonode retention --dry-run` says what may go"
        )
    if config.data_dir.exists() and config.data_dir.stat().st_mode & 0o077:
        what = f"other users of this machine can look into {config.data_dir.resolve()}"
        yield Finding("privacy", "warning", what, f"chmod 700 {config.data_dir.resolve()}")


def _port(config: Config) -> Iterator[Finding]:
    from node.receive.scp import require_port

    host, port = config.receive.host, config.receive.port
    try:
        require_port(config.receive)
    except OperatorError as error:
        cause = error.__cause__
        taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
        remedy = "right if the node is running" if taken else "a port below 1024 is for privileged users alone"
        yield Finding("port", "warning" if taken else "error", str(error), remedy)
    else:
        yield Finding("port", "ok", f"{host}:{port} is free for {config.receive.ae_title}")


def _web(config: Config) -> Iterator[Finding]:
    settings = config.web
    if not settings.enabled:
        yield Finding("web", "ok", "disabled: no page, no metrics, no DICOMweb")
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        what = f"{settings.host}:{settings.port} cannot be opened: {error.strerror or error}"
        remedy = "right if the node is running, else change web.host or web.port"
        yield Finding("web", "warning" if error.errno == errno.EADDRINUSE else "error", what, remedy)
    else:
        yield Finding("web", "ok", f"{settings.host}:{settings.port} is free for the page")


def _tls(config: Config) -> Iterator[Finding]:
    from node import tls

    places: list[tuple[str, ServerTLS | ClientTLS | None]] = [
        ("receive.tls", config.receive.tls), ("web.tls", config.web.tls),
    ]  # fmt: skip
    places += [(f"destination {one.name} tls", getattr(one, "tls", None)) for one in config.destinations]
    places += [(f"count source {one.ae_title} tls", one.tls) for one in config.complete.count_sources]
    places += [(f"audit server {one.name} tls", one.tls) for one in config.audit.servers if one.transport == "tls"]
    for subject, used in places:
        if used is None:
            continue
        try:
            found = list(tls.flaws(used))
        except OperatorError as error:
            yield Finding(subject, "error", str(error), "mend the file, or the path in the configuration")
            continue
        for nothing_works, what in found:
            yield Finding(subject, "error" if nothing_works else "warning", what, "renew it, or give it back its mode")
        if not found:
            yield Finding(subject, "ok", "certificates and keys are good for a month and more")
    if config.receive.tls is None and not _is_loopback(config.receive.host):
        what = f"{config.receive.host} is reached over the network, and DICOM is plain TCP there: anyone can listen"
        yield Finding("receive.tls", "warning", what, "set receive.tls, or keep to a network that you trust")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _destinations(config: Config) -> Iterator[Finding]:
    from node.send import echo

    if not config.destinations:
        yield Finding(
            "destinations",
            "warning",
            "none configured: nothing can be returned",
            "add one under destinations in the configuration",
        )
    for destination in config.destinations:
        try:
            yield Finding(f"destination {destination.name}", "ok", echo(destination))
        except HarmonodeError as error:
            yield Finding(
                f"destination {destination.name}",
                "error",
                str(error),
                "check address, AE titles and credentials on both sides",
            )


def _count_sources(config: Config) -> Iterator[Finding]:
    from node.send import echo

    for source in config.complete.count_sources:
        subject = f"count source {source.ae_title}"
        peer = DimseDestination(
            tls=source.tls,
            name=source.ae_title,
            ae_title=source.ae_title,
            host=source.host,
            port=source.port,
            calling_ae_title=config.receive.ae_title,
        )
        try:
            yield Finding(subject, "ok", echo(peer))
        except HarmonodeError as error:
            remedy = "check address and AE titles on both sides; until it answers, series wait for complete.quiet_s"
            yield Finding(subject, "warning", str(error), remedy)


def _audit_servers(config: Config) -> Iterator[Finding]:
    from node.atna import greet

    for server in config.audit.servers:
        subject = f"audit server {server.name}"
        if server.transport == "udp":
            what = "messages by UDP get lost without telling, and anyone can read them"
            yield Finding(subject, "warning", what, "transport: tls, where the server has it")
            continue
        try:
            greet(server)
        except (OSError, HarmonodeError) as error:
            remedy = "check host, port and tls on both sides; until it answers, messages wait in the audit trail"
            yield Finding(subject, "warning", f"{server.host}:{server.port}: {error}", remedy)
        else:
            yield Finding(subject, "ok", f"{server.host}:{server.port} is who it should be, and answers")


def _codecs(_config: Config) -> Iterator[Finding]:
    from node.dicom.codecs import available

    missing = [name for name, codec in available().items() if codec is None]
    if missing:
        yield Finding(
            "codecs",
            "warning",
            f"none for {', '.join(missing)}: such series are kept, and refused",
            "pip install python-gdcm pyjpegls pylibjpeg-openjpeg",
        )
    else:
        yield Finding("codecs", "ok", f"{len(available())} transfer syntaxes can be decoded")


def _plugins(_config: Config) -> Iterator[Finding]:
    for name in plugin.available():
        try:
            loaded = plugin.load(name)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything on import
            yield Finding(f"plugin {name}", "error", f"cannot be loaded: {error}", "reinstall it")
            continue
        try:
            weights = loaded.weights() if isinstance(loaded, plugin.Weighs) else "without weights"
        except Exception as error:  # noqa: BLE001 - as above
            yield Finding(f"plugin {name}", "error", str(error), "reinstall it")
            continue
        yield Finding(f"plugin {name}", "ok", f"version {loaded.version}, {weights}")


def _accelerator(_config: Config) -> Iterator[Finding]:
    # In a process of its own: the node itself never imports torch.
    probe = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    if done.returncode:
        yield Finding(
            "GPU",
            "error",
            f"torch cannot be imported: {done.stderr.strip().splitlines()[-1:]}",
            "reinstall the package",
        )
    elif done.stdout.strip():
        yield Finding("GPU", "ok", done.stdout.strip())
    else:
        yield Finding("GPU", "ok", f"none; the workers use {os.cpu_count()} CPU cores")


def _packages(_config: Config) -> Iterator[Finding]:
    clashing = [name for name in ("node", "plugins") if _installed(name)]
    for name in clashing:
        yield Finding(
            "packages", "error", f"the distribution {name!r} from the package index hides ours", f"pip uninstall {name}"
        )
    if not clashing:
        yield Finding("packages", "ok", "no installed distribution clashes")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _database, _disk, _port, _web, _tls, _destinations, _count_sources, _audit_servers, _codecs, _plugins, _accelerator, _packages,
)  # fmt: skip
