"""Where a derived instance comes from: the equipment that took part, the source, and what was done to it."""

from __future__ import annotations

import re
from datetime import UTC

from pydicom import Dataset

from node import __version__
from node.derive.elements import Elements, code, copied, copied_items, named, raw, reference, sequence, tag_of
from node.derive.making import Making
from node.derive.text import LO_CHARACTERS, SH_CHARACTERS, ST_CHARACTERS, Text

ACQUISITION_EQUIPMENT = ("109101", "Acquisition Equipment")  # PS3.16 CID 7005
PROCESSING_EQUIPMENT = ("109102", "Processing Equipment")
SOURCE_IMAGE = ("121322", "Source image for image processing operation")  # PS3.16 CID 7202
EDGE_ENHANCEMENT = ("113086", "Edge enhancement")  # PS3.16 CID 7203
SMOOTHING = ("113087", "Smoothing")

_SCANNER = (
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "DeviceUID",
    "GantryID",
    "SoftwareVersions",
    "SpatialResolution",
    "DateOfLastCalibration",
    "TimeOfLastCalibration",
)
_DATE_TIME = re.compile(rb"\d{8}(\d\d){0,3}(\.\d{1,6})?([+-]\d{4})?")  # a DT with at least its day, PS3.5 section 6.2


def equipment(source: Dataset, making: Making, text: Text) -> Elements:
    """General Equipment names the node, Contributing Equipment the scanner and the node.

    PS3.3 C.7.5.1 describes the equipment that produced the instance, and C.12.1.1.5 has the example of our case: an
    application that derives images from original ones names itself there, and the scanner as acquisition equipment.
    It also keeps software from reading the pixels as this scanner's: Convolution Kernel (0018,1210) stays the source's,
    and its maker, without whom the name of a kernel says little, stands in that item.
    """
    settings = making.settings
    node = (
        named("Manufacturer", text.encode(settings.manufacturer, LO_CHARACTERS))
        | named("StationName", text.encode(settings.station_name, SH_CHARACTERS))
        | named("ManufacturerModelName", text.encode(f"harmonode {making.method.name}", LO_CHARACTERS))
        | named("SoftwareVersions", _software(text, making))
    )
    contribution = (
        code("PurposeOfReferenceCodeSequence", *PROCESSING_EQUIPMENT)
        | node
        | named("DeviceUID", making.device_uid)
        | named("ContributionDateTime", f"{making.made_at.astimezone(UTC):%Y%m%d%H%M%S.%f}+0000")
        | named("ContributionDescription", text.encode(f"Harmonized by {making.title}", ST_CHARACTERS))
    )
    items = [
        *copied_items(source, "ContributingEquipmentSequence", making.keeps_inside),
        *_scanner(source, making),
        contribution,
    ]
    return node | sequence("ContributingEquipmentSequence", items)


def _software(text: Text, making: Making) -> bytes:
    versions = (f"harmonode {__version__}", making.title)
    return b"\\".join(text.encode(version, LO_CHARACTERS) for version in versions)


def _scanner(source: Dataset, making: Making) -> list[Elements]:
    """The source's General Equipment as an item; none where it has no Manufacturer, which the item must have."""
    if not raw(source, "Manufacturer"):
        return []
    tags = {tag_of(keyword) for keyword in _SCANNER if raw(source, keyword)}
    item = copied(source, tags.__contains__, making.keeps_inside, "US")
    item |= code("PurposeOfReferenceCodeSequence", *ACQUISITION_EQUIPMENT)
    acquired = raw(source, "AcquisitionDateTime") or raw(source, "AcquisitionDate") + raw(source, "AcquisitionTime")
    if _DATE_TIME.fullmatch(acquired):
        item |= named("ContributionDateTime", acquired)
    return [item | named("ContributionDescription", "Acquisition and reconstruction")]


def derivation(source: Dataset, making: Making, text: Text) -> Elements:
    """General Reference, PS3.3 C.12.4, and Common Instance Reference, C.12.2."""
    instance = reference(raw(source, "SOPClassUID"), raw(source, "SOPInstanceUID"))
    image = instance | code("PurposeOfReferenceCodeSequence", *SOURCE_IMAGE)
    image |= named("SpatialLocationsPreserved", "YES")
    elements = named("DerivationDescription", text.encode(_description(making), ST_CHARACTERS))
    elements |= sequence("SourceImageSequence", [image])
    elements |= sequence("ReferencedSeriesSequence", _referenced_series(source, making, instance))
    did = [
        named("CodeValue", value) | named("CodingSchemeDesignator", "DCM") | named("CodeMeaning", meaning)
        for (value, meaning), done in (
            (EDGE_ENHANCEMENT, making.method.sharpens),
            (SMOOTHING, making.method.smooths),
        )
        if done
    ]
    return elements | (sequence("DerivationCodeSequence", did) if did else {})


def _referenced_series(source: Dataset, making: Making, instance: Elements) -> list[Elements]:
    """The series that the source refers to, since what refers to them is copied; and the source's own."""
    tag = tag_of("SeriesInstanceUID")
    own = named("SeriesInstanceUID", raw(source, "SeriesInstanceUID"))
    all_of_them = copied_items(source, "ReferencedSeriesSequence", making.keeps_inside)
    others = [item for item in all_of_them if item.get(tag) != own[tag]]
    return [*others, own | sequence("ReferencedInstanceSequence", [instance])]


def _description(making: Making) -> str:
    """Method, version and fingerprint first: they must not be cut off. Then as many measured figures as fit."""
    method = making.method
    said = f"harmonode {__version__}, method {making.title}, fingerprint {method.fingerprint}. {method.description}"
    figures = [f"{name} {quantity}" for name, quantity in making.measurement.quantities.items()]
    for position, figure in enumerate(figures):
        longer = f"{said} Figures of the source: {figure}" if position == 0 else f"{said}, {figure}"
        if len(longer) > ST_CHARACTERS:
            break
        said = longer
    return said
