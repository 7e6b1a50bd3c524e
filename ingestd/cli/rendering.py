"""How receipts are shown: JSON for programs, tables at a terminal, tab-separated lines in a pipe."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from ingestd.domain.document import MICROSECONDS, Document, Instant, ReceiptImage
from ingestd.domain.receipt import Attempt, Receipt
from ingestd.interfaces import Balance, HistoryEntry


def moment(instant: Instant | None) -> str | None:
    """ISO 8601 in UTC with microseconds, as in every JSON document."""
    if instant is None:
        return None
    seconds, microseconds = divmod(instant, MICROSECONDS)
    at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def local_moment(instant: Instant | None) -> str:
    """For people: their own time zone, to the second."""
    if instant is None:
        return ""
    return datetime.fromtimestamp(instant / MICROSECONDS, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    return {
        "id": receipt.id,
        "state": str(receipt.state),
        "source": receipt.source,
        "path": receipt.path,
        "filename": receipt.filename,
        "sha256": receipt.sha256,
        "documents": receipt.documents,
        "target": receipt.target or None,
        "account": receipt.account,
        "slot": receipt.slot or None,
        "image_id": receipt.image_id,
        "attempts": receipt.attempts,
        "reason": receipt.reason,
        "fields": dict(receipt.fields),
        "due_at": moment(receipt.due_at),
        "received_at": moment(receipt.received_at),
        "updated_at": moment(receipt.updated_at),
        "tried_since": moment(receipt.tried_since),
        "ask_at": moment(receipt.ask_at),
        "verify_at": moment(receipt.verify_at),
        "verified_at": moment(receipt.verified_at),
        "person": receipt.person,
        "arrival": receipt.arrival,
        "warnings": list(receipt.image.warnings) if receipt.image else [],
    }


def document_json(document: Document, receipt: Receipt) -> dict[str, Any]:
    return {
        "path": document.arrived_as or receipt.path,
        "filename": document.filename,
        "sha256": document.sha256,
        "size": document.size,
    }


def image_json(image: ReceiptImage) -> dict[str, Any]:
    return {"type": image.mime_type, "size": image.size, "pages": image.pages, "sha256": image.sha256}


def history_json(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "version": entry.version,
        "at": moment(entry.at),
        "event": entry.event,
        "before": str(entry.before) if entry.before else None,
        "after": str(entry.after),
        "actor": entry.actor,
        "reason": entry.reason,
        "digest": entry.digest,
    }


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "started_at": moment(attempt.started_at),
        "finished_at": moment(attempt.finished_at),
        "milliseconds": milliseconds(attempt),
        "outcome": attempt.outcome,
        "status": attempt.status,
        "correlation_id": attempt.correlation_id,
        "error_id": attempt.error_id,
        "message": attempt.message,
        "bytes_sent": attempt.bytes_sent,
        "slot_before": None if attempt.slot_before is None else str(attempt.slot_before),
    }


def milliseconds(attempt: Attempt) -> int | None:
    """How long the attempt took; None while it is open."""
    if attempt.finished_at is None:
        return None
    return (attempt.finished_at - attempt.started_at) // 1000


def balance_json(balance: Balance) -> dict[str, Any]:
    return {
        "closed": balance.closed,
        "seen": balance.payloads,
        "documents": balance.documents,
        "sightings": balance.sightings,
        "ignored": balance.ignored,
        "receipts": balance.receipts,
        **{str(state): count for state, count in balance.states.items()},
    }


def print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal, tab-separated lines without headings otherwise."""
    if sys.stdout.isatty():
        print_table(headings, rows)
        return
    for row in rows:
        sys.stdout.write("\t".join(one_line(cell) for cell in row) + "\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for people, as wide as the terminal (100 columns without one)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def one_line(text: str) -> str:
    """Text of strangers, fit for a terminal: no control or bidi characters, no line breaks."""
    return "".join(" " if c in "\t\n" else c if unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def destined(receipt: Receipt) -> str:
    return f"{receipt.target}:{receipt.slot}" if receipt.target else "-"


def remarks(receipt: Receipt) -> str:
    """Its reason, and what a person may want to look at although it goes its way."""
    told = [receipt.reason] if receipt.reason else []
    told += [f"warning: {warning}" for warning in receipt.image.warnings] if receipt.image else []
    return "  ".join(told)
