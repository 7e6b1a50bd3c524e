"""What was asked of the sandbox: counts by status and the last requests.

A token is never kept; its fingerprint stands for it.
"""

import hashlib
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

REMEMBERED_REQUESTS = 1000
"""The list of requests ends here; the counts go on for ever."""

NO_ANSWER = "no answer"


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request while it is handled. `status` None: no (whole) answer was given.

    `leak`: a token came where none belongs. `code`: of an error of the token endpoint. `under_way` holds what
    is given back when the answer is decided.
    """

    method: str
    path: str
    correlation_id: str
    at: datetime
    account: str | None = None
    leak: bool = False
    content_type: str | None = None
    content_length: str | None = None
    received: int = 0
    fault: str | None = None
    message: str | None = None
    code: int | None = None
    status: int | None = None
    seconds: float = 0.0
    under_way: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def outcome(self) -> str:
        """What it is counted under: the status, or `no answer`."""
        return NO_ANSWER if self.status is None else str(self.status)


class Journal:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._by_status: Counter[str] = Counter()
        self._last: deque[tuple[int, Exchange]] = deque(maxlen=REMEMBERED_REQUESTS)
        self._number = 0
        self.leaks = 0

    def add(self, exchange: Exchange) -> None:
        self._number += 1
        self.leaks += exchange.leak
        self._by_status[exchange.outcome] += 1
        self._last.append((self._number, exchange))

    def counts(self) -> dict[str, Any]:
        """{"total", "by_status": {"201": 7, "no answer": 1}}"""
        return {"total": self._number, "by_status": dict(sorted(self._by_status.items()))}

    def last(self, limit: int) -> list[dict[str, Any]]:
        """The last requests, oldest first."""
        tail = list(self._last)[-limit:] if limit > 0 else []
        return [{"number": number, **_as_json(exchange)} for number, exchange in tail]


def now() -> datetime:
    return datetime.now(UTC)


def fingerprint(token: str) -> str:
    """12 hex digits that stand for a token: the start of its SHA-256 (`printf %s TOKEN | sha256sum`)."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _as_json(exchange: Exchange) -> dict[str, Any]:
    return {
        "at": exchange.at.isoformat(),
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "message": exchange.message,
        "code": exchange.code,
        "fault": exchange.fault,
        "account": exchange.account,
        "leak": exchange.leak,
        "content_type": exchange.content_type,
        "content_length": exchange.content_length,
        "received": exchange.received,
        "seconds": round(exchange.seconds, 6),
        "correlation_id": exchange.correlation_id,
    }
