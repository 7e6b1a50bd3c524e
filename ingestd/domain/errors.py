"""The few exceptions of ingestd: one base, the docstring is the default message, data in attributes.

Expected answers of a server are Outcomes and bad documents are InvalidDocument values; what stands here is
for the unexpected, and for mistakes of the person who runs the program.
"""

from collections.abc import Sequence


class IngestdError(Exception):
    """ingestd met an error."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ConfigurationError(IngestdError):
    """The configuration is not usable; every problem is listed, each with its key and its fix."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class IllegalTransition(IngestdError):
    """The state table does not allow this event; nothing was changed."""


class StaleClaim(IngestdError):
    """Somebody else moved this receipt since it was read; nothing was changed."""


SLOT_TAKEN = "The slot takes one image, and has one already or gets it soon:"
"""How the reason of a receipt begins that is held for this; among the waived ones, a person overruled it."""


class SlotTaken(IngestdError):
    """The slot takes one image, and another receipt has it or is on its way to it; nothing was changed."""

    def __init__(self, receipt: str, filename: str, state: str) -> None:
        self.receipt, self.filename, self.state = receipt, filename, state
        super().__init__(
            f"the slot takes one image and belongs to receipt {receipt} ({filename}), which is {state}; if it"
            " is to have this one too, send the file again and retry the receipt that is held then"
        )


class UnknownReceipt(IngestdError):
    """There is no receipt with this ID."""


class UnknownArrival(IngestdError):
    """There is no arrival by mail with this ID."""


class LedgerUnavailable(IngestdError):
    """The ledger can't be read or written."""


class LedgerLocked(IngestdError):
    """Another ingestd runs on this storage directory."""


class LedgerTooNew(IngestdError):
    """The ledger was written by a newer ingestd; upgrade this one."""


class StorageUnavailable(IngestdError):
    """The storage directory can't be used just now, and perhaps can later (it is mounted read-only)."""


class StorageExhausted(IngestdError):
    """No room left in the storage directory; intake waits, nothing is lost."""


class ContentUnavailable(IngestdError):
    """The bytes of a payload can't be read just now; it stays where it is."""


class ContentChanged(ContentUnavailable):
    """A file changed while it was being copied; it stays where it is until it rests."""
