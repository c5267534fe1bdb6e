"""What is not copied from the source, and why. All else is: what we don't understand we don't lose."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from node.config import Derive
from node.derive.elements import tag_of

_SAYS_WHAT_THE_SOURCE_IS = (
    # SOP Common, C.12.1: of that instance, its storage and its authorization
    "InstanceCoercionDateTime SOPInstanceStatus SOPAuthorizationDateTime SOPAuthorizationComment "
    "AuthorizationEquipmentCertificationNumber RelatedGeneralSOPClassUID OriginalSpecializedSOPClassUID "
    # its history; the source is one reference away
    "OriginalAttributesSequence EncryptedAttributesSequence ConversionSourceAttributesSequence SourceInstanceSequence "
    "DerivationDescription DerivationCodeSequence SourceImageSequence "
    # its signatures, which our change of pixels would break
    "MACParametersSequence DigitalSignaturesSequence "
    # where it is stored; belongs into a query's answer (PS3.4 C.4), and leaks into objects
    "QueryRetrieveLevel QueryRetrieveView RetrieveAETitle StationAETitle InstanceAvailability RetrieveURL "
    "StorageMediaFileSetID StorageMediaFileSetUID IconImageSequence "
    # references that have lost the sequence they stood in
    "ReferencedSOPClassUID ReferencedSOPInstanceUID"
)
_SAYS_WHAT_MADE_THE_SOURCE = (
    # General Equipment, C.7.5.1: moves into Contributing Equipment. The institution stays: the node stands in it.
    "Manufacturer ManufacturerModelName StationName DeviceSerialNumber DeviceUID DeviceID UDISequence GantryID "
    "SoftwareVersions SpatialResolution DateOfLastCalibration TimeOfLastCalibration DateOfManufacture "
    "DateOfInstallation"
)
_SAYS_HOW_ITS_PIXELS_ARE_STORED = (
    "SmallestImagePixelValue LargestImagePixelValue SmallestPixelValueInSeries LargestPixelValueInSeries "
    "SmallestImagePixelValueInPlane LargestImagePixelValueInPlane PixelPaddingValue PixelPaddingRangeLimit "
    "RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor "
    "RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData "
    "PixelDataProviderURL ModalityLUTSequence PlanarConfiguration NumberOfFrames "
    # what was drawn over it is dropped with the planes themselves
    "OverlayDate OverlayTime CurveDate CurveTime"
)
_PERFORMED_PROCEDURE_STEP = (
    # the step that the scanner performed did not make this series
    "ReferencedPerformedProcedureStepSequence PerformedProcedureStepStartDate PerformedProcedureStepStartTime "
    "PerformedProcedureStepEndDate PerformedProcedureStepEndTime PerformedProcedureStepStatus PerformedProcedureStepID "
    "PerformedProcedureStepDescription PerformedProcedureTypeDescription PerformedProtocolCodeSequence "
    "PerformedStationAETitle PerformedStationName PerformedLocation CommentsOnThePerformedProcedureStep"
)
_DROPPED = frozenset(
    tag_of(keyword)
    for keywords in (_SAYS_WHAT_THE_SOURCE_IS, _SAYS_WHAT_MADE_THE_SOURCE, _SAYS_HOW_ITS_PIXELS_ARE_STORED)
    for keyword in keywords.split()
)
_OF_THE_STEP = frozenset(tag_of(keyword) for keyword in _PERFORMED_PROCEDURE_STEP.split())

_NOT_OF_A_DATA_SET = (0x0000, 0x0002, 0x0004)  # commands, file meta information, DICOMDIR
_PIXELS = 0x7FE0  # Pixel Data in all its forms, and what locates its fragments
_TRAILING_PADDING = 0xFFFC


def keeps(settings: Derive) -> tuple[Callable[[int], bool], Callable[[int], bool]]:
    """Whether a tag is copied: at the top of the data set, and inside sequences."""

    @lru_cache(maxsize=4096)
    def inside(tag: int) -> bool:
        group, element = tag >> 16, tag & 0xFFFF
        if group % 2:
            return settings.keep_private_tags and element != 0
        return element != 0  # group lengths are retired, PS3.5 section 7.2

    @lru_cache(maxsize=4096)
    def on_top(tag: int) -> bool:
        group = tag >> 16
        if group in _NOT_OF_A_DATA_SET or group in (_PIXELS, _TRAILING_PADDING):
            return False
        if group >> 8 in (0x50, 0x60) and group % 2 == 0:
            return False  # curves and overlays, drawn on the source's pixels or in their spare bits
        if tag in _OF_THE_STEP:
            return settings.keep_performed_procedure_step
        return tag not in _DROPPED and inside(tag)

    return on_top, inside
