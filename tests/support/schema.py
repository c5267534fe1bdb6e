"""The audit message schema of DICOM PS3.15 section A.5.1.1."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

_SCHEMA = etree.RelaxNG(file=str(Path(__file__).with_name("audit_message.rng")))


def parse(xml: bytes) -> etree._Element:
    """An audit message that the standard's schema accepts; fails the test where it does not."""
    root = etree.fromstring(xml)
    _SCHEMA.assertValid(root)
    return root
