"""The four places of Image v1.0 that take an image, and the patterns that select them.

Written as in the URL of Concur Image v1: `receipt`, `expenseentry/ID`, `invoice/ID`, `report/ID`.
"""

import re
from dataclasses import dataclass

RECEIPT = "receipt"
EXPENSE_ENTRY = "expenseentry"
INVOICE = "invoice"
REPORT = "report"

KINDS = (RECEIPT, EXPENSE_ENTRY, INVOICE, REPORT)
TOKEN = "token"  # noqa: S105 - the name of an endpoint
FILE = "file"
BY_NAME_ONLY = frozenset({TOKEN, FILE})
"""No slots: the token endpoint and the files behind image URLs, where faults may be played too."""

_APPENDING = frozenset({RECEIPT, REPORT})


@dataclass(frozen=True, slots=True)
class Slot:
    """A kind, and the ID from the URL, percent-decoded. `receipt` has an ID only when it is read back."""

    kind: str
    identifier: str | None = None

    @property
    def one_image(self) -> bool:
        """Entries and invoices never take a second image; a report appends, receipts stand alone."""
        return self.kind not in _APPENDING

    def __str__(self) -> str:
        return self.kind if self.identifier is None else f"{self.kind}/{self.identifier}"


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Only `*` is special (IDs may hold brackets and dots): `report/*`, `expenseentry/2026-*`, `*`."""
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)
