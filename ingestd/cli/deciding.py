"""Commands with which a person moves a receipt: retry, confirm, drop. They work beside the daemon."""

import getpass
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from ingestd.cli.session import ConfigOption, clock_beside, configured, with_ledger
from ingestd.cli.showing import found
from ingestd.domain.errors import ConfigurationError, IllegalTransition, IngestdError
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Destined
from ingestd.domain.states import NEEDS_PERSON, Event, State
from ingestd.interfaces import Ledger, LedgerReader
from ingestd.settings import Settings

WAIT_LOOK = timedelta(milliseconds=200)

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID…", help="Receipt IDs, or their first 8+ characters.")
]


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
    place = checked_destination(settings, to, None) if to else None
    if state is not None and state not in NEEDS_PERSON:
        raise ConfigurationError(
            [f"--state {state}: only held, rejected, failed and unconfirmed can be retried"]
        )

    clock = clock_beside(settings)

    async def act(ledger: Ledger, reader: LedgerReader) -> int:
        failures = 0
        for receipt in await _chosen(reader, ids or [], state):
            try:
                current = receipt
                if place is not None:
                    current = await ledger.assign(receipt, destined=place, account=None, now=clock())
                moved = await ledger.move(current, Event.REQUEUE, now=clock(), actor=actor())
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

    clock = clock_beside(settings)

    async def act(ledger: Ledger, reader: LedgerReader) -> None:
        receipt = await found(reader, receipt_id)
        if receipt.state is not State.UNCONFIRMED:
            raise IllegalTransition(
                f"{receipt.id} is {receipt.state}; only unconfirmed receipts can be confirmed"
            )
        moved = await ledger.move(
            receipt,
            Event.CONFIRM,
            now=clock(),
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

    clock = clock_beside(settings)

    async def act(ledger: Ledger, reader: LedgerReader) -> int:
        failures = 0
        for receipt in await _chosen(reader, ids, None):
            try:
                moved = await ledger.move(
                    receipt,
                    Event.DROP,
                    now=clock(),
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


def checked_destination(settings: Settings, to: str, account: str | None) -> Destined:
    """What --to and --as name. Raises ConfigurationError, and InvalidSlot for what is no TARGET:SLOT."""
    from ingestd.assembly import unusable_destination

    place = Destined.parse(to)
    problem = unusable_destination(settings, place)
    if problem is None and account is not None and account not in settings.targets[place.target].accounts:
        problem = f"{place.target} has no account {account!r}"
    if problem is not None:
        raise ConfigurationError([f"--to {to}: {problem}"])
    return place


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
