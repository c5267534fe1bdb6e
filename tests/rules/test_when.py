"""Off-peak windows: when the next one opens, over midnight and where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from node.rules.when import DAYS, When, opens, opens_later, waiting

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = {"zone": "Europe/Berlin", "windows": [{"hours": "20:00-06:00"}]}


def when(*windows: dict, zone: str = "Europe/Berlin") -> When:
    return When.model_validate({"zone": zone, "windows": list(windows)})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("now", "opens_at"),
    [
        ("2026-03-02T19:59:59", "2026-03-02T20:00"),
        ("2026-03-02T20:00", None),
        ("2026-03-03T05:59:59", None),
        ("2026-03-03T06:00", "2026-03-03T20:00"),
    ],
)
def test_over_midnight(now: str, opens_at: str | None):
    assert opens(When.model_validate(NIGHT), at(now)) == (at(opens_at) if opens_at else None)


def test_a_window_belongs_to_the_day_on_which_it_begins():
    friday_night = when({"days": ["fri"], "hours": "22:00-04:00"})
    assert opens(friday_night, at("2026-03-07T03:00")) is None, "Saturday, three in the morning"
    assert opens(friday_night, at("2026-03-06T03:00")) == at("2026-03-06T22:00"), "Friday, three in the morning"
    assert opens(friday_night, at("2026-03-07T04:00")) == at("2026-03-13T22:00")


def test_the_earliest_of_several():
    weekend_and_noon = when({"days": ["sat", "sun"]}, {"days": ["wed"], "hours": "12:00-13:00"})
    assert opens(weekend_and_noon, at("2026-03-03T09:00")) == at("2026-03-04T12:00")
    assert opens(weekend_and_noon, at("2026-03-05T09:00")) == at("2026-03-07T00:00")
    assert opens(weekend_and_noon, at("2026-03-08T23:59")) is None


def test_where_clocks_go_forward_a_time_that_is_skipped_is_so_much_later():
    """On 2026-03-29 at 2:00 the clocks in Berlin show 3:00."""
    half_past_two = when({"hours": "02:30-05:00"})
    assert opens(half_past_two, at("2026-03-29T01:59")).isoformat() == "2026-03-29T03:30:00+02:00"
    night = opens(When.model_validate(NIGHT), at("2026-03-29T06:00"))
    assert night.isoformat() == "2026-03-29T20:00:00+02:00"
    swallowed = when({"days": ["sun"], "hours": "02:15-03:10"})
    assert opens(swallowed, at("2026-03-29T01:00")) == at("2026-04-05T02:15"), "3:15 is later than 3:10"


def test_where_clocks_go_back_the_first_of_two_is_meant():
    """On 2026-10-25 at 3:00 the clocks in Berlin show 2:00 again."""
    half_past_two = when({"hours": "02:30-02:45"})
    first, second = (at("2026-10-25T02:35").replace(fold=fold) for fold in (0, 1))
    assert opens(half_past_two, first) is None
    assert opens(half_past_two, second) == at("2026-10-26T02:30")
    assert opens(When.model_validate(NIGHT), second) is None


def test_a_job_without_hours_starts_at_any_time():
    assert opens_later(None, datetime.now(UTC)) is None
    opens_at = opens_later(NIGHT, at("2026-03-02T12:00"))
    assert waiting(NIGHT, opens_at, "1.2") == (
        "waits until Mon 2026-03-02 20:00 CET, for its rule starts jobs every day 20:00-06:00 in Europe/Berlin; "
        "`harmonode series start-now 1.2` starts it at once"
    )


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ([], "the list of windows is empty"),
        ([{}], "the whole week, so they say nothing"),
        ([{"hours": "06:00-18:00"}, {"hours": "18:00-06:00"}], "the whole week"),
        ([{"hours": "06:00-06:00"}], "no time at all"),
        ([{"hours": "6-18"}], "expected hours such as 20:00-06:00"),
        ([{"hours": "20:00-24:01"}], "expected hours"),
        ([{"hours": "20:00-06:00\n"}], "expected hours"),
        ([{"days": []}], "the list of days is empty"),
        ([{"days": ["mon", "mon"]}], "names mon twice"),
        ([{"days": ["Monday"]}], "Input should be 'mon'"),
    ],
)
def test_what_decides_nothing_is_refused(windows: list, said: str):
    with pytest.raises(ValidationError, match=said):
        when(*windows)


@pytest.mark.parametrize("zone", ["Europe", "Berlin", "", "../etc/passwd", "/etc/localtime", "x" * 5000, "a\0b"])
def test_a_zone_that_is_none(zone: str):
    with pytest.raises(ValidationError, match="no such time zone"):
        when({"days": ["sun"]}, zone=zone)


clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
windows = st.builds(
    dict, days=st.lists(st.sampled_from(DAYS), min_size=1, unique=True), hours=st.builds("{}-{}".format, clocks, clocks)
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(windows, min_size=1, max_size=3),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC"]),
    moments,
)
def test_what_opens_next_is_open_then_and_nothing_before(some: list[dict], zone: str, now: datetime):
    try:
        rule = when(*some, zone=zone)
    except ValidationError:
        assume(False)
    then = opens(rule, now)
    if then is None:
        return
    assert then > now
    assert opens(rule, then) is None
    assert opens(rule, then - timedelta(seconds=1)) == then, "closed until the last second"
