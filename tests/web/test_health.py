"""Health checks and metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from node import audit
from node.audit import Event
from node.journey import State
from node.store import leases, watermark
from node.store.tables import Instance, Series
from node.web.roles import Role


def alive(web) -> None:
    with web.database.write() as session:
        leases.renew(session, "worker-0", datetime.now(UTC), 60)
        leases.renew(session, "sweep:retention", datetime.now(UTC), 60)


def samples(web) -> dict[str, float]:
    text = web.metrics_client.get("/metrics").text
    return {
        "|".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_needs_no_token(web):
    assert web.client().get("/healthz").json() == {"status": "ok"}


def test_ready_says_what_is_not(web, monkeypatch: pytest.MonkeyPatch):
    answer = web.client().get("/readyz")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert {name for name, check in checks.items() if not check["ok"]} == {"workers"}
    assert "no worker is alive" in checks["workers"]["reason"]
    alive(web)
    answer = web.client().get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    monkeypatch.setattr(watermark.shutil, "disk_usage", lambda _path: type("", (), {"free": 5 << 20, "total": 1 << 40}))
    checks = web.client().get("/readyz").json()["checks"]
    assert checks["disk"] == {"ok": False, "reason": "5 MiB are free, under the reserve: every store is refused"}


def test_ready_when_the_database_is_gone(start_web):
    web = start_web()
    web.database.close()
    file = web.database.engine.url.database
    with open(file, "r+b") as damaged:  # noqa: PTH123
        damaged.write(b"no database any more" * 50)
    answer = web.client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == {"ok": False, "reason": "it cannot be read"}
    assert file not in answer.text


def test_metrics_need_a_token(web):
    assert web.client().get("/metrics").status_code == 401


def test_metrics_follow_the_trail_and_name_no_series(web):
    web.metrics_client = web.client(web.token(Role.VIEWER))
    before = samples(web)
    assert before["harmonode_series|receiving"] == before["harmonode_instances_received_total"] == 0
    began = datetime.now(UTC) - timedelta(seconds=90)
    web.add_series(1, State.MEASURING)
    with web.database.write() as session:
        series = session.get_one(Series, 1)
        session.add(
            Instance(
                series_id=1, sop_instance_uid="1.2.3.1.1", sop_class_uid="1", transfer_syntax_uid="1", path="x",
                size_bytes=1000, sha256="0", received_at=began, calling_ae_title="CT1",
            )
        )  # fmt: skip
        audit.move(session, series, State.HARMONIZING, Event.MEASUREMENT, "measured")
        audit.move(session, series, State.CHECKING, Event.HARMONIZATION, "harmonized")
        audit.record(
            session, Event.TRANSMISSION, "sent", series=series, detail={"destination": "pacs", "instances": 30}
        )
        audit.record(session, Event.REFUSAL, "an association was rejected", detail={"rejection": "1/1/3"})
        audit.move(session, series, State.WAITING, Event.FAILURE, "pacs is down")
    alive(web)
    now = samples(web)
    assert now["harmonode_series|waiting"] == 1
    assert now["harmonode_instances_received_total"] == 1
    assert now["harmonode_received_bytes_total"] == 1000
    assert now["harmonode_step_seconds_count|harmonizing"] == 1
    assert now["harmonode_instances_sent_total|pacs"] == 30
    assert now["harmonode_associations_rejected_total"] == 1
    assert now["harmonode_series_ended_total|waiting"] == 1
    assert now["harmonode_workers_alive"] == 1
    assert now["harmonode_disk_free_bytes"] > 0
    again = samples(web)
    assert again["harmonode_events_total|transmission"] == now["harmonode_events_total|transmission"] == 1
    assert "1.2.3" not in web.metrics_client.get("/metrics").text


def test_the_oldest_in_the_queue_is_told(web):
    web.metrics_client = web.client(web.token(Role.VIEWER))
    web.add_series(1, State.QUEUED)
    with web.database.write() as session:
        session.get_one(Series, 1).state_since = datetime.now(UTC) - timedelta(minutes=10)
    assert samples(web)["harmonode_queue_age_seconds"] == pytest.approx(600, abs=60)
