"""harmonode: a DICOM node that harmonizes chest CT series.

The flow, one module a stage:

    receive    a scanner or PACS stores instances; each is durable before it is answered
    complete   a series that has gone quiet, or whose count is known, is complete
    select     the rules say whether a series is harmonized, by which plugin, and where it goes
    workflow   measure -> harmonize -> check -> derive -> send -> confirm, resumable at each step
    derive     the plugin's slices become CT Image instances of a new series in the same study
    send       C-STORE, STOW-RS, Orthanc REST or a folder; then the destination is asked what it holds
    retention  files leave the disk once they are delivered and past their age
    atna       the audit trail, told to audit repositories
    notify     what needs a person is told by mail and webhook
    schedule   the clock that wakes the sweeps

Every stage writes audit records; stages meet in the database and never call each other.
"""

import sys

__version__ = "0.1.0"

# pydicom imports GDCM, 18 MB, wherever it finds it; the node has it decode in a process of its own (`dicom.gdcm_process`).
sys.modules.setdefault("gdcm", None)  # type: ignore[arg-type] # what the import system takes for "not there"
