"""Receive: what arrives is durable before it is answered.

scp      the port: who may open an association; C-STORE, C-ECHO
intake   one object, however it came: judged, placed in the spool or kept aside
index    the database follows the spool, in batches; at start the two are reconciled
"""

from node.receive.index import Indexer, Reconciled, Refusal, reconcile
from node.receive.intake import Intake, Outcome, Status
from node.receive.scp import Receiver

__all__ = ["Indexer", "Intake", "Outcome", "Receiver", "Reconciled", "Refusal", "Status", "reconcile"]
