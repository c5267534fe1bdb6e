"""The configuration: a model of config.yaml, which is its manual.

Every key can be overridden by a variable: `HARMONODE_RECEIVE__PORT=11113` sets `receive.port`.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from node.errors import ConfigError

VARIABLE_PREFIX = "HARMONODE_"

# Spaces round it are padding and mean nothing (PS3.5 section 6.2), so they are not kept: "CT1 " is CT1.
AETitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]+$")
]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, Field(pattern=r"^[^@\s,<>]+@[^@\s,<>]+$")]  # of a mailbox
Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[float, Field(ge=0)]
Compression = Literal["none", "jpeg-ls", "jpeg-2000"]  # lossless, all of them


class Section(BaseModel):
    """A part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Log(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["console", "json"] = "console"


class ServerTLS(Section):
    """TLS where the node listens: its own identity, in PEM files, and who may connect."""

    certificate: Path
    key: Path
    key_password: SecretStr = SecretStr("")
    ca: Path | None = None  # whose certificates clients must show; None: they need not show any


class ClientTLS(Section):
    """TLS where the node connects: whom it trusts, and what it shows of itself."""

    ca: Path | None = None  # None: the authorities that this machine trusts
    check_name: bool = True  # whether the server's certificate must name the host that was dialled
    certificate: Path | None = None
    key: Path | None = None
    key_password: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        return self


class Peer(Section):
    """Who may open an association."""

    ae_title: AETitle = "*"  # "*" is any
    addresses: tuple[str, ...] = Field(min_length=1)  # IP networks
    certificates: tuple[str, ...] = ()  # names or fingerprints, one of which its certificate must have; (): any

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value


class CommitmentPeer(Section):
    """Who may ask for storage commitment, and where it is told what became of that."""

    ae_title: AETitle
    host: str
    port: Port
    tls: ClientTLS | None = None


class Receive(Section):
    ae_title: AETitle = "HARMONODE"
    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)  # 0 takes a free port and writes it to the log
    peers: tuple[Peer, ...] = (Peer(addresses=("127.0.0.0/8", "::1/128")),)
    check_called_ae_title: bool = True
    max_associations: int = Field(32, ge=1)
    max_pdu_bytes: int = Field(131072, ge=4096)
    idle_timeout_s: Seconds = 60
    disk_reserve_mb: int = Field(2048, ge=0)
    commitment: tuple[CommitmentPeer, ...] = ()
    tls: ServerTLS | None = None

    @model_validator(mode="after")
    def _certificates_can_be_seen(self) -> Self:
        if any(peer.certificates for peer in self.peers) and (self.tls is None or self.tls.ca is None):
            raise ValueError("peers.certificates are only seen with tls.ca: without it nobody shows a certificate")
        return self


class CountSource(Section):
    """A peer that can be asked how many instances a series has (0020,1209)."""

    calling_ae_title: AETitle  # the AE title its series come from
    ae_title: AETitle  # the AE title to query
    host: str
    port: Port
    tls: ClientTLS | None = None


class Complete(Section):
    quiet_s: Seconds = 30
    quiet_when_counted_s: float = Field(2, ge=0)
    count_sources: tuple[CountSource, ...] = ()


class Retry(Section):
    attempts: int = Field(6, ge=1)
    first_delay_s: Seconds = 5
    factor: float = Field(3, ge=1)
    max_delay_s: Seconds = 900


class Process(Section):
    workers: int = Field(1, ge=0)
    step_timeout_s: Seconds = 3600
    memory_limit_mb: int = Field(0, ge=0)  # 0: three quarters of the machine's, shared among the workers
    retry: Retry = Retry()


