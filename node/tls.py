"""TLS of every connection, as server and as client: DIMSE, HTTP, syslog.

What is negotiated are the profiles of PS3.15 that stand on BCP 195 without falling back: B.12 (BCP 195 RFC 8996, 9325),
and with it peers that know the older B.10 (Non-Downgrading BCP 195) or B.11 (Extended BCP 195): TLS 1.2 or 1.3, keys
exchanged by ECDHE, ciphers that authenticate.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from node.config import ClientTLS, ServerTLS
from node.errors import OperatorError

# RFC 9325 section 4.2; TLS 1.3 has its own, all of them sound.
_CIPHERS_1_2 = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES256-GCM-SHA384", "AES128-GCM-SHA256", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)
_SOON = timedelta(days=30)
_FINGERPRINT = re.compile(r"sha256:([0-9a-f]{2}:?){31}[0-9a-f]{2}", re.IGNORECASE)


def server_context(settings: ServerTLS) -> ssl.SSLContext:
    """What the side that listens speaks; with `ca` it takes only clients that show a certificate of that authority.

    Raises:
        OperatorError: a file cannot be used; says which, and why.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _load_identity(context, settings.certificate, settings.key, settings.key_password.get_secret_value())
    if settings.ca is not None:
        _load_ca(context, settings.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(settings: ClientTLS) -> ssl.SSLContext:
    """What the side that connects speaks; it always verifies the server's certificate.

    Raises:
        OperatorError: a file cannot be used; says which, and why.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.check_name
    if settings.ca is not None:
        _load_ca(context, settings.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if settings.certificate is not None and settings.key is not None:
        _load_identity(context, settings.certificate, settings.key, settings.key_password.get_secret_value())
    return context


def names(connection: ssl.SSLSocket) -> frozenset[str]:
    """By what the certificate of a verified peer may be called: its Common Names, its alternative names, its fingerprint.

    Names are in lower case, the fingerprint is "sha256:" and 64 hexadecimal digits. Empty where the peer showed none.
    """
    encoded, told = connection.getpeercert(binary_form=True), connection.getpeercert()
    if not encoded or not told:
        return frozenset()
    fields: dict[str, Any] = dict(told)  # typed no further than its keys
    called = [value for part in fields.get("subject", ()) for key, value in part if key == "commonName"]
    called += [value for kind, value in fields.get("subjectAltName", ()) if kind in ("DNS", "IP Address", "URI")]
    return frozenset({f"sha256:{hashlib.sha256(encoded).hexdigest()}", *map(canonical, called)})


def canonical(name: str) -> str:
    """A name or a fingerprint as `names` writes it; fingerprints may be given with colons between their bytes."""
    name = name.strip().lower()
    return f"sha256:{name[7:].replace(':', '')}" if _FINGERPRINT.fullmatch(name) else name


def flaws(settings: ServerTLS | ClientTLS) -> Iterator[tuple[bool, str]]:
    """What a person should know of the files: (whether nothing works so, what it is).

    Raises:
        OperatorError: as `server_context`.
    """
    if isinstance(settings, ServerTLS):
        server_context(settings)
    else:
        client_context(settings)
    for path in (settings.certificate, settings.ca):
        if path is not None:
            yield from _dates(path)
    if settings.key is not None and settings.key.stat().st_mode & 0o077:
        yield False, f"others than its owner can read the key {settings.key}: chmod 600"


def _dates(path: Path) -> Iterator[tuple[bool, str]]:
    from cryptography import x509

    now = datetime.now(UTC)
    for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        who = f"the certificate {certificate.subject.rfc4514_string() or certificate.serial_number} in {path}"
        if last < now:
            yield True, f"{who} expired on {last:%Y-%m-%d}"
        elif first > now:
            yield True, f"{who} is valid from {first:%Y-%m-%d} on"
        elif last - now < _SOON:
            yield False, f"{who} expires on {last:%Y-%m-%d}, in {(last - now).days} days"


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load_identity(context: ssl.SSLContext, certificate: Path, key: Path, password: str) -> None:
    for path in (certificate, key):
        _require(path)
    try:
        # A password is always given: OpenSSL would ask for it on the terminal.
        context.load_cert_chain(certificate, key, lambda: password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise OperatorError(f"the key {key} does not belong to the certificate {certificate}") from error
        if "ENCRYPTED" in key.read_text("ascii", "replace"):
            raise OperatorError(f"the key {key} is encrypted, and key_password does not open it") from error
        what = error.reason or "it is no PEM file, or holds something else"
        raise OperatorError(f"certificate {certificate} and key {key} cannot be loaded: {what}") from error


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    _require(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise OperatorError(f"{ca} holds no certificate of an authority in PEM form: {error.reason}") from error


def _require(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
