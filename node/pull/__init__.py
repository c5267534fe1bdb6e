"""Pull: the node asks an archive for series, instead of waiting for them.

pull       a study's series, one after the other: what the source has, what is missing here, what came
dimse      by C-GET or C-MOVE, asked by C-FIND
dicomweb   by WADO-RS, asked by QIDO-RS
orthanc    by Orthanc's own REST interface

What is pulled enters by the same intake as what is stored: as durable, as audited. It is no stage: it brings work to
`receive`, in a process of its own, beside a node that runs or does not. The spool says what is here already, so a pull
that was broken off is simply repeated, and asks for nothing twice.
"""

from node.pull.pull import Missing, Pulled, pull

__all__ = ["Missing", "Pulled", "pull"]
