"""Who comes in, who does not, and what the audit trail says of it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from itsdangerous import TimestampSigner

from node.errors import PermanentError
from node.store.tables import AuditRecord, Token
from node.web import sessions, throttle, tokens
from node.web.roles import Role


def events(web, *kinds: str) -> list[AuditRecord]:
    with web.database.read() as session:
        query = sa.select(AuditRecord).where(AuditRecord.event.in_(kinds)).order_by(AuditRecord.seq)
        return list(session.scalars(query))


def change(web, **values) -> None:
    with web.database.write() as session:
        session.execute(sa.update(Token).values(**values))


def test_each_role_may_what_the_ones_before_it_may(web):
    for role in Role:
        client = web.client(web.token(role))
        statuses = [client.get(f"/for/{wanted}").status_code for wanted in Role]
        assert statuses == [200 if role.includes(wanted) else 403 for wanted in Role]


def test_a_token_is_kept_as_its_hash_alone(web):
    token = web.token()
    assert len(token) >= len(tokens.PREFIX) + 43
    with web.database.read() as session:
        (row,) = tokens.listed(session)
        written = f"{vars(row)}{[vars(record) for record in session.scalars(sa.select(AuditRecord))]}"
    assert token not in written
    assert token.removeprefix(tokens.PREFIX) not in written


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer harmonode_", "Bearer nonsense", "Basic YTpi", "Bearer \xff"])
def test_without_a_good_token_nobody_comes_in(web, given: str):
    web.token()
    answer = web.client().get("/for/viewer", headers={"Authorization": given.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_revoked_token_and_an_expired_one_are_of_no_use(web):
    client = web.client(web.token())
    assert client.get("/for/viewer").status_code == 200
    change(web, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert client.get("/for/viewer").status_code == 401
    change(web, expires_at=None)
    with web.database.write() as session:
        tokens.revoke(session, "the-admin", actor="test")
    assert client.get("/for/viewer").status_code == 401
    with web.database.write() as session, pytest.raises(PermanentError, match="already"):
        tokens.revoke(session, "the-admin", actor="test")


def test_a_name_is_never_given_twice(web):
    web.token(name="eli")
    with web.database.write() as session, pytest.raises(PermanentError, match="there is or was a token 'eli'"):
        tokens.add(session, "eli", Role.VIEWER, actor="test")
    for name in ("", "a b", "-x", "é", "a" * 49):
        with web.database.write() as session, pytest.raises(PermanentError, match="no such name"):
            tokens.add(session, name, Role.VIEWER, actor="test")


def test_a_browser_logs_in_and_out(web):
    browser = web.browser()
    answer = browser.client.get("/for/viewer")
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("/login?next=%2Ffor%2Fviewer")
    answer = browser.log_in(web.token(Role.OPERATOR, "eli"), "/for/viewer")
    assert (answer.status_code, answer.headers["location"]) == (303, "/for/viewer")
    (cookie,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith(web.site.cookie)]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.client.get("/for/operator").json() == {"name": "eli", "role": "operator"}
    assert browser.client.get("/for/admin").status_code == 403

    copied = web.browser()
    copied.client.cookies.set(web.site.cookie, browser.client.cookies[web.site.cookie], domain="127.0.0.1")
    assert copied.client.get("/for/viewer").status_code == 200
    mark = form_mark(web, browser)
    assert browser.client.post("/logout", data={"csrf": mark}).status_code == 303
    assert browser.client.get("/for/viewer").status_code == 303
    assert copied.client.get("/for/viewer").status_code == 303, "a stolen cookie is of no use after logging out"
    said = [record.message for record in events(web, "authentication")]
    assert said == ["eli (operator) logged in from 127.0.0.1", "eli logged out from 127.0.0.1"]


def form_mark(web, browser) -> str:
    return sessions.form_mark(web.site, browser.client.cookies[web.site.cookie])


def test_a_session_ends_with_time(web, monkeypatch: pytest.MonkeyPatch):
    browser, token = web.browser(), web.token()
    hours = web.site.config.web.session_hours
    for age_hours, status in ((hours - 0.1, 200), (hours + 0.1, 303)):
        with monkeypatch.context() as patched:
            then = int(time.time() - age_hours * 3600)
            patched.setattr(TimestampSigner, "get_timestamp", lambda _self, at=then: at)
            browser.log_in(token)
        assert browser.client.get("/for/viewer").status_code == status


def test_a_forged_or_altered_cookie_is_none(web):
    browser = web.browser()
    browser.log_in(web.token())
    good = browser.client.cookies[web.site.cookie]
    for cookie in (good[:-1], good + "x", "x", "a.b.c", good.replace(".", "", 1)):
        stranger = web.client(Cookie=f"{web.site.cookie}={cookie}")
        assert stranger.get("/for/viewer").status_code == 401, cookie
    change(web, revoked_at=datetime.now(UTC))
    assert web.client(Cookie=f"{web.site.cookie}={good}").get("/for/viewer").status_code == 401


def test_a_post_by_cookie_needs_the_mark_and_one_by_token_does_not(web):
    token = web.token()
    assert web.client(token).post("/for/viewer").status_code == 200
    browser = web.browser()
    browser.log_in(token)
    assert browser.client.post("/for/viewer").status_code == 403
    assert browser.client.post("/for/viewer", data={"csrf": "0" * 64}).status_code == 403
    assert browser.client.post("/for/viewer", headers={"X-CSRF-Token": form_mark(web, browser)}).status_code == 200
    assert browser.client.post("/for/viewer", data={"csrf": form_mark(web, browser)}).status_code == 200
    assert browser.client.post("/logout").status_code == 403
    other = web.browser()
    other.log_in(token)
    assert browser.client.post("/for/viewer", data={"csrf": form_mark(web, other)}).status_code == 403


def test_a_login_form_of_another_site_is_refused(web):
    browser, token = web.browser(), web.token()
    assert browser.log_in(token, mark="").status_code == 403
    mark = web.browser().mark("/login")  # the attacker's own
    assert browser.log_in(token, mark=mark).status_code == 403


@pytest.mark.parametrize("path", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_login_leads_nowhere_else(web, path: str):
    assert web.browser().log_in(web.token(), path).headers["location"] == "/"


def test_guessing_is_slowed_and_told_once(web, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(throttle, "FIRST_WAIT_S", 30.0)
    stranger = web.client()
    statuses = [
        stranger.get("/for/viewer", headers={"Authorization": f"Bearer guess-{number}"}).status_code
        for number in range(8)
    ]
    assert statuses == [401] * 5 + [429] * 3
    answer = web.client(web.token()).get("/for/viewer")
    assert answer.status_code == 429, "a good token from the same address waits too"
    assert 1 <= int(answer.headers["Retry-After"]) <= 31
    failures = [record for record in events(web, "authentication", "alert") if record.detail.get("success") is False]
    assert [record.event for record in failures] == ["authentication"] * 4 + ["alert"]
    assert "guess" not in "".join(record.message for record in failures)
    page = web.browser().log_in("x")
    assert page.status_code == 429
    assert "try again in" in page.text


def test_each_further_failure_doubles_the_wait(monkeypatch: pytest.MonkeyPatch):
    now = [1000.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    tries = throttle.Throttle()
    waits = []
    for _ in range(20):
        tries.failed("a")
        waits.append(tries.wait_s("a"))
        now[0] += waits[-1]
    assert waits == [0.0] * 4 + [2.0 * 2**power for power in range(9)] + [900.0] * 7
    assert tries.wait_s("b") == 0
    now[0] += throttle.FORGET_S + 1
    assert tries.failed("a") == 1
    tries.succeeded("a")
    assert tries.wait_s("a") == 0


def test_a_programs_use_of_its_token_is_recorded_once(web):
    client = web.client(web.token(Role.VIEWER, "metrics"))
    for _ in range(3):
        client.get("/for/viewer")
    (record,) = events(web, "authentication")
    assert re.fullmatch(r"metrics \(viewer\) uses its token from 127\.0\.0\.1", record.message)
    assert record.actor == "token:metrics"


def test_every_response_carries_the_security_headers(web):
    browser = web.browser()
    for path in ("/login", "/nothing-here", "/for/viewer"):
        headers = browser.client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_a_form_that_is_too_large_is_refused_while_it_comes(web):
    def endless():
        for _ in range(64):
            yield b"token=" + b"x" * (1 << 20)

    answer = web.client().post(
        "/login", content=endless(), headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 413
