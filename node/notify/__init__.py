"""Notify: what needs a person is told to people, by mail and webhook.

    watch      what is wrong now: queries, nothing more
    notices    what has been told, and so what is to be told: begun, grown, still there, over
    outbox     what is to be told lies in the database until each channel has taken it
    channels   a mail, a webhook
    notifier   the thread that does all three, and holds up nobody

A notification that cannot be delivered is tried again, and is itself no trouble that anyone is notified of.
"""

from node.notify.channels import Letter, channels
from node.notify.notifier import Notifier

__all__ = ["Letter", "Notifier", "channels"]
