"""`ingestd export --evidence`: what the ledger and the spool have of a few receipts, gathered into a bundle.

Works beside the daemon: a receipt that moves while it is read is read again, and so is one whose bytes seem
to be missing, for they may be purged at this moment.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import typer

from ingestd.cli.looking_up import chain_of, is_kept
from ingestd.cli.mail import mail_json
from ingestd.cli.rendering import (
    attempt_json,
    destined,
    document_json,
    history_json,
    image_json,
    moment,
    one_line,
    receipt_json,
)
from ingestd.cli.saving import SUFFIXES, check_place, not_written, put, unfinished
from ingestd.cli.session import configured, with_reader
from ingestd.cli.showing import found
from ingestd.cli.supporting import verification
from ingestd.domain.document import Document
from ingestd.domain.errors import ConfigurationError, IngestdError, UnknownReceipt
from ingestd.domain.receipt import Receipt
from ingestd.evidence import Case, Piece, Written, write_bundle
from ingestd.evidence.bundle import PIECE_BYTES, Kind
from ingestd.interfaces import Chain, HistoryEntry, LedgerReader

LOOKS = 4
LOOK_EVERY = timedelta(seconds=1)
"""A purge removes bytes first and says so in the ledger a moment later."""
LONGEST_LIST = 99
"""Receipts in one bundle; an auditor wants the table for more."""


def export_evidence(config: Path | None, ids: Sequence[str], output: Path | None, *, force: bool) -> None:
    """Writes the zip and says where; exit code 1 when bytes that should be there are not."""
    place = output or Path()
    check_place(place, force=force)
    settings = configured(config)

    async def gather(reader: LedgerReader) -> tuple[Written, str, str]:
        receipts = await _receipts(reader, ids)
        stem = _stem(receipts)
        with unfinished(place) as file:
            written = await _written(reader, receipts, file, stem, place)
            sha256 = await asyncio.to_thread(_sha256, file)
            return written, put(file, place, stem, ".zip", force=force), sha256

    written, where, sha256 = with_reader(settings, gather)
    _tell(f"evidence written to {where}: {written.files} files")
    _tell(f"sha256 {sha256}")
    for absent in written.absent:
        _tell(f"{absent.why}: {absent.name} of {absent.receipt} (sha256 {absent.piece.sha256})")
    if any(absent.why != "purged" for absent in written.absent):
        _tell("The bundle is not complete: restore the spool from a backup; `ingestd audit` names all of it.")
        raise typer.Exit(1)


async def _receipts(reader: LedgerReader, ids: Sequence[str]) -> list[Receipt]:
    """Each once, in the order asked for. Raises UnknownReceipt, ConfigurationError."""
    chosen: dict[str, Receipt] = {}
    for text in ids:
        receipt = await reader.get(text)
        arrived = None if receipt is not None else await reader.arrived(text)
        if arrived is None:
            receipt = receipt or await found(reader, text)
            chosen.setdefault(receipt.id, receipt)
            continue
        if not arrived.receipts:
            raise UnknownReceipt(f"no receipt came of the arrival {arrived.id}; `ingestd show` tells why")
        for one in arrived.receipts:
            chosen.setdefault(one.id, one)
    if len(chosen) > LONGEST_LIST:
        raise ConfigurationError(
            [f"--evidence: {len(chosen)} receipts; at most {LONGEST_LIST} in one bundle"]
        )
    return list(chosen.values())


def _stem(receipts: Sequence[Receipt]) -> str:
    others = f"-and-{len(receipts) - 1}-more" if len(receipts) > 1 else ""
    return f"evidence-{receipts[0].id}{others}"


async def _written(
    reader: LedgerReader, receipts: Sequence[Receipt], file: BinaryIO, stem: str, place: Path
) -> Written:
    """Once more when something seems to be missing. Raises IngestdError."""
    look = 0
    while True:
        look += 1
        cases = [await _case(reader, receipt.id) for receipt in receipts]
        try:
            file.seek(0)
            file.truncate()
            written = await asyncio.to_thread(write_bundle, file, cases, folder=stem)
            file.flush()
        except OSError as error:
            raise not_written(place, error) from None
        if look == LOOKS or all(absent.why == "purged" for absent in written.absent):
            return written
        await asyncio.sleep(LOOK_EVERY.total_seconds())


async def _case(reader: LedgerReader, receipt_id: str) -> Case:
    """All of one receipt, as of one version of it."""
    for _ in range(LOOKS):
        before = await chain_of(reader, receipt_id)
        receipt = await reader.get(receipt_id)
        if before is None or receipt is None:
            raise UnknownReceipt(f"receipt {receipt_id} is gone from the ledger")
        case = await _case_of(reader, receipt, before)
        after = await chain_of(reader, receipt_id)
        if after is not None and after.head == before.head:
            return case
    raise IngestdError(f"receipt {receipt_id} moves all the time; try again in a moment")


async def _case_of(reader: LedgerReader, receipt: Receipt, chain: Chain) -> Case:
    documents = await reader.documents(receipt.id)
    attempts = await reader.attempts(receipt.id)
    mailed = await reader.mailed(receipt.arrival)
    record = {
        **receipt_json(receipt),
        "mail": None if mailed is None else mail_json(mailed),
        "files": [document_json(document, receipt) for document in documents],
        "image": None if receipt.image is None else image_json(receipt.image),
        "steps": [] if receipt.image is None else list(receipt.image.steps),
        "verification": verification(receipt, chain.entries, moment),
    }
    return Case(
        receipt=receipt.id,
        title=one_line(f"{receipt.state}, {destined(receipt)}, image ID {receipt.image_id or '-'}"),
        version=chain.version,
        head=chain.head,
        records={
            "receipt.json": record,
            "history.json": [_row(entry) for entry in chain.entries],
            "attempts.json": [attempt_json(attempt) for attempt in attempts],
        },
        pieces=await _pieces(reader, receipt, documents),
    )


def _row(entry: HistoryEntry) -> dict[str, object]:
    """`at` as the digest has it."""
    return {**history_json(entry), "at": entry.at, "time": moment(entry.at)}


async def _pieces(reader: LedgerReader, receipt: Receipt, documents: Sequence[Document]) -> list[Piece]:
    pieces = [await _piece(reader, "archive", one) for one in await reader.containers(receipt.id)]
    pieces += [await _piece(reader, "original", document) for document in documents]
    image = receipt.image
    if image is not None:
        sent = Document(
            path=image.path,
            filename=f"image{SUFFIXES.get(image.mime_type, '.bin')}",
            size=image.size,
            sha256=image.sha256,
            declared_type=image.mime_type,
        )
        pieces.append(await _piece(reader, "sent", sent))
    return pieces


async def _piece(reader: LedgerReader, kind: Kind, document: Document) -> Piece:
    return Piece(
        kind=kind,
        filename=document.filename,
        sha256=document.sha256,
        size=document.size,
        path=document.path,
        kept=await is_kept(reader, document.sha256),
    )


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while part := file.read(PIECE_BYTES):
        digest.update(part)
    return digest.hexdigest()


def _tell(line: str) -> None:
    typer.echo(one_line(line), err=True)
