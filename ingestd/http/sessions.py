"""The sessions of one API, one for each base URL: a login may lead to another data centre at run time.

Their number is bounded. A session that is in use is never closed under a request: its answer would be lost.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ingestd.http.session import Session

MOST_BASES = 8
"""Sessions kept open; a company's users live in one data centre, rarely in two."""


@dataclass(slots=True)
class _Kept:
    session: Session
    users: int = 0


class Sessions:
    """For one event loop."""

    def __init__(self, *, connections: int) -> None:
        """`connections`: at most so many at once to each base URL."""
        self._connections = connections
        self._kept: dict[str, _Kept] = {}
        """By base URL, the longest unused first."""

    @asynccontextmanager
    async def to(self, base: str) -> AsyncIterator[Session]:
        """The session for this base URL. Raises ConfigurationError for one that is unfit for a token."""
        kept = self._kept.pop(base, None) or _Kept(Session(base, connections=self._connections))
        self._kept[base] = kept
        kept.users += 1
        try:
            await self._close_unused()
            yield kept.session
        finally:
            kept.users -= 1

    async def aclose(self) -> None:
        while self._kept:
            _, kept = self._kept.popitem()
            await kept.session.aclose()

    async def _close_unused(self) -> None:
        for base in [base for base, kept in self._kept.items() if not kept.users]:
            if len(self._kept) <= MOST_BASES:
                return
            await self._kept.pop(base).session.aclose()
