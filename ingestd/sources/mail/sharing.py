"""Another ingestd with a ledger of its own at the same mailbox: seen by marks that are not ours.

Nodes of one ledger take turns by a lease. Between two ledgers nothing can be agreed on before the commit, for
nothing is changed on the server before it; so what both take is told, and what only the other took is held.
"""

import time

from ingestd.interfaces import Observer
from ingestd.sources.mail.second_connection import KEYWORD

SHOWN_S = 3600.0
"""The trouble is shown for so long after it was last seen."""

FOREIGN_HOLD = (
    f"It bears the mark {KEYWORD}, but this ledger does not know it: another ingestd took it, or this one "
    "did with a ledger that was lost. It may be uploaded already. ingestd retry ID uploads it all the same, "
    "ingestd drop ID forgets it."
)


class Sharing:
    """Of one mailbox; `shown` is its name for people."""

    def __init__(self, source: str, shown: str, observer: Observer) -> None:
        self._source = source
        self._shown = shown
        self._observer = observer
        self._last_s: float | None = None
        self._taken_twice = 0
        self._held = 0

    def taken_twice(self, uid: int) -> None:
        """While we took it, somebody else marked it: both ledgers have it."""
        self._taken_twice += 1
        self._seen(uid, "another ingestd took it at the same time, and may upload it a second time")

    def held(self, uid: int) -> None:
        """It was marked before we took it, and is not in our ledger."""
        self._held += 1
        self._seen(uid, "another ingestd had marked it; it is held")

    @property
    def sentence(self) -> str | None:
        """None when nothing was seen lately."""
        if self._last_s is None or time.monotonic() - self._last_s > SHOWN_S:
            self._last_s, self._taken_twice, self._held = None, 0, 0
            return None
        return (
            f"{self._shown} seems to be read by another ingestd with a ledger of its own: "
            f"{self._taken_twice} messages were taken by both, {self._held} that it had marked are held. "
            "Stop one of them, or give them one ledger (storage.ledger). If there is no other, the marks are "
            "from a ledger that was lost: decide what is held."
        )

    def _seen(self, uid: int, what: str) -> None:
        self._last_s = time.monotonic()
        self._observer.note("mailbox.shared", level="warning", source=self._source, uid=uid, reason=what)
