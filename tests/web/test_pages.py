"""The pages as HTML: what they say of a node and of a series, and what they let whom do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from node import audit
from node.audit import Event
from node.errors import ErrorKind
from node.journey import State
from node.store.tables import Series
from node.web.roles import Role


def read(web, path: str, role: Role = Role.VIEWER) -> str:
    browser = web.browser()
    browser.log_in(web.token(role, f"reader{datetime.now(UTC).timestamp()}"))
    answer = browser.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_an_empty_node_says_that_nothing_needs_anybody(web):
    said = words(read(web, "/"))
    assert "Nothing needs you." in said
    assert "Nothing has come yet" in said


def test_what_waits_is_first_with_what_to_do(web):
    web.add_series(1, State.SENDING)
    with web.database.write() as session:
        series = session.get_one(Series, 1)
        audit.move(
            session, series, State.WAITING, Event.FAILURE,
            "sending needs a person: pacs refuses us. Mend that, then `harmonode series retry 1.2.3.1`",
            kind=ErrorKind.OPERATOR,
        )  # fmt: skip
    html = read(web, "/", Role.OPERATOR)
    said = words(html)
    assert "1 thing needs you" in said
    assert "sending needs a person: pacs refuses us. What to do: Mend what it names, then retry." in said
    assert "harmonode series retry" not in said
    assert 'action="/series/1/retry"' in html
    assert 'action="/series/1/retry"' not in read(web, "/"), "a viewer has no such button"
    assert html.index("1 thing needs you") < html.index("Running")


def test_a_series_page_tells_its_scan_and_escapes_what_scanners_write(web):
    web.add_series(1)
    html = read(web, "/series/1")
    assert "Thorax &lt;b&gt;1.0&lt;/b&gt;" in html
    assert "<b>1.0</b>" not in html
    said = words(html)
    for part in ("Br59f 3", "210 mm", "CT1 at 10.0.0.1, to HARMONODE", "30 instances arrived from CT1"):
        assert part in said


def test_a_form_retries_and_cancels_and_the_trail_names_who(web):
    web.add_series(1, State.PASSED)
    browser = web.browser()
    browser.log_in(web.token(Role.OPERATOR, "eli"))
    mark = browser.mark("/series/1")
    answer = browser.client.post("/series/1/retry", data={"csrf": mark})
    assert (answer.status_code, answer.headers["location"]) == (303, "/series/1")
    assert browser.client.post("/series/1/cancel", data={"csrf": mark}).status_code == 303
    with web.database.read() as session:
        assert session.get_one(Series, 1).state == State.CANCELLED
        actors = session.scalars(
            sa.select(audit.AuditRecord.actor).where(audit.AuditRecord.event.in_(["retry", "cancellation"]))
        ).all()
    assert actors == ["token:eli"] * 2
    answer = browser.client.post("/series/1/cancel", data={"csrf": mark})
    assert answer.status_code == 409
    assert "is cancelled and cannot become cancelled" in answer.text


@pytest.mark.parametrize("path", ["/", "/series", "/series/1"])
def test_nobody_reads_a_page_without_a_token(web, path: str):
    web.add_series(1)
    assert web.client().get(path).status_code == 401
    assert web.browser().client.get(path).status_code == 303


def test_a_viewer_may_not_act(web):
    web.add_series(1, State.PASSED)
    assert web.client(web.token(Role.VIEWER)).post("/series/1/retry").status_code == 403
    assert web.client(web.token(Role.OPERATOR)).post("/series/7/retry").status_code == 404


def test_the_list_is_filtered_and_paged(web):
    for number in range(60):
        web.add_series(number, State.DONE if number % 2 else State.RECEIVING)
    first = read(web, "/series")
    assert first.count('href="/series/') == 50
    older = re.search(r'href="(/series\?[^"]*before=\d+)"', first)
    assert older
    assert read(web, older[1].replace("&amp;", "&")).count('href="/series/') == 10
    assert read(web, "/series?state=done").count('href="/series/') == 30
    assert read(web, "/series?q=.59").count('href="/series/') == 1
    assert "No series like that" in read(web, "/series?q=%25'")


def test_no_page_names_a_patient_unless_the_site_wants_it(web):
    web.add_series(1)
    assert "patient" not in read(web, "/series/1").lower()


def test_events_come_when_something_changes(web):
    client = web.client(web.token(Role.VIEWER))
    with client.stream("GET", "/events") as stream:
        lines = (line for line in stream.iter_lines() if line)
        assert [next(lines), next(lines)][0] == "event: now"
        began = datetime.now(UTC)
        web.add_series(1)
        assert next(lines) == "event: now"
        assert datetime.now(UTC) - began < timedelta(seconds=15), "the tick that comes anyway"
