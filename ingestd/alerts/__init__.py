"""Tells people what needs them: conditions on a snapshot of the run, grouped into one message at a time.

    Looking -> Snapshot -> conditions() -> Alerts -> Digest, one for each way -> mail, webhook

Only `looking`, `memory`, `ways` and `webhook` touch the world; a way that fails touches no receipt.
"""

from ingestd.alerts.conditions import Alert
from ingestd.alerts.hearing import Hearing
from ingestd.alerts.looking import Looking, Outside
from ingestd.alerts.memory import Memory
from ingestd.alerts.snapshot import Snapshot
from ingestd.alerts.watch import Watch
from ingestd.alerts.ways import MailWay, Way
from ingestd.alerts.webhook import WebhookWay

__all__ = [
    "Alert",
    "Hearing",
    "Looking",
    "MailWay",
    "Memory",
    "Outside",
    "Snapshot",
    "Watch",
    "Way",
    "WebhookWay",
]
