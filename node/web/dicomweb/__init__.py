"""The node's own DICOMweb, PS3.18, at /dicom-web of the web interface.

store      STOW-RS: in by the same intake as C-STORE
search     QIDO-RS: what is held, received and derived; matching, its SQL
retrieve   WADO-RS: objects, metadata, frames, bulk data; media says in which form
rendered   WADO-RS: images and thumbnails as PNG or JPEG
witness    who read what, for the audit trail

Whoever stores needs the role operator, whoever asks viewer.
"""

from __future__ import annotations

from fastapi import APIRouter

from node.config import Config
from node.receive import Intake
from node.web.dicomweb import rendered, retrieve, search, store

PREFIX = "/dicom-web"


def router(config: Config, intake: Intake) -> APIRouter:
    """All of it; what is stored goes into `intake`."""
    made = APIRouter(prefix=PREFIX)
    made.include_router(store.router(intake, config.dicomweb, config.receive.ae_title))
    for part in (search, retrieve, rendered):
        made.include_router(part.router)
    return made
