"""`ingestd show`: everything known about one receipt: its state, what to do, what it is made of and what was
done to it, its history and its attempts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ingestd.cli.rendering import (
    attempt_json,
    destined,
    document_json,
    history_json,
    image_json,
    local_moment,
    one_line,
    print_json,
    receipt_json,
)
from ingestd.cli.session import ConfigOption, JsonOption, configured, with_reader
from ingestd.domain.document import Document
from ingestd.domain.errors import UnknownReceipt
from ingestd.domain.receipt import Attempt, Receipt
from ingestd.domain.states import State
from ingestd.interfaces import HistoryEntry, LedgerReader

NEXT = {
    State.RECEIVED: "Nothing: it will be checked when `ingestd run` runs.",
    State.READY: "Nothing: it will be uploaded when it is due and `ingestd run` runs.",
    State.CLAIMED: "Nothing: it is about to be uploaded.",
    State.UPLOADING: "Nothing: it is being uploaded.",
    State.HELD: "Decide: `ingestd retry {id}` (add --to TARGET:SLOT if it had no route), "
    "or `ingestd drop {id}`.",
    State.UNCONFIRMED: "Look in the target if the image is there. "
    "If so: `ingestd confirm {id} --image-id ID`. If not: `ingestd retry {id}`.",
    State.REJECTED: "Send a better file, or `ingestd retry {id}` if the reason is gone, "
    "or `ingestd drop {id}`.",
    State.FAILED: "Remove the cause, then `ingestd retry {id}`; or `ingestd drop {id}`.",
    State.UPLOADED: "Nothing: done.",
    State.DROPPED: "Nothing: a person decided that it is not wanted.",
}


@dataclass(frozen=True, kw_only=True)
class _Known:
    """All that the ledger has of one receipt. `thumbnail`: None when there is none."""

    receipt: Receipt
    documents: Sequence[Document]
    history: Sequence[HistoryEntry]
    attempts: Sequence[Attempt]
    thumbnail: Path | None


def show(
    receipt_id: Annotated[
        str, typer.Argument(metavar="ID", help="A receipt's ID, or its first 8+ characters.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell everything about one receipt: where it is, why, and what to do.

    \b
    ingestd show 019a6b3c-5d1e
    ingestd show 019a6b3c-5d1e --json
    """
    settings = configured(config)

    async def ask(reader: LedgerReader) -> _Known:
        receipt = await found(reader, receipt_id)
        return _Known(
            receipt=receipt,
            documents=await reader.documents(receipt.id),
            history=await reader.history(receipt.id),
            attempts=await reader.attempts(receipt.id),
            thumbnail=_thumbnail(receipt),
        )

    known = with_reader(settings, ask)
    if as_json:
        print_json(_as_json(known))
    else:
        _tell(known)


async def found(reader: LedgerReader, receipt_id: str) -> Receipt:
    """The receipt with this ID or beginning. Raises UnknownReceipt."""
    receipt = await reader.get(receipt_id)
    if receipt is None:
        raise UnknownReceipt(f"there is no single receipt {receipt_id!r}; `ingestd list` shows their IDs")
    return receipt


def _thumbnail(receipt: Receipt) -> Path | None:
    """It stands beside the image in the spool (Spool.thumbnail, which needs a spool that may be written)."""
    if receipt.image is None:
        return None
    path = receipt.image.path.with_suffix(".jpg")
    return path if path.is_file() else None


def _as_json(known: _Known) -> dict[str, object]:
    image = known.receipt.image
    return {
        **receipt_json(known.receipt),
        "files": [document_json(document, known.receipt) for document in known.documents],
        "image": None if image is None else image_json(image),
        "steps": [] if image is None else list(image.steps),
        "thumbnail": None if known.thumbnail is None else str(known.thumbnail),
        "history": [history_json(entry) for entry in known.history],
        "tries": [attempt_json(attempt) for attempt in known.attempts],
    }


def _tell(known: _Known) -> None:
    _tell_receipt(known.receipt)
    _tell_documents(known)
    _tell_history(known.history)
    _tell_attempts(known.attempts)


def _tell_receipt(receipt: Receipt) -> None:
    say = typer.echo
    say(f"receipt    {receipt.id}")
    say(f"state      {receipt.state}")
    if receipt.reason:
        say(f"reason     {one_line(receipt.reason)}")
    say(f"next       {NEXT[receipt.state].format(id=receipt.id)}")
    say(f"file       {one_line(receipt.path)}  (from {receipt.source})")
    say(f"slot       {destined(receipt)}" + (f"  as {receipt.account}" if receipt.account else ""))
    say(f"image ID   {receipt.image_id or '-'}")
    for key, value in receipt.fields.items():
        say(f"{one_line(key):<10} {one_line(value)}")
    if receipt.state is State.READY:
        say(f"due        {local_moment(receipt.due_at)}")


def _tell_documents(known: _Known) -> None:
    """What it is made of, what was done to it, and what it became."""
    say, image = typer.echo, known.receipt.image
    for document in known.documents:
        name = f"  {one_line(document.arrived_as)}" if document.arrived_as else ""
        say(f"document   {document.sha256}  {document.size:,} bytes{name}")
    if image is None:
        return
    for step in image.steps:
        say(f"done       {one_line(step)}")
    for warning in image.warnings:
        say(f"warning    {one_line(warning)}")
    say(f"sent as    {image.mime_type}, {image.size:,} bytes, {image.pages} page(s)")
    if known.thumbnail is not None:
        say(f"thumbnail  {known.thumbnail}")


def _tell_history(history: Sequence[HistoryEntry]) -> None:
    say = typer.echo
    say("\nhistory")
    for entry in history:
        reason = f"  {entry.reason}" if entry.reason else ""
        say(f"  {local_moment(entry.at)}  {entry.event:<10} -> {entry.after:<12} by {entry.actor}{reason}")


def _tell_attempts(attempts: Sequence[Attempt]) -> None:
    say = typer.echo
    if attempts:
        say("\nattempts")
    for attempt in attempts:
        answer = f"HTTP {attempt.status}" if attempt.status else "no answer"
        say(
            f"  {attempt.number}. {local_moment(attempt.started_at)}  {attempt.outcome or 'open'}  ({answer})"
        )
        if attempt.correlation_id:
            say(f"     correlation ID {attempt.correlation_id}")
        if attempt.message:
            say(f"     {attempt.message}")
