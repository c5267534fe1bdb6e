from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset
from structlog.testing import capture_logs

from node import complete
from node.audit import Event, verify
from node.config import Complete, Config, CountSource
from node.errors import TransientError
from node.journey import State
from node.quiet import Quiet
from node.series import Arrival, Sender, SeriesFacts
from node.store.quarantine import Quarantine
from node.store.session import Database
from node.store.tables import AuditRecord, DerivedInstance, Instance, Job, Quarantined, Series

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = Complete(quiet_s=30, quiet_when_counted_s=2)
COUNTED = Complete(
    quiet_s=30,
    quiet_when_counted_s=2,
    count_sources=(CountSource(calling_ae_title="SCANNER", ae_title="PACS", host="127.0.0.1", port=104),),
)


class Ward:
    """A node's folders and database, into which files are laid as if they had been received."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.config = Config(data_dir=folder / "data", complete=QUIET)
        self.spool = self.config.spool_dir

    def receive(self, paths: Iterable[Path], at: datetime = NOON, study: str = "1.2.3") -> int:
        """One series; returns its id."""
        with self.database.write() as session:
            where = (Series.study_instance_uid == study, Series.series_instance_uid == "1.2.3.4")
            series = session.scalar(sa.select(Series).where(*where)) or Series(
                study_instance_uid=study,
                series_instance_uid="1.2.3.4",
                state=str(State.RECEIVING),
                state_since=at,
                first_arrival_at=at,
                instance_count=0,
                calling_ae_title="SCANNER",
                called_ae_title="HARMONODE",
                address="127.0.0.1",
            )
            session.add(series)
            for path in paths:
                arrival = self._lay(path, at, study)
                series.instances.append(
                    Instance(
                        sop_instance_uid=arrival.sop_instance_uid,
                        sop_class_uid=arrival.sop_class_uid,
                        transfer_syntax_uid=arrival.transfer_syntax_uid,
                        path=arrival.path,
                        size_bytes=arrival.size_bytes,
                        sha256=arrival.sha256,
                        received_at=at,
                        calling_ae_title="SCANNER",
                    )
                )
                series.instance_count += 1
            series.last_arrival_at = at
            session.flush()
            return series.id

    def _lay(self, path: Path, at: datetime, study: str) -> Arrival:
        place = self.spool / study / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
        uid = f"1.2.3.4.{int(path.stem)}"
        relative = f"{study}/{path.name}"
        sender = Sender("SCANNER", "HARMONODE", "127.0.0.1")
        return Arrival(study, "1.2.3.4", uid, "1.2", "1.2.1", relative, place.stat().st_size, "0" * 64, at, sender)

    def sweep(self, after_s: float, ask: complete.AskCount | None = None) -> int:
        return complete.sweep(self.config, self.database, self.spool, NOON + timedelta(seconds=after_s), ask)

    def series(self, series_id: int) -> Series:
        with self.database.read() as session:
            return session.get_one(Series, series_id)

    def facts(self, series_id: int) -> SeriesFacts:
        stored = self.series(series_id).facts
        assert stored is not None
        return SeriesFacts.from_json(stored)

    def events(self) -> list[str]:
        with self.database.read() as session:
            assert verify(session)[1] == []
            return list(session.scalars(sa.select(AuditRecord.event).order_by(AuditRecord.seq)))


@pytest.fixture
def ward(tmp_path: Path, database: Database) -> Ward:
    return Ward(tmp_path, database)


@pytest.fixture
def counted(ward: Ward) -> Ward:
    ward.config = ward.config.model_copy(update={"complete": COUNTED})
    return ward


def says(*counts: int | Exception | None) -> tuple[complete.AskCount, list[tuple[str, ...]]]:
    """A count source that gives these answers, the last for ever, and the list of what it was asked."""
    asked: list[tuple[str, ...]] = []
    answers = list(counts)

    def ask(source: CountSource, study: str, series: str) -> int | None:
        asked.append((source.ae_title, study, series))
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask, asked


def test_a_series_is_complete_when_it_has_been_quiet(ward: Ward, crafted: Any) -> None:
    series = ward.receive(crafted.series(5))
    assert ward.sweep(29.9) == 0
    assert ward.series(series).state == "receiving"
    assert ward.sweep(30) == 1
    row = ward.series(series)
    assert (row.state, row.error_kind) == ("complete", None)
    assert row.reason == "complete with 5 instances: quiet for 30 s"
    assert ward.facts(series).number_of_slices == 5
    assert ward.facts(series).calling_ae_title == "SCANNER"
    assert ward.events() == [Event.COMPLETE]
    assert ward.sweep(1000) == 0


def test_each_arrival_begins_the_quiet_time_anew(ward: Ward, crafted: Any) -> None:
    first, *others = crafted.series(3)
    series = ward.receive([first])
    ward.receive(others, NOON + timedelta(seconds=20))
    assert ward.sweep(49) == 0
    assert ward.sweep(50) == 1
    assert ward.facts(series).number_of_slices == 3


def test_a_restart_changes_nothing(ward: Ward, tmp_path: Path, crafted: Any) -> None:
    series = ward.receive(crafted.series(3))
    reopened = Database(ward.database.url)
    try:
        again = Ward(tmp_path, reopened)
        assert again.sweep(30) == 1
        assert again.facts(series).number_of_slices == 3
    finally:
        reopened.close()


def test_the_files_are_looked_at_while_it_is_quiet(ward: Ward, crafted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the quiet time is enough to look; when it is over, nothing is left but to move the series."""
    looks: list[int] = []
    look, own_s = complete._look, 0.0
    memory = complete.Memory(Quiet(lambda: own_s))

    def count(database: Database, root: Path, waiting: Any) -> Any:
        looks.append(waiting.instance_count)
        return look(database, root, waiting)

    def sweep(at_s: float) -> int:
        nonlocal own_s
        own_s = at_s
        return complete.sweep(ward.config, ward.database, ward.spool, NOON + timedelta(seconds=at_s), memory=memory)

    monkeypatch.setattr(complete, "_look", count)
    paths = crafted.series(5)
    ward.receive(paths[:4], NOON)
    assert [sweep(14.9), len(looks), sweep(15), sweep(16), len(looks)] == [0, 0, 0, 0, 1]
    series = ward.receive(paths[4:], NOON + timedelta(seconds=20))
    assert [sweep(21), sweep(36), sweep(49.9)] == [0, 0, 0]
    assert memory.due_in_s == pytest.approx(0.1, abs=0.05), "the next sweep need not wait for its turn"
    assert [sweep(51), memory.due_in_s] == [1, None]
    assert looks == [4, 5], "another instance makes it look anew"
    assert ward.facts(series).number_of_slices == 5
    assert sweep(52) == 0
    assert memory.looks == {}, "and it is forgotten then"


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_set_ends_no_quiet_time_and_hangs_none(ward: Ward, crafted: Any, days: int) -> None:
    """Set between the last instance and the next sweep, which then goes by the machine's own clock alone."""
    own_s = 0.0
    memory = complete.Memory(Quiet(lambda: own_s))

    def sweep(at_s: float) -> int:
        nonlocal own_s
        own_s, now = at_s, NOON + timedelta(days=days, seconds=at_s)
        return complete.sweep(ward.config, ward.database, ward.spool, now, memory=memory)

    assert sweep(0) == 0
    ward.receive(crafted.series(3), NOON)
    assert sweep(1) == 0
    assert sweep(29) == 0
    assert sweep(31) == 1


