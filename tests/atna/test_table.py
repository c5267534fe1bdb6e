"""Each event of the trail makes the message that the standard describes, or none."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from schema import parse

from node.atna import codes
from node.atna.message import Message, Outcome, Participant, Source, Subject
from node.atna.table import MESSAGES, Teller
from node.audit import Event
from node.config import Config
from node.store.session import Database
from node.store.tables import AuditRecord, Series

Tell = Callable[..., etree._Element | None]


@pytest.fixture
def tell(database: Database, config: Config, happen: Callable[..., int]) -> Tell:
    """What a repository is told of a record; valid by the schema."""

    def told(event: str, message: str = "it happened", *, settings: Config = config, **about: Any) -> Any:
        seq = happen(event, message, **about)
        teller = Teller(settings)
        with database.read() as session:
            made = teller.message(session, session.get_one(AuditRecord, seq))
        return None if made is None else parse(made.to_xml(teller.source))

    return told


def code(element: Any) -> tuple[str, str]:
    return element.get("csd-code"), element.get("codeSystemName")


def event(root: Any) -> tuple[str, str, str]:
    """EventID, action, outcome."""
    identification = root.find("EventIdentification")
    return (
        code(identification.find("EventID"))[0],
        identification.get("EventActionCode"),
        identification.get("EventOutcomeIndicator"),
    )


def kind(root: Any) -> str:
    return code(root.find("EventIdentification/EventTypeCode"))[0]


def roles(root: Any) -> dict[str, Any]:
    return {code(one.find("RoleIDCode"))[0]: one for one in root.findall("ActiveParticipant")}


def objects(root: Any) -> dict[str, Any]:
    return {
        code(one.find("ParticipantObjectIDTypeCode"))[0]: one for one in root.findall("ParticipantObjectIdentification")
    }


def test_start_and_stop_are_application_activity(tell: Tell):
    for happened, expected in ((Event.START, "110120"), (Event.STOP, "110121")):
        root = tell(happened, actor="worker-0")
        assert (event(root), kind(root)) == (("110100", "E", "0"), expected)
        (process,) = root.findall("ActiveParticipant")
        assert code(process.find("RoleIDCode")) == ("110150", "DCM")
        assert (process.get("UserID"), process.get("AlternativeUserID")) == ("worker-0", "AETITLES=HARMONODE")
    source = root.find("AuditSourceIdentification")
    assert (source.get("AuditSourceID"), source.get("AuditEnterpriseSiteID")) == ("node@ct", "St. Ánna")
    assert source.find("AuditSourceTypeCode").get("csd-code") == "4"


def test_a_worker_that_takes_a_series_starts_no_application(tell: Tell, series: Series):
    assert tell(Event.START, series=series) is None


def test_an_arrival_is_a_transfer_to_us(tell: Tell, series: Series):
    detail = {"calling_ae_title": "CT1", "address": "10.0.0.9", "instances": [{"sop_instance_uid": "1.2.3.4.0"}]}
    root = tell(Event.ARRIVAL, series=series, detail=detail)
    assert event(root) == ("110104", "C", "0")
    source, destination = roles(root)["110153"], roles(root)["110152"]
    assert (source.get("UserID"), source.get("AlternativeUserID")) == ("CT1", "AETITLES=CT1")
    assert (source.get("NetworkAccessPointID"), source.get("NetworkAccessPointTypeCode")) == ("10.0.0.9", "2")
    assert (source.get("UserIsRequestor"), destination.get("UserIsRequestor")) == ("true", "false")
    assert destination.get("NetworkAccessPointTypeCode") == "1"
    study, patient = objects(root)["110180"], objects(root)["2"]
    assert (study.get("ParticipantObjectID"), study.get("ParticipantObjectTypeCodeRole")) == ("1.2.3", "3")
    (sop_class,) = study.findall("ParticipantObjectDescription/SOPClass")
    assert dict(sop_class.attrib) == {"UID": "1.2.840.10008.5.1.4.1.1.2", "NumberOfInstances": "1"}
    assert (patient.get("ParticipantObjectID"), patient.get("ParticipantObjectTypeCode")) == ("SECRET-1", "1")
    assert patient.find("ParticipantObjectIDTypeCode").get("codeSystemName") == "RFC-3881"
    assert not patient.findtext("ParticipantObjectName")


def test_the_site_says_what_is_told_of_the_patient(tell: Tell, series: Series, config: Config):
    def settings(patient: str) -> Config:
        return config.model_copy(update={"audit": config.audit.model_copy(update={"patient": patient})})

    named = tell(Event.DERIVATION, series=series, settings=settings("id-and-name"))
    assert objects(named)["2"].findtext("ParticipantObjectName") == "Doe^Jäne"
    assert event(named) == ("110103", "C", "0")
    unnamed = tell(Event.DERIVATION, series=series, settings=settings("none"))
    assert set(objects(unnamed)) == {"110180"}
    assert "SECRET-1" not in etree.tostring(unnamed).decode()


def test_a_file_that_left_the_disk_leaves_the_patient_unknown(tell: Tell, series: Series, config: Config):
    (config.spool_dir / "one.dcm").unlink()
    root = tell(Event.DERIVATION, series=series)
    assert objects(root)["2"].get("ParticipantObjectID") == ""


def test_a_series_that_is_looked_at_again_is_no_transfer(tell: Tell, series: Series):
    assert tell(Event.ARRIVAL, series=series, detail={"from": "complete", "to": "receiving"}) is None


@pytest.mark.parametrize("happened", [Event.CONFLICT, Event.QUARANTINE])
def test_what_was_kept_aside_is_a_failed_transfer(tell: Tell, series: Series, happened: Event):
    root = tell(happened, "kept aside: cut off", series=series)
    assert event(root) == ("110104", "C", "4")
    assert root.findtext("EventIdentification/EventOutcomeDescription") == "kept aside: cut off"
    assert tell(happened) is None  # of an unknown study


def test_sending_begins_and_ends(tell: Tell, series: Series):
    begin = tell(Event.TRANSMISSION, series=series, detail={"destination": "pacs", "instances": 3, "begins": True})
    assert event(begin) == ("110102", "E", "0")
    done = tell(Event.TRANSMISSION, series=series, detail={"destination": "pacs", "instances": 3}, actor="worker-0")
    assert event(done) == ("110104", "R", "0")
    source, destination = roles(done)["110153"], roles(done)["110152"]
    assert (source.get("UserID"), source.get("UserIsRequestor")) == ("worker-0", "true")
    assert (destination.get("AlternativeUserID"), destination.get("NetworkAccessPointID")) == (
        "AETITLES=PACS",
        "10.0.0.5",
    )
    assert objects(done)["110180"].find("ParticipantObjectDescription/SOPClass").get("NumberOfInstances") == "3"
    assert tell(Event.TRANSMISSION, series=series, detail={"destinations": ["pacs"]}) is None


def test_a_web_destination_is_named_without_its_password(tell: Tell, series: Series):
    root = tell(Event.TRANSMISSION, series=series, detail={"destination": "web", "instances": 3})
    assert roles(root)["110152"].get("NetworkAccessPointID") == "pacs.example"
    assert b"secret" not in etree.tostring(root)


def test_a_destination_that_is_gone_keeps_its_name(tell: Tell, series: Series):
    root = tell(Event.TRANSMISSION, series=series, detail={"destination": "old", "instances": 3})
    assert roles(root)["110152"].get("UserID") == "old"


def test_a_folder_is_an_export(tell: Tell, series: Series):
    root = tell(Event.TRANSMISSION, series=series, detail={"destination": "out", "instances": 3})
    assert event(root) == ("110106", "R", "0")
    media = roles(root)["110154"]
    assert (media.get("UserID"), media.get("UserIsRequestor")) == ("file:///srv/out", "false")
    assert code(media.find("MediaIdentifier/MediaType")) == ("110037", "DCM")
    beginning = {"destination": "out", "instances": 3, "begins": True}
    assert tell(Event.TRANSMISSION, series=series, detail=beginning) is None


def test_who_was_turned_away_is_a_security_alert(tell: Tell, series: Series):
    detail = {"calling_ae_title": "EVIL\x01", "called_ae_title": "X", "address": "10.6.6.6", "rejection": "1/1/3"}
    root = tell(Event.REFUSAL, "association rejected: unknown", detail=detail)
    assert (event(root), kind(root)) == (("110113", "E", "4"), "110126")
    _reporting, performing = root.findall("ActiveParticipant")
    assert (performing.get("UserID"), performing.get("UserIsRequestor")) == ("EVIL\ufffd", "false")
    (subject,) = root.findall("ParticipantObjectIdentification")
    assert subject.get("ParticipantObjectID") == "10.6.6.6"
    described = subject.find("ParticipantObjectDetail")
    assert described.get("type") == "Alert Description"
    assert base64.b64decode(described.get("value")) == b"association rejected: unknown"
    assert tell(Event.REFUSAL, series=series, detail={"to": "refused"}) is None
    assert tell(Event.REFUSAL, detail={"address": "10.0.0.9", "offered": ["1.2"]}) is None


def test_a_changed_configuration_is_an_informative_alert(tell: Tell):
    root = tell(Event.CONFIGURATION, "rule lung changed", actor="user:ann")
    assert (event(root), kind(root)) == (("110113", "E", "0"), "110131")
    person, process = root.findall("ActiveParticipant")
    assert person.get("UserID").startswith("ann@")
    assert (person.get("UserIsRequestor"), process.get("UserIsRequestor")) == ("true", "false")
    safety = tell(Event.CONFIGURATION, detail={"changed": {"receive.peers": [1, 2]}})
    assert kind(safety) == "110129"


def test_logins_and_logouts_are_user_authentication(tell: Tell):
    detail = {"token": "eli", "role": "viewer", "address": "10.0.0.7", "success": True}
    root = tell(Event.AUTHENTICATION, actor="token:eli", detail=detail)
    assert (event(root), kind(root)) == (("110114", "E", "0"), "110122")
    person, _node = root.findall("ActiveParticipant")
    assert (person.get("UserID"), person.get("UserIsRequestor")) == ("eli", "true")
    assert (person.get("NetworkAccessPointID"), person.get("NetworkAccessPointTypeCode")) == ("10.0.0.7", "2")
    wrong = tell(Event.AUTHENTICATION, "a wrong token", detail={"address": "10.6.6.6", "success": False})
    assert (event(wrong), kind(wrong)) == (("110114", "E", "4"), "110122")
    assert wrong.find("ActiveParticipant").get("UserID") == "unknown"
    left = tell(Event.AUTHENTICATION, actor="token:eli", detail={"token": "eli"})
    assert (event(left), kind(left)) == (("110114", "E", "0"), "110123")


def test_tokens_guesses_and_a_broken_trail_are_security_alerts(tell: Tell):
    made = tell(Event.ALERT, actor="user:ann", detail={"token": "eli"})
    assert (event(made), kind(made)) == (("110113", "E", "0"), "110137")
    guessed = tell(Event.ALERT, "9 wrong tokens", detail={"address": "10.6.6.6", "failures": 9, "success": False})
    assert (event(guessed), kind(guessed)) == (("110113", "E", "4"), "110126")
    assert guessed.findall("ActiveParticipant")[-1].get("NetworkAccessPointID") == "10.6.6.6"
    broken = tell(Event.ALERT, "record 3 was changed", detail={"flaws": ["record 3 was changed"]})
    assert (event(broken), kind(broken)) == (("110113", "E", "12"), "110132")


@pytest.mark.parametrize(("happened", "action"), [(Event.ACCESS, "R"), (Event.RETENTION, "D")])
def test_reading_and_deleting_are_access(tell: Tell, series: Series, happened: Event, action: str):
    root = tell(happened, series=series, actor="token:eli")
    assert event(root) == ("110103", action, "0")
    person, process = root.findall("ActiveParticipant")
    assert (person.get("UserName"), process.get("UserID")) == ("token eli", "node")


def test_unwanted_events_make_no_message(tell: Tell, series: Series):
    for happened in set(Event) - set(MESSAGES):
        assert tell(happened, series=series) is None, happened


@given(st.text(), st.text(max_size=20), st.text(max_size=5000))
def test_any_text_makes_a_valid_message(title: str, address: str, said: str):
    from datetime import UTC, datetime

    message = Message(
        codes.SECURITY_ALERT,
        "E",
        datetime.now(UTC),
        (Participant(title, requestor=True, ae_title=title, access_point=address),),
        (Subject(address, codes.NODE_ID, "2", "13", said, {"Alert Description": said}, {"": 3}),),
        kind=codes.NODE_AUTHENTICATION,
        outcome=Outcome.MINOR,
        said=said,
    )
    xml = message.to_xml(Source(title, address))
    parse(xml)
    assert len(xml) < 32768 or len(said.encode()) > 4000
    assert b"\n" not in xml.replace(b"&#10;", b"") or "\n" in said
