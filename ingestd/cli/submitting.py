"""`ingestd submit`: files handed over without a watched folder, each as a receipt or (--merge) all as one."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from ingestd.cli.deciding import actor, checked_destination
from ingestd.cli.rendering import destined, print_json, receipt_json
from ingestd.cli.session import ConfigOption, JsonOption, both_sides, configured
from ingestd.cli.showing import found
from ingestd.configfile import find_configuration, load_configuration
from ingestd.domain.document import Document, Instant, Origin, OriginKind, display_name
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.receipt import Receipt, new_id
from ingestd.domain.routing import Destined
from ingestd.domain.states import NEEDS_PERSON, State
from ingestd.interfaces import NewArrival
from ingestd.settings import Settings

WAIT_LOOK = timedelta(milliseconds=200)

Results = list[tuple[Receipt, bool]]
"""Receipts, and whether each is a repeat."""


@dataclass(frozen=True)
class _Opened:
    typed: Path
    stream: BinaryIO


def submit(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Receipts to upload.")],
    to: Annotated[str, typer.Option("--to", metavar="TARGET:SLOT", help="For example concur:report/123.")],
    config: ConfigOption = None,
    account: Annotated[
        str | None, typer.Option("--as", metavar="ACCOUNT", help="Upload with the token of this account.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Make one receipt of all files, in the order given.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Upload even if the same file went to the same slot before.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until each receipt is settled.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Hand over files without a watched folder. They are safe when the command returns.

    Each file is a receipt of its own; with --merge they are the pages of one.

    \b
    ingestd submit lunch.jpg --to concur:receipt
    ingestd submit hotel.pdf --to concur:expenseentry/gWjS4kQ --wait
    ingestd submit page1.jpg page2.jpg --merge --to concur:expenseentry/gWjS4kQ

    With --wait the exit code is 3 when a receipt needs a person or still waits.
    """
    from ingestd.storage import daemon_runs

    raw = load_configuration(find_configuration(config))
    place = checked_destination(raw, to, account)
    with ExitStack() as stack:
        # Opened before root steps down to the owner of the storage, who may not read these files.
        opened = [_Opened(path, stack.enter_context(_open(path))) for path in files]
        _check_files(opened, merge=merge)
        settings = configured(config)
        results = asyncio.run(_submit(settings, opened, place, account, merge=merge, again=again))
    settled = all(receipt.settled for receipt, _ in results)
    if wait and not settled and not daemon_runs(settings):
        typer.echo(
            "ingestd: no `ingestd run` is active on this storage, so nothing is uploaded yet", err=True
        )
    elif wait:
        results = asyncio.run(_settled(settings, results))
    _tell_submitted(results, as_json=as_json)
    if wait and any(receipt.state not in (State.UPLOADED, State.DROPPED) for receipt, _ in results):
        raise typer.Exit(3)


def _open(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            why = "is not a file" if path.exists() else "there is no such file"
            raise ConfigurationError([f"{path}: {why}"])
        return path.open("rb")
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror}"]) from None


def _check_files(opened: Sequence[_Opened], *, merge: bool) -> None:
    """Archives are opened by the daemon's limited processes at intake, which a submission does not pass."""
    from ingestd import sniff
    from ingestd.pipeline.merging import MOST_DOCUMENTS

    archives = []
    for file in opened:
        head = file.stream.read(sniff.HEAD_BYTES)
        file.stream.seek(0)
        if sniff.sniff(head) == sniff.ZIP:
            archives.append(file.typed)
    if archives:
        fix = "unpack it and submit the files (--merge: as one receipt), or drop it into a watched folder"
        raise ConfigurationError([f"{path}: is a ZIP archive; {fix}" for path in archives])
    if merge and len(opened) > MOST_DOCUMENTS:
        raise ConfigurationError(
            [f"--merge: {len(opened)} files; one receipt takes {MOST_DOCUMENTS}, so make a PDF of them first"]
        )


async def _submit(
    settings: Settings,
    opened: Sequence[_Opened],
    place: Destined,
    account: str | None,
    *,
    merge: bool,
    again: bool,
) -> Results:
    from ingestd.storage import ledger_clock, open_spool

    spool = open_spool(settings)
    clock = ledger_clock(settings)
    results: Results = []
    groups = [opened] if merge else [[file] for file in opened]
    async with both_sides(settings) as (ledger, _):
        for group in groups:
            documents = []
            for file in group:
                spooled = await asyncio.to_thread(spool.write, file.stream)
                name = display_name(file.typed.name)
                documents.append(
                    Document(
                        path=spooled.path,
                        filename=name,
                        size=spooled.size,
                        sha256=spooled.sha256,
                        declared_type=None,
                        arrived_as=name if merge else "",
                    )
                )
            arrival = _submission(documents, place, account, again=again, now=clock())
            accepted = await ledger.accept(arrival, now=clock())
            receipt = accepted.receipts[0]
            results.append((receipt, receipt.id in accepted.repeats))
    return results


def _submission(
    documents: Sequence[Document], place: Destined, account: str | None, *, again: bool, now: Instant
) -> NewArrival:
    from ingestd.pipeline.merging import new_receipt

    return NewArrival(
        id=new_id(now),
        origin=Origin(
            kind=OriginKind.SUBMISSION, source="submit", path=documents[0].filename, sender=actor()
        ),
        receipts=(new_receipt(documents, destined=place, account=account, again=again),),
    )


async def _settled(settings: Settings, results: Results) -> Results:
    """The same receipts once each is settled, or the daemon has stopped."""
    from ingestd.storage import daemon_runs, reading

    async with reading(settings) as reader:
        while True:
            results = [(await found(reader, receipt.id), repeat) for receipt, repeat in results]
            if all(receipt.settled for receipt, _ in results) or not daemon_runs(settings):
                return results
            await asyncio.sleep(WAIT_LOOK.total_seconds())


def _tell_submitted(results: Results, *, as_json: bool) -> None:
    if as_json:
        print_json({"receipts": [{**receipt_json(r), "repeat": repeat} for r, repeat in results]})
        return
    for receipt, repeat in results:
        image = f", image ID {receipt.image_id}" if receipt.image_id else ""
        again = " (a repeat: nothing is uploaded twice; --again would)" if repeat else ""
        others = f" and {receipt.documents - 1} more" if receipt.documents > 1 else ""
        typer.echo(
            f"{receipt.id}  {receipt.filename}{others} -> {destined(receipt)}: {receipt.state}{image}{again}"
        )
        if receipt.reason and receipt.state in NEEDS_PERSON:
            typer.echo(f"    {receipt.reason}")
