"""Commands with which a person moves a receipt: submit, retry, confirm, drop. They work beside the daemon."""

import asyncio
import getpass
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from ingestd.cli.rendering import destined, print_json, receipt_json
from ingestd.cli.session import ConfigOption, JsonOption, both_sides, configured, with_ledger
from ingestd.cli.showing import found
from ingestd.clock import process_clock
from ingestd.configfile import find_configuration, load_configuration
from ingestd.domain.document import Document, Origin, OriginKind, display_name
from ingestd.domain.errors import ConfigurationError, IllegalTransition, IngestdError
from ingestd.domain.receipt import Receipt, idempotency_key, new_id
from ingestd.domain.routing import Destined
from ingestd.domain.states import NEEDS_PERSON, SETTLED, Event, State
from ingestd.interfaces import Accepted, Ledger, LedgerReader, NewArrival, NewReceipt
from ingestd.settings import Settings

WAIT_LOOK = timedelta(milliseconds=200)

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID…", help="Receipt IDs, or their first 8+ characters.")
]


# --- submit ------------------------------------------------------------------------------------------------


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
    again: Annotated[
        bool, typer.Option("--again", help="Upload even if the same file went to the same slot before.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until each receipt is settled.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Hand over files without a watched folder. They are safe when the command returns.

    \b
    ingestd submit lunch.jpg --to concur:receipt
    ingestd submit hotel.pdf --to concur:expenseentry/gWjS4kQ --wait

    With --wait the exit code is 3 when a receipt needs a person or still waits.
    """
    from ingestd.storage import daemon_runs

    raw = load_configuration(find_configuration(config))
    place = _checked_destination(raw, to, account)
    with ExitStack() as stack:
        # Opened before root steps down to the owner of the storage, who may not read these files.
        opened = [_Opened(path, stack.enter_context(_open(path))) for path in files]
        settings = configured(config)
        results = asyncio.run(_submit(settings, opened, place, account, again=again))
    settled = all(receipt.state in SETTLED for receipt, _ in results)
    if wait and not settled and not daemon_runs(settings):
        typer.echo(
            "ingestd: no `ingestd run` is active on this storage, so nothing is uploaded yet", err=True
        )
    elif wait:
        results = asyncio.run(_settled(settings, results))
    _tell_submitted(results, as_json=as_json)
    if wait and any(receipt.state not in (State.UPLOADED, State.DROPPED) for receipt, _ in results):
        raise typer.Exit(3)


def _checked_destination(settings: Settings, to: str, account: str | None) -> Destined:
    from ingestd.assembly import unusable_destination

    place = Destined.parse(to)
    problem = unusable_destination(settings, place)
    if problem is None and account is not None and account not in settings.targets[place.target].accounts:
        problem = f"{place.target} has no account {account!r}"
    if problem is not None:
        raise ConfigurationError([f"--to {to}: {problem}"])
    return place


def _open(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            why = "is not a file" if path.exists() else "there is no such file"
            raise ConfigurationError([f"{path}: {why}"])
        return path.open("rb")
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror}"]) from None


async def _submit(
    settings: Settings, opened: Sequence[_Opened], place: Destined, account: str | None, *, again: bool
) -> list[tuple[Receipt, bool]]:
    """Each file's receipt, and whether it is a repeat."""
    from ingestd.storage import open_spool

    spool = open_spool(settings)
    clock = process_clock()
    results: list[tuple[Receipt, bool]] = []
    async with both_sides(settings) as (ledger, _):
        for file in opened:
            spooled = await asyncio.to_thread(spool.write, file.stream)
            document = Document(
                path=spooled.path,
                filename=display_name(file.typed.name),
                size=spooled.size,
                sha256=spooled.sha256,
                declared_type=None,
            )
            arrival = _submission(file.typed, document, place, account, again=again)
            accepted: Accepted = await ledger.accept(arrival, now=clock())
            receipt = accepted.receipts[0]
            results.append((receipt, receipt.id in accepted.repeats))
    return results


def _submission(
    path: Path, document: Document, place: Destined, account: str | None, *, again: bool
) -> NewArrival:
    key = idempotency_key([document.sha256], target=place.target, account=account, slot=str(place.slot))
    return NewArrival(
        id=new_id(process_clock()()),
        origin=Origin(
            kind=OriginKind.SUBMISSION, source="submit", path=display_name(path.name), sender=actor()
        ),
        receipts=(
            NewReceipt(
                documents=(document,),
                target=place.target,
                slot=str(place.slot),
                account=account,
                key=key,
                again=again,
            ),
        ),
    )


async def _settled(settings: Settings, results: list[tuple[Receipt, bool]]) -> list[tuple[Receipt, bool]]:
    """The same receipts once each is settled, or the daemon has stopped."""
    from ingestd.storage import daemon_runs, reading

    async with reading(settings) as reader:
        while True:
            results = [(await found(reader, receipt.id), repeat) for receipt, repeat in results]
            if all(receipt.state in SETTLED for receipt, _ in results) or not daemon_runs(settings):
                return results
            await asyncio.sleep(WAIT_LOOK.total_seconds())


def _tell_submitted(results: Sequence[tuple[Receipt, bool]], *, as_json: bool) -> None:
    if as_json:
        print_json({"receipts": [{**receipt_json(r), "repeat": repeat} for r, repeat in results]})
        return
    for receipt, repeat in results:
        image = f", image ID {receipt.image_id}" if receipt.image_id else ""
        again = " (a repeat: nothing is uploaded twice; --again would)" if repeat else ""
        typer.echo(f"{receipt.id}  {receipt.filename} -> {destined(receipt)}: {receipt.state}{image}{again}")
        if receipt.reason and receipt.state in NEEDS_PERSON:
            typer.echo(f"    {receipt.reason}")


# --- retry, confirm, drop ----------------------------------------------------------------------------------


def retry(
    ids: IdsArgument = None,
    config: ConfigOption = None,
    state: Annotated[
        State | None, typer.Option("--state", help="All that are held, rejected, failed or unconfirmed.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="TARGET:SLOT", help="For a held receipt without a route: where it goes."
        ),
    ] = None,
) -> None:
    """Try held, rejected, failed or unconfirmed receipts once more.

    An unconfirmed receipt may already be in the target: look there first, a retry can store it twice.

    \b
    ingestd retry 019a6b3c-5d1e
    ingestd retry --state failed
    ingestd retry 019a6b3c-5d1e --to concur:report/123
    """
    settings = configured(config)
    place = _checked_destination(settings, to, None) if to else None
    if state is not None and state not in NEEDS_PERSON:
        raise ConfigurationError(
            [f"--state {state}: only held, rejected, failed and unconfirmed can be retried"]
        )

    async def act(ledger: Ledger, reader: LedgerReader) -> int:
        failures = 0
        for receipt in await _chosen(reader, ids or [], state):
            try:
                current = receipt
                if place is not None:
                    now = process_clock()()
                    current = await ledger.assign(receipt, destined=place, account=None, now=now)
                now = process_clock()()
                moved = await ledger.move(current, Event.REQUEUE, now=now, actor=actor())
                typer.echo(f"{moved.id}  {moved.filename}: {receipt.state} -> {moved.state}")
            except IngestdError as error:
                failures += 1
                typer.echo(f"ingestd: {receipt.id}: {error}", err=True)
        return failures

    if with_ledger(settings, act):
        raise typer.Exit(2)


def confirm(
    receipt_id: Annotated[str, typer.Argument(metavar="ID", help="An unconfirmed receipt.")],
    image_id: Annotated[str, typer.Option("--image-id", help="The image's ID as the target shows it.")],
    config: ConfigOption = None,
) -> None:
    """Record that an unconfirmed receipt did arrive, with the image ID found in the target.

    \b
    ingestd confirm 019a6b3c-5d1e --image-id 'gWjS4kQ$p'
    """
    settings = configured(config)

    async def act(ledger: Ledger, reader: LedgerReader) -> None:
        receipt = await found(reader, receipt_id)
        if receipt.state is not State.UNCONFIRMED:
            raise IllegalTransition(
                f"{receipt.id} is {receipt.state}; only unconfirmed receipts can be confirmed"
            )
        moved = await ledger.move(
            receipt,
            Event.CONFIRM,
            now=process_clock()(),
            image_id=image_id.strip(),
            reason="Confirmed by a person.",
            actor=actor(),
        )
        typer.echo(f"{moved.id}  {moved.filename}: uploaded, image ID {moved.image_id}")

    with_ledger(settings, act)


def drop(ids: IdsArgument = None, config: ConfigOption = None) -> None:
    """Give receipts up for good. The ledger keeps them; nothing is uploaded any more.

    \b
    ingestd drop 019a6b3c-5d1e
    """
    settings = configured(config)

    if not ids:
        raise ConfigurationError(["name receipts by ID"])

    async def act(ledger: Ledger, reader: LedgerReader) -> int:
        failures = 0
        for receipt in await _chosen(reader, ids, None):
            try:
                moved = await ledger.move(
                    receipt,
                    Event.DROP,
                    now=process_clock()(),
                    reason="Dropped by a person.",
                    actor=actor(),
                )
                typer.echo(f"{moved.id}  {moved.filename}: {receipt.state} -> {moved.state}")
            except IngestdError as error:
                failures += 1
                typer.echo(f"ingestd: {receipt.id}: {error}", err=True)
        return failures

    if with_ledger(settings, act):
        raise typer.Exit(2)


def actor() -> str:
    """Who decided, for the history: the person behind sudo if there is one."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


async def _chosen(reader: LedgerReader, ids: Sequence[str], state: State | None) -> Sequence[Receipt]:
    if bool(ids) == (state is not None):
        raise ConfigurationError(
            ["name receipts by ID, or a whole state with --state; not both, not neither"]
        )
    if state is not None:
        return await reader.find(states={state})
    return [await found(reader, receipt_id) for receipt_id in ids]
