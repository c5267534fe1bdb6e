"""What receiving and sending share of the network: presentation contexts, socket options, pynetdicom's settings."""

from __future__ import annotations

import socket

from pydicom import uid
from pynetdicom import _config, evt
from pynetdicom.presentation import PresentationContext, build_context

# The stock handlers format every message for a log nobody reads, and would write patients' names into it.
_config.LOG_HANDLER_LEVEL = "none"

CT_STORAGE = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
)
"""The SOP classes that the node stores."""

VERIFICATION = uid.UID("1.2.840.10008.1.1")

TRANSFER_SYNTAXES = tuple(
    uid.UID(value)
    for value in (
        # First comes what needs no codec: it is chosen where a peer offers several in one context.
        "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
        "1.2.840.10008.1.2",  # Implicit VR Little Endian
        "1.2.840.10008.1.2.2",  # Explicit VR Big Endian, retired
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.5",  # RLE Lossless
        "1.2.840.10008.1.2.4.70",  # JPEG Lossless, process 14 selection value 1
        "1.2.840.10008.1.2.4.57",  # JPEG Lossless, process 14
        "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
        "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 lossless
        "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 lossless, RPCL
        "1.2.840.10008.1.2.4.110",  # JPEG XL lossless
        "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
        "1.2.840.10008.1.2.4.51",  # JPEG Extended, processes 2 and 4
        "1.2.840.10008.1.2.4.53",  # JPEG Spectral Selection, processes 6 and 8, retired
        "1.2.840.10008.1.2.4.55",  # JPEG Full Progression, processes 10 and 12, retired
        "1.2.840.10008.1.2.4.50",  # JPEG Baseline, process 1
        "1.2.840.10008.1.2.4.111",  # JPEG XL JPEG recompression
        "1.2.840.10008.1.2.4.112",  # JPEG XL
    )
)
"""Everything that holds a still image in the object itself; what has no codec is kept, and refused later in words."""


def storage_contexts() -> list[PresentationContext]:
    """The presentation contexts of the node as an SCP: storage of CT, and Verification."""
    contexts = [build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in CT_STORAGE]
    return [*contexts, build_context(VERIFICATION)]


def send_at_once(event: evt.Event) -> None:
    """EVT_CONN_OPEN: set TCP_NODELAY, else Nagle's algorithm holds every response back for about 45 ms."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
