"""UIDs of what the node makes: UUID-derived (PS3.5 Annex B.2), and a function of what they name.

A step that is repeated after a crash must make the same objects again, so no derived UID is random: it is a hash of the
source's UID and of all that decides the pixels. The hash is shaped as a UUID of version 8 (RFC 9562 section 5.8),
because what stands below the root 2.25 must be a UUID.
"""

from __future__ import annotations

import hashlib
import re

from node import __version__

_ROOT = "2.25."
_MAX_LENGTH = 64  # PS3.5 section 9.1
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_VERSION_8 = 0x8 << 76
_VARIANT = 0b10 << 62
_LOW = (1 << 64) - 1


def derived_series_uid(source_series_uid: str, method_name: str, method_version: str, fingerprint: str) -> str:
    """Series Instance UID (0020,000E) of the series derived from `source_series_uid` by this method."""
    return _uid("series", source_series_uid, method_name, method_version, fingerprint)


def derived_instance_uid(source_sop_uid: str, method_name: str, method_version: str, fingerprint: str) -> str:
    """SOP Instance UID (0008,0018) of the instance derived from `source_sop_uid` by this method."""
    return _uid("instance", source_sop_uid, method_name, method_version, fingerprint)


def report_uids(derived_series_uid: str, number: int) -> tuple[str, str]:
    """Series and SOP Instance UID of the Structured Report on that derived series; one series, a report a round."""
    return _uid("report series", derived_series_uid), _uid("report", derived_series_uid, str(number))


def tracking_uid(derived_series_uid: str, what: str) -> str:
    """Tracking Unique Identifier (112040, DCM) of a group of measurements."""
    return _uid("tracking", derived_series_uid, what)


def device_uid(model: str, version: str) -> str:
    """Device UID (0018,1002) of the node with this model: new when the model or its version changes.

    The upper half is the same for all of the node's Device UIDs, so that `is_own_device` recognises one it no longer
    knows the model of.
    """
    return f"{_ROOT}{_OWN_DEVICES << 64 | _uuid('device', model, version) & _LOW}"


def is_own_device(uid: str) -> bool:
    """Whether `uid` is a Device UID that this node, or another harmonode, made with any model."""
    return is_valid(uid) and uid.startswith(_ROOT) and int(uid.removeprefix(_ROOT).split(".")[0]) >> 64 == _OWN_DEVICES


def is_valid(uid: str) -> bool:
    """Whether `uid` is a UID as PS3.5 section 9.1 has it: numeric components without leading zeros, at most 64 characters."""
    return len(uid) <= _MAX_LENGTH and _UID.fullmatch(uid) is not None


def _uuid(*parts: str) -> int:
    """A UUID of version 8 as an integer: the first 128 bits of SHA-256 over the parts, each with its length."""
    text = "".join(f"{len(part)}:{part}" for part in ("harmonode", *parts))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
    number = number & ~(0xF << 76) | _VERSION_8
    return number & ~(0b11 << 62) | _VARIANT


def _uid(*parts: str) -> str:
    return f"{_ROOT}{_uuid(*parts)}"


_OWN_DEVICES = _uuid("devices") >> 64

IMPLEMENTATION_CLASS_UID = _uid("implementation")
"""Implementation Class UID (0002,0012), PS3.7 Annex D.3.3.2."""

IMPLEMENTATION_VERSION_NAME = f"HARMONODE_{__version__}"[:16]
"""Implementation Version Name (0002,0013), at most 16 characters."""