class Retention(Section):
    """What leaves the disk by itself. None: never."""

    delivered_days: Days | None = 30
    passed_days: Days | None = None
    disk_warn_mb: int = Field(8192, ge=0)
    disk_low_mb: int = Field(4096, ge=0)
    delivered_days_when_low: Days | None = 1

    @model_validator(mode="after")
    def _tells_before_it_acts(self) -> Self:
        if self.disk_low_mb > self.disk_warn_mb:
            raise ValueError(f"disk_low_mb {self.disk_low_mb} is above disk_warn_mb {self.disk_warn_mb}: told too late")
        return self


TEMPLATE_FIELDS = ("source", "kernel", "plugin", "target", "version")
"""What may stand in braces in the texts of a derived series."""


class Derive(Section):
    series_number_offset: int = Field(9000, ge=0)
    series_description: str = "Harmonized {source}"
    image_comments: str = ""
    manufacturer: str = Field("harmonode", min_length=1, max_length=64)
    station_name: str = Field("HARMONODE", max_length=16)
    keep_private_tags: bool = False
    keep_performed_procedure_step: bool = False

    @field_validator("series_description", "image_comments")
    @classmethod
    def _fields_are_known(cls, value: str) -> str:
        try:
            fields = [(name, spec, how) for _, name, spec, how in Formatter().parse(value) if name is not None]
        except ValueError as error:
            raise ValueError(f"{value!r} is no template: {error}; a brace that is meant is doubled") from error
        for name, spec, how in fields:
            if name not in TEMPLATE_FIELDS or spec or how:
                known = ", ".join(f"{{{field}}}" for field in TEMPLATE_FIELDS)
                raise ValueError(f"{{{name}}} is no field of a template; there are: {known}")
        return value


class DimseDestination(Section):
    """A PACS reached by C-STORE, asked by C-FIND."""

    kind: Literal["dimse"] = "dimse"
    name: Name
    ae_title: AETitle
    host: str
    port: Port
    calling_ae_title: AETitle = "HARMONODE"
    timeout_s: Seconds = 30
    compression: Compression = "none"
    structured_report: bool = False
    confirm: Literal["c-find", "commitment", "none"] = "c-find"
    commitment_timeout_s: Seconds = 3600
    commitment_fallback: Literal["c-find", "wait"] = "c-find"
    tls: ClientTLS | None = None


class StowDestination(Section):
    """A PACS reached by STOW-RS, asked by QIDO-RS."""

    kind: Literal["stow"] = "stow"
    name: Name
    url: str
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    timeout_s: Seconds = 60
    compression: Compression = "none"
    structured_report: bool = False


class OrthancDestination(Section):
    """An Orthanc reached by its REST interface."""

    kind: Literal["orthanc"] = "orthanc"
    name: Name
    url: str
    username: str = ""
    password: SecretStr = SecretStr("")
    timeout_s: Seconds = 60
    compression: Compression = "none"
    structured_report: bool = False


class FolderDestination(Section):
    """A folder; one subfolder a derived series."""

    kind: Literal["folder"] = "folder"
    name: Name
    path: Path
    compression: Compression = "none"
    structured_report: bool = False


class AuditServer(Section):
    """An audit repository, reached by syslog (PS3.15 sections A.6 and A.7)."""

    name: Name
    host: str = Field(min_length=1)
    port: Port = 6514
    transport: Literal["tls", "udp"] = "tls"
    tls: ClientTLS = ClientTLS()
    timeout_s: Seconds = 30
    confirm: Literal["close-notify", "none"] = "close-notify"


class Mail(Section):
    """A mail server, and who writes to whom."""

    host: str = Field(min_length=1)
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    tls: ClientTLS = ClientTLS()
    username: str = ""
    password: SecretStr = SecretStr("")
    sender: Address
    recipients: tuple[Address, ...] = Field(min_length=1)
    timeout_s: Seconds = 30


class Webhook(Section):
    """A URL that gets JSON; it may hold a secret itself, so it is shown nowhere."""

    name: Name
    url: SecretStr
    secret: SecretStr = SecretStr("")  # signs; empty: unsigned
    tls: ClientTLS = ClientTLS()
    timeout_s: Seconds = 30

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"https?://[^/\s]+", value.get_secret_value()):
            raise ValueError("is no http or https URL")
        return value


