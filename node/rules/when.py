"""Off-peak windows: when the jobs of a rule may start, by the clock of a named place.

    when:
      zone: Europe/Berlin
      windows:
        - {days: [mon, tue, wed, thu], hours: "20:00-06:00"}   # from the evening of each day to the next morning
        - {days: [fri, sat, sun]}                              # the whole day

A window belongs to the day on which it begins. A job that has begun is finished, whatever the hour. Where clocks change,
a time that is skipped is so much later, and of a time that comes twice the first is meant (RFC 5545 section 3.3.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, StrictStr, field_validator, model_validator

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOUR = r"([01]\d|2[0-3]):[0-5]\d"
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_LOOK_DAYS = 15  # a weekly window that a change of clocks swallows opens a week later


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(_Part):
    """Some hours of some days."""

    days: tuple[Day, ...] = DAYS
    hours: StrictStr = "00:00-24:00"

    @field_validator("days")
    @classmethod
    def _some_days(cls, value: tuple[Day, ...]) -> tuple[Day, ...]:
        if not value:
            raise ValueError("the list of days is empty")
        if twice := [day for day in DAYS if value.count(day) > 1]:
            raise ValueError(f"names {', '.join(twice)} twice")
        return value

    @field_validator("hours")
    @classmethod
    def _some_hours(cls, value: str) -> str:
        if not re.fullmatch(rf"{_HOUR}-({_HOUR}|24:00)", value):
            raise ValueError(f"expected hours such as 20:00-06:00, got {value!r}")
        if value[:5] == value[6:]:
            raise ValueError(f"{value} is no time at all: write 00:00-24:00 for the whole day")
        return value

    @property
    def begins(self) -> int:
        """Minutes after midnight."""
        return _minutes(self.hours[:5])

    @property
    def ends(self) -> int:
        """Minutes after the midnight before it begins; more than a day where it ends on the next."""
        end = _minutes(self.hours[6:])
        return end if end > self.begins else end + _DAY_MINUTES


class When(_Part):
    """When the jobs of a rule may start."""

    zone: StrictStr  # of the IANA time zone database, such as Europe/Berlin
    windows: tuple[Window, ...]

    @field_validator("zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no such time zone {value!r}: expected a name such as Europe/Berlin or UTC") from None
        return value

    @model_validator(mode="after")
    def _decides_something(self) -> When:
        if not self.windows:
            raise ValueError("the list of windows is empty, so no job could ever start")
        open_minutes = {
            (DAYS.index(day) * _DAY_MINUTES + minute) % _WEEK_MINUTES
            for window in self.windows
            for day in window.days
            for minute in range(window.begins, window.ends)
        }
        if len(open_minutes) == _WEEK_MINUTES:
            raise ValueError("the windows are the whole week, so they say nothing: leave `when` out")
        return self

    def __str__(self) -> str:
        return f"{', '.join(map(_window_in_words, self.windows))} in {self.zone}"


def opens(when: When, now: datetime) -> datetime | None:
    """When the next window opens, in the zone of the rule; None where one is open."""
    upcoming = None
    for start, end in _spans(when, now):
        if start <= now < end:
            return None
        if start > now and (upcoming is None or start < upcoming):
            upcoming = start
    if upcoming is None:
        raise AssertionError(f"no window of {when} opens within {_LOOK_DAYS} days of {now}")
    return upcoming.astimezone(ZoneInfo(when.zone))


def opens_later(window: Mapping[str, Any] | None, now: datetime) -> datetime | None:
    """As `opens`, for `when` as a job keeps it; a job without may start at any time."""
    return opens(When.model_validate(window), now) if window is not None else None


def waiting(window: Mapping[str, Any] | None, opens_at: datetime, series_instance_uid: str) -> str:
    """Why a job waits in the queue, until when, and how a person starts it all the same."""
    return (
        f"waits until {opens_at:%a %Y-%m-%d %H:%M %Z}, for its rule starts jobs {When.model_validate(window)}; "
        f"`harmonode series start-now {series_instance_uid}` starts it at once"
    )


def _spans(when: When, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Every span of time from yesterday on in which a window is open, in UTC."""
    zone = ZoneInfo(when.zone)
    today = now.astimezone(zone).date()
    for offset in range(-1, _LOOK_DAYS):
        day = today + timedelta(days=offset)
        for window in when.windows:
            if DAYS[day.weekday()] in window.days:
                start, end = _instant(day, window.begins, zone), _instant(day, window.ends, zone)
                if start < end:
                    yield start, end


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    days, left = divmod(minutes, _DAY_MINUTES)
    local = datetime.combine(day + timedelta(days=days), time(left // 60, left % 60), tzinfo=zone)
    return local.astimezone(UTC)  # with fold 0, which is what RFC 5545 asks for


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _window_in_words(window: Window) -> str:
    days = "every day" if len(window.days) == len(DAYS) else " ".join(day.capitalize() for day in window.days)
    return days if window.hours == "00:00-24:00" else f"{days} {window.hours}"