def test_a_series_that_grows_while_it_is_looked_at_waits(
    ward: Ward, crafted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = crafted.series(2)
    series = ward.receive([first])
    look = complete._look

    def look_while_more_comes(*given: Any) -> Any:
        found = look(*given)
        ward.receive([second], NOON + timedelta(seconds=30))
        return found

    monkeypatch.setattr(complete, "_look", look_while_more_comes)
    assert ward.sweep(30) == 0
    assert ward.series(series).state == "receiving"
    assert ward.series(series).facts is None
    monkeypatch.undo()
    assert ward.sweep(60) == 1
    assert ward.facts(series).number_of_slices == 2


def test_one_that_is_worked_on_is_left_alone(ward: Ward, crafted: Any) -> None:
    series = ward.receive(crafted.series(2))
    with ward.database.write() as session:
        session.get_one(Series, series).state = str(State.HARMONIZING)
    assert ward.sweep(1000) == 0


# A count that can be trusted ---------------------------------------------------------------------------------------


def test_a_count_that_is_reached_shortens_the_wait(counted: Ward, crafted: Any) -> None:
    series = counted.receive(crafted.series(4))
    ask, asked = says(4)
    assert counted.sweep(1.9, ask) == 0
    assert asked == []
    assert counted.sweep(2, ask) == 1
    assert asked == [("PACS", "1.2.3", "1.2.3.4")]
    assert counted.series(series).reason == "complete with 4 instances: as many as its sender's archive counts"
    assert counted.series(series).expected_count == 4


def test_a_count_that_was_told_with_the_series_shortens_the_wait_too(ward: Ward, crafted: Any) -> None:
    """A pull notes what the archive counts; its sender is no count source."""
    series = ward.receive(crafted.series(4))
    with ward.database.write() as session:
        session.get_one(Series, series).expected_count = 5
    assert [ward.sweep(second) for second in (2, 29)] == [0, 0]
    with ward.database.write() as session:
        session.get_one(Series, series).expected_count = 4
    assert [ward.sweep(1.9), ward.sweep(2)] == [0, 1]
    assert ward.series(series).reason == "complete with 4 instances: as many as its sender's archive counts"


def test_while_instances_are_known_to_be_missing_nobody_is_asked_again(counted: Ward, crafted: Any) -> None:
    paths = crafted.series(4)
    series = counted.receive(paths[:3])
    ask, asked = says(4)
    assert [counted.sweep(second, ask) for second in (2, 3, 4, 29)] == [0, 0, 0, 0]
    assert len(asked) == 1
    assert counted.series(series).expected_count == 4
    counted.receive(paths[3:], NOON + timedelta(seconds=29))
    assert counted.sweep(31, ask) == 1
    assert len(asked) == 2
    assert counted.facts(series).never == ()


def test_a_count_never_reached_makes_an_incomplete_series(counted: Ward, crafted: Any) -> None:
    series = counted.receive(crafted.series(3))
    ask, asked = says(5)
    assert counted.sweep(2, ask) == 0
    assert counted.sweep(30, ask) == 1
    assert len(asked) == 2
    assert counted.facts(series).never == ("incomplete: 3 of 5 instances came",)
    assert counted.series(series).reason == "complete with 3 instances: quiet for 30 s, though 5 were counted"


def test_a_count_below_what_came_is_not_trusted(counted: Ward, crafted: Any) -> None:
    series = counted.receive(crafted.series(3))
    ask, _ = says(2)
    assert counted.sweep(2, ask) == 0
    assert counted.sweep(30, ask) == 1
    assert counted.facts(series).never == ()


@pytest.mark.parametrize("answer", [None, 0, TransientError("PACS does not answer")])
def test_without_an_answer_the_quiet_time_decides(counted: Ward, crafted: Any, answer: Any) -> None:
    series = counted.receive(crafted.series(3))
    ask, _ = says(answer)
    assert counted.sweep(29, ask) == 0
    assert counted.sweep(30, ask) == 1
    assert counted.series(series).expected_count is None
    assert counted.facts(series).never == ()


def test_a_source_that_fails_is_asked_once_a_sweep(counted: Ward, crafted: Any) -> None:
    counted.receive(crafted.series(2))
    counted.receive(crafted.series(2, _of_study("1.2.8")), study="1.2.8")
    ask, asked = says(TransientError("PACS does not answer"))
    counted.sweep(5, ask)
    assert len(asked) == 1


def test_a_source_whose_answer_makes_no_sense_stops_nothing(counted: Ward, crafted: Any) -> None:
    series = counted.receive(crafted.series(2))
    ask, _ = says(ValueError("invalid literal for int()"))
    with capture_logs():
        assert counted.sweep(30, ask) == 1
    assert counted.series(series).state == "complete"


def test_a_sender_without_a_source_is_never_counted(counted: Ward, crafted: Any) -> None:
    series = counted.receive(crafted.series(2))
    with counted.database.write() as session:
        session.get_one(Series, series).calling_ae_title = "OTHER"
    ask, asked = says(2)
    assert counted.sweep(29, ask) == 0
    assert counted.sweep(30, ask) == 1
    assert asked == []


# Malformed ----------------------------------------------------------------------------------------------------------


def _of_study(uid: str) -> Callable[[Dataset, int], None]:
    def change(made: Dataset, _index: int) -> None:
        made.StudyInstanceUID = uid

    return change


def _two_patients(made: Dataset, index: int) -> None:
    if index == 2:
        made.PatientID = "SECRET-2"


def test_what_is_malformed_is_refused_and_kept_aside(ward: Ward, crafted: Any) -> None:
    paths = crafted.series(4, _two_patients)
    series = ward.receive(paths)
    assert ward.sweep(30) == 1
    row = ward.series(series)
    assert (row.state, row.error_kind) == ("refused", "permanent")
    assert row.reason is not None
    assert "two patients in one series" in row.reason
    assert "1.2.3.4.2" in row.reason
    assert "SECRET" not in row.reason
    assert ward.facts(series).malformed
    with ward.database.read() as session:
        (kept,) = session.scalars(sa.select(Quarantined))
    assert (kept.sop_instance_uid, kept.series_instance_uid, kept.calling_ae_title) == (
        "1.2.3.4.2",
        "1.2.3.4",
        "SCANNER",
    )
    assert (ward.config.quarantine_dir / kept.path).read_bytes() == paths[2].read_bytes()
    assert (ward.spool / "1.2.3/002.dcm").read_bytes() == paths[2].read_bytes()
    assert [one.path for one in Quarantine(ward.config.quarantine_dir).walk()] == [kept.path]
    assert ward.events() == [Event.QUARANTINE, Event.REFUSAL]


def test_looking_twice_keeps_aside_once(ward: Ward, crafted: Any) -> None:
    series = ward.receive(crafted.series(4, _two_patients))
    ward.sweep(30)
    with ward.database.write() as session:
        session.get_one(Series, series).state = str(State.RECEIVING)  # as by a late slice
    assert ward.sweep(30) == 1
    assert ward.events() == [Event.QUARANTINE, Event.REFUSAL, Event.REFUSAL]
    assert len(list(ward.config.quarantine_dir.rglob("*.dcm"))) == 1
    assert not [path for end in ("part", "tmp") for path in ward.config.quarantine_dir.rglob(f"*.{end}")]


def test_a_crash_between_quarantine_and_database_loses_nothing(
    ward: Ward, crafted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = ward.receive(crafted.series(4, _two_patients))

    def die(*_given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(complete, "_note_kept", die)
    with pytest.raises(KeyboardInterrupt):
        ward.sweep(30)
    assert ward.series(series).state == "receiving"
    monkeypatch.undo()
    assert ward.sweep(30) == 1
    assert ward.events() == [Event.QUARANTINE, Event.REFUSAL]


def test_a_cut_header_is_named_by_its_row(ward: Ward, crafted: Any) -> None:
    paths = crafted.series(3)
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    series = ward.receive(paths)
    assert ward.sweep(30) == 1
    row = ward.series(series)
    assert row.state == "refused"
    assert row.reason is not None
    assert "cut off" in row.reason
    assert "1.2.3.4.1" in row.reason


def test_a_file_that_is_gone_is_told(ward: Ward, crafted: Any) -> None:
    series = ward.receive(crafted.series(3))
    (ward.spool / "1.2.3/001.dcm").unlink()
    assert ward.sweep(30) == 1
    assert "gone from the spool (SOP Instance UID 1.2.3.4.1)" in str(ward.series(series).reason)
    assert ward.events() == [Event.REFUSAL]


def test_many_flaws_are_counted_and_the_first_are_told(ward: Ward, crafted: Any) -> None:
    def spoilt(made: Dataset, _index: int) -> None:
        made.RescaleSlope = 0

    series = ward.receive(crafted.series(7, spoilt))
    ward.sweep(30)
    assert "; and 4 more. The series is kept and not processed" in str(ward.series(series).reason)


def test_one_series_uid_in_two_studies_is_refused(ward: Ward, crafted: Any) -> None:
    ward.receive(crafted.series(2))
    ward.sweep(30)
    other = ward.receive(crafted.series(2, _of_study("1.2.8")), study="1.2.8")
    assert ward.sweep(30) == 1
    row = ward.series(other)
    assert row.state == "refused"
    assert "Series Instance UID 1.2.3.4 came in study 1.2.8 and in study 1.2.3" in str(row.reason)


def test_what_cannot_be_made_sense_of_does_not_stop_the_others(
    ward: Ward, crafted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = ward.receive(crafted.series(2))
    sound = ward.receive(crafted.series(2, _of_study("1.2.8")), NOON + timedelta(seconds=1), study="1.2.8")
    examine = complete.examine

    def stumble(headers: Any, *given: Any) -> Any:
        if headers[0].StudyInstanceUID == "1.2.3":
            raise TypeError("unforeseen")
        return examine(headers, *given)

    monkeypatch.setattr(complete, "examine", stumble)
    monkeypatch.setattr(complete, "_in_another_study", lambda *_given: [])
    with capture_logs():
        assert ward.sweep(60) == 2
    assert "cannot be made sense of" in str(ward.series(strange).reason)
    assert ward.series(sound).state == "complete"


def test_one_that_cannot_be_looked_at_does_not_stop_the_others(
    ward: Ward, crafted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = ward.receive(crafted.series(2))
    sound = ward.receive(crafted.series(2, _of_study("1.2.8")), NOON + timedelta(seconds=1), study="1.2.8")
    keep_aside = complete._keep_aside

    def stumble(config: Any, root: Path, waiting: Any, finding: Any) -> Any:
        if waiting.id == strange:
            raise RecursionError("unforeseen")
        return keep_aside(config, root, waiting, finding)

    monkeypatch.setattr(complete, "_keep_aside", stumble)
    monkeypatch.setattr(complete, "_in_another_study", lambda *_given: [])
    with capture_logs() as told:
        assert ward.sweep(60) == 1
    assert [line["event"] for line in told if line["log_level"] == "error"] == [
        "a series waits: it could not be looked at"
    ]
    assert (ward.series(strange).state, ward.series(sound).state) == ("receiving", "complete")


def test_a_disk_that_does_not_answer_leaves_the_series_waiting(
    ward: Ward, crafted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = ward.receive(crafted.series(2))

    def fail(_path: Path) -> Any:
        raise OSError("Input/output error")

    monkeypatch.setattr(complete, "read_header", fail)
    with capture_logs() as told:
        assert ward.sweep(30) == 0
    assert told[0]["event"] == "a series waits: its files cannot be read"
    assert ward.series(series).state == "receiving"
    monkeypatch.undo()
    assert ward.sweep(31) == 1


def test_our_own_output_is_known_when_it_comes_back(ward: Ward, crafted: Any) -> None:
    series = ward.receive(crafted.series(2))
    with ward.database.write() as session:
        job = Job(
            id="j",
            series_id=series,
            round=1,
            rule_name="r",
            rule_version=1,
            plugin="identity",
            parameters={},
            destinations=[],
            created_at=NOON,
        )
        session.add(job)
        session.flush()
        source = session.scalars(sa.select(Instance)).first()
        assert source is not None
        session.add(
            DerivedInstance(
                job_id="j", source_instance_id=source.id, sop_instance_uid="1.2.3.4.1", path="p", sha256="0" * 64
            )
        )
    assert ward.sweep(30) == 1
    assert ward.facts(series).never == ("this node made 1 of its 2 instances, the first is 1.2.3.4.1",)
    assert ward.series(series).state == "complete"


def test_a_real_localizer_completes_with_its_reason(ward: Ward, data: Path) -> None:
    series = ward.receive(sorted((data / "phantom/head-localizer").glob("*.dcm")))
    assert ward.sweep(30) == 1
    assert ward.series(series).state == "complete"
    assert "LOCALIZER" in ward.facts(series).never[0]
