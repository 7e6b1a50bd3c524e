"""The protocols between the flow and everything it talks to. They are structural: nobody inherits them.

Glossary: an *arrival* is what a source hands over at once (a file, a mail); its *payloads* become documents;
documents become *receipts*, one for each image a target gets. To *acknowledge* is to take the original away
from the source, and happens only after the ledger committed all that came of it. A *claim* is one process
holding a receipt under a *lease*. A *report* tells the source, and so the person there, how a receipt ended.
"""

from ingestd.interfaces.ledger import (
    Accepted,
    Expired,
    Feedback,
    Ledger,
    NewArrival,
    NewReceipt,
    Recovered,
    Work,
)
from ingestd.interfaces.mail import (
    Answer,
    Correspondent,
    Leaf,
    MailBook,
    Mailed,
    MailedReceipt,
    MailOpener,
    OpenedMessage,
    Undeliverable,
)
from ingestd.interfaces.observing import Clock, Herald, Level, Observer
from ingestd.interfaces.reading import Arrived, Balance, Chain, HistoryEntry, Kept, LedgerReader, Waiting
from ingestd.interfaces.sources import (
    Arrival,
    GiveBack,
    Refusal,
    Report,
    Source,
    SourceStatus,
    SourceUnavailable,
)
from ingestd.interfaces.targets import Destination, Downloaded, Limits, Login, Normalizer, Unpacked

__all__ = [
    "Accepted",
    "Answer",
    "Arrival",
    "Arrived",
    "Balance",
    "Chain",
    "Clock",
    "Correspondent",
    "Destination",
    "Downloaded",
    "Expired",
    "Feedback",
    "GiveBack",
    "Herald",
    "HistoryEntry",
    "Kept",
    "Leaf",
    "Ledger",
    "LedgerReader",
    "Level",
    "Limits",
    "Login",
    "MailBook",
    "MailOpener",
    "Mailed",
    "MailedReceipt",
    "NewArrival",
    "NewReceipt",
    "Normalizer",
    "Observer",
    "OpenedMessage",
    "Recovered",
    "Refusal",
    "Report",
    "Source",
    "SourceStatus",
    "SourceUnavailable",
    "Undeliverable",
    "Unpacked",
    "Waiting",
    "Work",
]