class Notify(Section):
    """Who is told of what needs a person."""

    page_url: str = ""  # of the web page as people reach it, for links
    refused: bool = False
    reasons: bool = False
    again_min: float = Field(60, ge=0)
    reminder_hours: float = Field(24, gt=0)
    stuck_min: float = Field(15, ge=0)
    verify_hours: float = Field(24, gt=0)
    mail: Mail | None = None
    webhooks: tuple[Webhook, ...] = ()

    @field_validator("webhooks")
    @classmethod
    def _names_differ(cls, value: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        names = ["mail", *(webhook.name for webhook in value)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two ways to notify are called {', '.join(sorted(twice))}")
        return value


class Audit(Section):
    """Audit messages to repositories, PS3.15 section A.5 and IHE ATNA."""

    source_id: str = Field("", max_length=255)  # empty: the name of this machine
    enterprise_site_id: str = Field("", max_length=255)
    patient: Literal["none", "id", "id-and-name"] = "id"
    servers: tuple[AuditServer, ...] = ()

    @field_validator("servers")
    @classmethod
    def _names_differ(cls, value: tuple[AuditServer, ...]) -> tuple[AuditServer, ...]:
        names = [server.name for server in value]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two audit servers are called {', '.join(sorted(twice))}")
        return value


Destination = Annotated[
    DimseDestination | StowDestination | OrthancDestination | FolderDestination, Field(discriminator="kind")
]


class Web(Section):
    """The web page, DICOMweb and metrics: one HTTP server."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(8043, ge=0, le=65535)  # 0 takes a free port and writes it to the log
    tls: ServerTLS | None = None
    allow_plain_http: bool = False
    trusted_proxies: tuple[str, ...] = ()  # IP addresses or networks
    session_hours: float = Field(12, gt=0)
    show_patient: bool = False
    echo_every_s: float = Field(300, ge=0)  # 0: never

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not (self.tls or self.allow_plain_http or _is_loopback(self.host)):
            raise ValueError(
                f"{self.host} is reached from other machines, and without TLS tokens and images can be read on the way:"
                " set web.tls, or web.allow_plain_http where a reverse proxy or a container's network keeps them safe"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


class Dicomweb(Section):
    """The node's own DICOMweb, on the server of `web`."""

    enabled: bool = True
    max_request_mb: int = Field(4096, ge=1)
    max_instance_mb: int = Field(1024, ge=1)
    max_instances: int = Field(10000, ge=1)


class DimseSource(Section):
    """An archive that the node pulls from by C-GET, or by C-MOVE to itself; asked by C-FIND."""

    kind: Literal["dimse"] = "dimse"
    name: Name
    ae_title: AETitle
    host: str
    port: Port
    calling_ae_title: AETitle = "HARMONODE"
    retrieve: Literal["c-get", "c-move"] = "c-get"
    timeout_s: Seconds = 60
    tls: ClientTLS | None = None


class DicomwebSource(Section):
    """An archive that the node pulls from by WADO-RS; asked by QIDO-RS."""

    kind: Literal["dicomweb"] = "dicomweb"
    name: Name
    url: str
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    timeout_s: Seconds = 60


class OrthancSource(Section):
    """An Orthanc that the node pulls from by its own REST interface."""

    kind: Literal["orthanc"] = "orthanc"
    name: Name
    url: str
    username: str = ""
    password: SecretStr = SecretStr("")
    timeout_s: Seconds = 60


Source = Annotated[DimseSource | DicomwebSource | OrthancSource, Field(discriminator="kind")]


class Config(BaseSettings):
    """The whole configuration. Sources, strongest first: variables, config.yaml, defaults."""

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("data")
    database_url: str = ""
    log: Log = Log()
    receive: Receive = Receive()
    complete: Complete = Complete()
    process: Process = Process()
    retention: Retention = Retention()
    derive: Derive = Derive()
    audit: Audit = Audit()
    notify: Notify = Notify()
    destinations: tuple[Destination, ...] = ()
    web: Web = Web()
    dicomweb: Dicomweb = Dicomweb()
    sources: tuple[Source, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    @field_validator("destinations", "sources")
    @classmethod
    def _names_differ(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        names = [one.name for one in value]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two {info.field_name} are called {', '.join(sorted(twice))}")
        return value

    @property
    def url(self) -> str:
        """The database's URL; SQLite in `data_dir` unless told otherwise."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'harmonode.sqlite3'}"

    @property
    def spool_dir(self) -> Path:
        """Received instances."""
        return self.data_dir / "spool"

    @property
    def quarantine_dir(self) -> Path:
        """Bytes that could not be accepted."""
        return self.data_dir / "quarantine"

    @property
    def derived_dir(self) -> Path:
        """Derived instances, work in progress, reports and pictures; one subfolder a job."""
        return self.data_dir / "derived"

    def destination(self, name: str) -> DimseDestination | StowDestination | OrthancDestination | FolderDestination:
        """The destination of that name.

        Raises:
            ConfigError: there is none.
        """
        for destination in self.destinations:
            if destination.name == name:
                return destination
        known = ", ".join(destination.name for destination in self.destinations) or "none"
        raise ConfigError(f"no destination {name!r} in the configuration; there are: {known}")

    def source(self, name: str) -> DimseSource | DicomwebSource | OrthancSource:
        """The source of that name.

        Raises:
            ConfigError: there is none.
        """
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.sources) or "none"
        raise ConfigError(f"no source {name!r} in the configuration; there are: {known}")


def file_of(path: Path | None = None) -> Path:
    """The file that `load` reads: `path`, else what HARMONODE_CONFIG names, else ./config.yaml, which need not exist.

    Raises:
        ConfigError: the file that is named does not exist.
    """
    named = path or (Path(variable) if (variable := os.environ.get("HARMONODE_CONFIG")) else None)
    if named and not named.is_file():
        raise ConfigError(f"the configuration file {named} does not exist")
    return named or Path("config.yaml")


NO_YAML = (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError)
"""What PyYAML raises where a text is none: it trips over a value that is not what its tag says, as `!!int ""`."""


def load(path: Path | None = None, **overrides: Any) -> Config:
    """Read the configuration from the file of `file_of`; what is not there has its default.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown or wrong; names the key.
    """
    file = file_of(path)

    class FromFile(Config):
        model_config = SettingsConfigDict(yaml_file=file)

    try:
        _no_unknown_variable()
        _require_mapping(file)
        return FromFile(**overrides)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise ConfigError(f"{file}: {wrong}") from error
    except SettingsError as error:
        raise ConfigError(f"{error}: a list or a map must be JSON ({error.__cause__})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _no_unknown_variable() -> None:
    """A misspelt key is an error in the file, so it is one in a variable too."""
    known = {*Config.model_fields, "config"}
    for variable in os.environ:
        key = variable.removeprefix(VARIABLE_PREFIX).partition("__")[0].lower()
        if variable.startswith(VARIABLE_PREFIX) and key not in known:
            raise ConfigError(
                f"the variable {variable} sets no key of the configuration; there are: {', '.join(sorted(known))}"
            )


def _require_mapping(file: Path) -> None:
    content = file.read_text("utf-8") if file.is_file() else ""
    try:
        found = yaml.safe_load(content)
    except NO_YAML as error:
        raise ConfigError(f"{file} is not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{file} is nested too deeply") from error
    if not isinstance(found, dict | None):
        raise ConfigError(f"{file} holds no keys: expected lines such as `data_dir: /srv/harmonode`")
    if nameless := [key for key in found or () if not isinstance(key, str)]:
        raise ConfigError(f"{file}: {nameless[0]!r} is the name of no key")
