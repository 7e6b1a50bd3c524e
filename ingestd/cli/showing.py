"""`ingestd show`: everything known about one receipt: its state, what to do, what it is made of and what was
done to it, its history and its attempts (supporting.py); or what became of an arrival, which replies to mails
name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ingestd.cli.mail import mail_json, tell_mail
from ingestd.cli.rendering import (
    attempt_json,
    destined,
    document_json,
    history_json,
    image_json,
    local_moment,
    moment,
    one_line,
    print_json,
    print_rows,
    receipt_json,
)
from ingestd.cli.session import ConfigOption, JsonOption, configured, with_reader
from ingestd.cli.supporting import next_step, tell_attempts, tell_support, verification
from ingestd.domain.document import Document
from ingestd.domain.errors import UnknownReceipt
from ingestd.domain.receipt import Attempt, Receipt
from ingestd.domain.states import State
from ingestd.interfaces import Arrived, HistoryEntry, LedgerReader, Mailed


@dataclass(frozen=True, kw_only=True)
class _Known:
    """All that the ledger has of one receipt. `thumbnail`: None when there is none."""

    receipt: Receipt
    documents: Sequence[Document]
    history: Sequence[HistoryEntry]
    attempts: Sequence[Attempt]
    thumbnail: Path | None
    mailed: Mailed | None


@dataclass(frozen=True, kw_only=True)
class _Several:
    """An arrival of several receipts, or of none."""

    arrived: Arrived
    mailed: Mailed | None


def show(
    receipt_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The ID of a receipt or of an arrival, or its first 8+ characters."
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell everything about one receipt: where it is, why, and what to do.

    The ID of an arrival, as the reply to a mail names it, lists its receipts.

    \b
    ingestd show 019a6b3c-5d1e
    ingestd show 019a6b3c-5d1e --json
    """
    settings = configured(config)

    async def ask(reader: LedgerReader) -> _Known | _Several:
        arrived = None
        if await reader.get(receipt_id) is None:
            arrived = await reader.arrived(receipt_id)
        if arrived is None:
            receipt = await found(reader, receipt_id)
            return await _known(reader, receipt, receipt.arrival)
        if len(arrived.receipts) == 1:
            return await _known(reader, arrived.receipts[0], arrived.id)
        return _Several(arrived=arrived, mailed=await reader.mailed(arrived.id))

    match with_reader(settings, ask):
        case _Known() as known if as_json:
            print_json(_as_json(known))
        case _Known() as known:
            _tell(known)
        case several if as_json:
            print_json(_arrived_json(several))
        case several:
            _tell_arrived(several)


async def found(reader: LedgerReader, receipt_id: str) -> Receipt:
    """The receipt with this ID or beginning. Raises UnknownReceipt."""
    receipt = await reader.get(receipt_id)
    if receipt is None:
        raise UnknownReceipt(f"there is no single receipt {receipt_id!r}; `ingestd list` shows their IDs")
    return receipt


async def _known(reader: LedgerReader, receipt: Receipt, arrival: str) -> _Known:
    return _Known(
        receipt=receipt,
        documents=await reader.documents(receipt.id),
        history=await reader.history(receipt.id),
        attempts=await reader.attempts(receipt.id),
        thumbnail=_thumbnail(receipt),
        mailed=await reader.mailed(arrival),
    )


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
        "next": next_step(known.receipt),
        "verification": verification(known.receipt, known.history, moment),
        "mail": None if known.mailed is None else mail_json(known.mailed),
        "files": [document_json(document, known.receipt) for document in known.documents],
        "image": None if image is None else image_json(image),
        "steps": [] if image is None else list(image.steps),
        "thumbnail": None if known.thumbnail is None else str(known.thumbnail),
        "history": [history_json(entry) for entry in known.history],
        "tries": [attempt_json(attempt) for attempt in known.attempts],
    }


def _arrived_json(several: _Several) -> dict[str, object]:
    arrived = several.arrived
    return {
        "arrival": arrived.id,
        "source": arrived.origin.source,
        "path": arrived.origin.path,
        "received_at": moment(arrived.received_at),
        "mail": None if several.mailed is None else mail_json(several.mailed),
        "receipts": [receipt_json(receipt) for receipt in arrived.receipts],
        "ignored": [{"filename": one.filename, "reason": one.reason} for one in arrived.ignored],
    }


def _tell(known: _Known) -> None:
    _tell_receipt(known.receipt)
    verified = verification(known.receipt, known.history)
    if verified is not None:
        typer.echo(f"verified   {one_line(verified)}")
    if known.mailed is not None:
        tell_mail(known.mailed)
    _tell_documents(known)
    _tell_history(known.history)
    tell_attempts(known.attempts)
    tell_support(known.receipt, known.attempts)


def _tell_receipt(receipt: Receipt) -> None:
    say = typer.echo
    say(f"receipt    {receipt.id}")
    say(f"state      {receipt.state}")
    if receipt.reason:
        say(f"reason     {one_line(receipt.reason)}")
    say(f"next       {next_step(receipt)}")
    say(f"file       {one_line(receipt.path)}  (from {receipt.source})")
    say(f"slot       {destined(receipt)}" + (f"  as {receipt.account}" if receipt.account else ""))
    if receipt.person:
        say(f"person     {one_line(receipt.person)}")
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
        reason = f"  {one_line(entry.reason)}" if entry.reason else ""
        say(f"  {local_moment(entry.at)}  {entry.event:<10} -> {entry.after:<12} by {entry.actor}{reason}")


def _tell_arrived(several: _Several) -> None:
    say, arrived = typer.echo, several.arrived
    say(f"arrival    {arrived.id}")
    say(f"came       {local_moment(arrived.received_at)}  {one_line(arrived.origin.path)}")
    say(f"from       {arrived.origin.source}")
    if several.mailed is not None:
        tell_mail(several.mailed)
    for refusal in arrived.ignored:
        say(f"ignored    {one_line(refusal.filename)}: {one_line(refusal.reason)}")
    if not arrived.receipts:
        say("receipts   none")
        return
    say("")
    rows = ([r.id, str(r.state), r.filename, destined(r), r.image_id or ""] for r in arrived.receipts)
    print_rows(("receipt", "state", "file", "slot", "image ID"), rows)
