"""What the CT Image IOD requires, PS3.3 table A.3-1: the attributes outside sequences that are always there.

Left out are those of Type 1C and 2C whose condition never holds for a single-frame, uncompressed, axial slice.
"""

from __future__ import annotations

TYPE_1 = (
    "SOPClassUID",  # C.12.1 SOP Common
    "SOPInstanceUID",
    "StudyInstanceUID",  # C.7.2.1 General Study
    "Modality",  # C.7.3.1 General Series
    "SeriesInstanceUID",
    "FrameOfReferenceUID",  # C.7.4.1 Frame of Reference
    "ImageType",  # C.8.2.1 CT Image
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "RescaleIntercept",
    "RescaleSlope",
    "PixelSpacing",  # C.7.6.2 Image Plane
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "Rows",  # C.7.6.3 Image Pixel
    "Columns",
    "PixelRepresentation",
)

TYPE_2 = (
    "PatientName",  # C.7.1.1 Patient
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",  # C.7.2.1 General Study
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "SeriesNumber",  # C.7.3.1 General Series
    "PatientPosition",  # 2C, required for CT Image Storage (C.7.3.1.1.2)
    "PositionReferenceIndicator",  # C.7.4.1 Frame of Reference
    "Manufacturer",  # C.7.5.1 General Equipment
    "InstanceNumber",  # C.7.6.1 General Image
    "ContentDate",  # 2C, required where images of the series are related in time
    "ContentTime",
    "SliceThickness",  # C.7.6.2 Image Plane
    "KVP",  # C.8.2.1 CT Image
    "AcquisitionNumber",
)

_WITHOUT_SIDES = (
    # PS3.16 Annex L
    "ABDOMEN ABDOMENPELVIS AORTA BLADDER BRAIN CERVIX CHEST CHESTABDOMEN CHESTABDPELVIS COCCYX COLON CSPINE CTSPINE "
    "DUODENUM ESOPHAGUS HEAD HEADNECK HEART LARYNX LIVER LSPINE LSSPINE MEDIASTINUM NECK NECKCHEST NECKCHESTABDOMEN "
    "NECKCHESTABDPELV PANCREAS PELVIS PROSTATE SKULL SPINE SPLEEN SSPINE STERNUM STOMACH THYMUS THYROID TLSPINE "
    "TRACHEA TSPINE UTERUS WHOLEBODY"
)
UNPAIRED_BODY_PARTS = frozenset(_WITHOUT_SIDES.split())
"""Body Part Examined (0018,0015) that has no left and right."""
