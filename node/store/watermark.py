"""How full the disk of the node is: told before anything is done about it, and done before it is full."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum

from node.config import Config


class Level(StrEnum):
    """What the free space asks for."""

    OK = "ok"
    WARN = "warn"  # below retention.disk_warn_mb: somebody should free some
    LOW = "low"  # below retention.disk_low_mb: what is delivered goes early
    STOP = "stop"  # below receive.disk_reserve_mb: stores are refused with A700


@dataclass(frozen=True, slots=True)
class Space:
    """The free space on the disk of `data_dir`."""

    level: Level
    free_mb: int
    message: str  # for people


def look(config: Config) -> Space:
    """The free space now. Needs no database, so that it can be told when there is none."""
    folder = config.data_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free >> 20
    reserve_mb, settings = config.receive.disk_reserve_mb, config.retention
    here = f"{free_mb} MiB free on the disk of {folder}"
    if free_mb < reserve_mb:
        return Space(
            Level.STOP, free_mb, f"{here}, under the reserve of {reserve_mb}: every store is refused with A700"
        )
    if free_mb < settings.disk_low_mb:
        days = settings.delivered_days_when_low
        done = "nothing goes early" if days is None else f"delivered series go after {days:g} days already"
        return Space(
            Level.LOW, free_mb, f"{here}, under {settings.disk_low_mb}: {done}; at {reserve_mb} stores are refused"
        )
    if free_mb < settings.disk_warn_mb:
        return Space(Level.WARN, free_mb, f"{here}, under {settings.disk_warn_mb}; at {reserve_mb} stores are refused")
    return Space(Level.OK, free_mb, here)
