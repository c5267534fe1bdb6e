"""What config.yaml's comments say, key by key."""

from __future__ import annotations

from node import manual
from node.config import Config, Section


def by_key() -> dict[str, manual.Entry]:
    return {entry.key: entry for entry in manual.entries()}


def test_a_key_has_its_default_and_the_comment_above_it():
    port = by_key()["receive.port"]
    assert port.default == str(Config.model_fields["receive"].default.port)
    assert port.meaning.startswith("The port to listen on")


def test_the_comment_of_a_section_is_not_taken_for_that_of_its_first_key():
    assert by_key()["process.workers"].meaning.startswith("Worker processes")


def test_the_keys_of_a_list_are_told_by_its_example():
    told = by_key()
    assert told["complete.count_sources[].ae_title"].meaning == "the AE title to ask; often another one"
    assert told["complete.count_sources[].host"].default is None
    assert told["complete.count_sources"].meaning.endswith("by C-FIND.")


def test_the_kinds_of_a_list_are_told_apart():
    told = by_key()
    assert told["destinations[].compression (dimse)"].meaning != told["destinations[].compression (stow)"].meaning
    assert "destinations[].token (stow)" in told
    assert "destinations[].token (dimse)" not in told


def test_no_key_of_the_model_is_left_out():
    def keys(model: type[Section | Config], prefix: str = "") -> set[str]:
        found = set()
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, Section):
                found |= keys(inner, f"{prefix}{name}.")
            else:
                found.add(prefix + name)
        return found

    assert keys(Config) <= set(by_key())
