"""ATNA: the audit trail, told to audit repositories as DICOM audit messages (PS3.15 Annex A, IHE ITI-20).

    codes      the standard's codes that the messages use
    message    an audit message and its XML (PS3.15 section A.5)
    table      which event of the trail makes which message
    syslog     header, framing and transport (RFC 5424, RFC 5425, RFC 5426)
    shipper    a thread a server: what the trail holds and the server does not have yet

The trail in the database is the spool: a cursor per server says how far it has come there. So nothing is kept twice,
and what a server missed while it was down it gets in order when it is back.
"""

from node.atna.shipper import Shipper, standing
from node.atna.syslog import greet

__all__ = ["Shipper", "greet", "standing"]
