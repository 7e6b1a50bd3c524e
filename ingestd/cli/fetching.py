"""`ingestd url` and `ingestd fetch`: what a target holds, seen by its short-lived URL or fetched from it.

Works beside the daemon, and changes nothing in the ledger. A file appears whole or not at all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar, assert_never

import typer

from ingestd import sniff
from ingestd.cli.deciding import checked_destination
from ingestd.cli.rendering import one_line, print_json
from ingestd.cli.saving import SUFFIXES, check_place, not_written, put, type_in, unfinished
from ingestd.cli.session import ConfigOption, JsonOption, configured
from ingestd.cli.showing import found
from ingestd.domain.document import display_name
from ingestd.domain.errors import ConfigurationError, IngestdError
from ingestd.domain.outcome import CannotSay, Found, NotThere
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Slot
from ingestd.domain.states import State
from ingestd.interfaces import Destination
from ingestd.settings import Settings

T = TypeVar("T")

_LOOKED_AT = frozenset({State.UPLOADED, State.UNCONFIRMED, State.FAILED})
"""Receipts in these states may have an image in the target."""
_LIFE = "15 minutes"
"""Concur Image v1, "Get an image URL"; it was 30 until 2021."""

WhatArgument = Annotated[
    str, typer.Argument(metavar="ID", help="A receipt's ID or its first 8+ characters, or TARGET:SLOT.")
]
ImageOption = Annotated[
    str | None,
    typer.Option("--image-id", help="With TARGET:SLOT, for a slot that keeps many images: which one."),
]
AccountOption = Annotated[
    str | None, typer.Option("--as", metavar="ACCOUNT", help="With TARGET:SLOT: as this account.")
]


class NoImage(IngestdError):
    """There is no image to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Which image of which target; `receipt` None: the slot was named, not a receipt."""

    target: str
    slot: Slot
    account: str | None
    image_id: str | None
    receipt: Receipt | None = None

    @property
    def name(self) -> str:
        return f"{self.target}:{self.slot}"


def url(
    what: WhatArgument,
    config: ConfigOption = None,
    image_id: ImageOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the short-lived URL of an image in the target. Whoever has it can see the image for some minutes.

    \b
    ingestd url 019a6b3c-5d1e
    ingestd url concur:expenseentry/gWjS4kQ
    ingestd url concur:receipt --image-id 'gWjS4kQ$p'
    """
    settings = configured(config)

    async def ask(asked: _Asked, destination: Destination) -> Found:
        return await _found(asked, destination)

    asked, image = _at_target(settings, what, image_id, account, ask)
    if as_json:
        print_json(
            {
                "url": image.url,
                "target": asked.target,
                "slot": str(asked.slot),
                "image_id": asked.image_id or image.image_id,
                "note": f"good for about {_LIFE} from now",
            }
        )
        return
    _tell(f"good for about {_LIFE}; whoever has it can see the image")
    typer.echo(image.url)


def fetch(
    what: WhatArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The new file; a directory: named after the image; -: standard output. [default: .]",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    image_id: ImageOption = None,
    account: AccountOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Fetch an image from the target, as it is there now.

    \b
    ingestd fetch 019a6b3c-5d1e -o lunch.jpg
    ingestd fetch concur:report/764428DD6A664AF0BFCB -o -
    """
    place = output or Path()
    check_place(place, force=force)
    settings = configured(config)

    async def ask(asked: _Asked, destination: Destination) -> str:
        image = await _found(asked, destination)
        with unfinished(place) as file:
            declared = await _downloaded(image, destination, file, place)
            found_type = type_in(file)
            kind = one_line(declared) if found_type == sniff.UNKNOWN else found_type
            size = file.tell()
            written = put(file, place, _stem(asked), SUFFIXES.get(kind, ".bin"), force=force)
        return f"{size:,} bytes of {kind} written to {written}"

    _, summary = _at_target(settings, what, image_id, account, ask)
    _tell(summary)


# --- which image ------------------------------------------------------------------------------------------


def _at_target(
    settings: Settings,
    what: str,
    image_id: str | None,
    account: str | None,
    ask: Callable[[_Asked, Destination], Awaitable[T]],
) -> tuple[_Asked, T]:
    """Finds out what is meant, then asks its target."""

    async def run() -> tuple[_Asked, T]:
        from ingestd.assembly import open_destination

        asked = await _asked(settings, what, image_id, account)
        async with open_destination(settings, asked.target) as destination:
            _check_askable(asked)
            _tell(f"asking {asked.target} for {asked.slot}")
            return asked, await ask(asked, destination)

    return asyncio.run(run())


async def _asked(settings: Settings, what: str, image_id: str | None, account: str | None) -> _Asked:
    """Raises ConfigurationError, InvalidSlot, UnknownReceipt, NoImage."""
    from ingestd.storage import reading

    if ":" in what:
        place = checked_destination(settings, what, account)
        return _Asked(target=place.target, slot=place.slot, account=account, image_id=image_id)
    if image_id is not None or account is not None:
        raise ConfigurationError(["--image-id and --as go with TARGET:SLOT; a receipt knows its own"])
    async with reading(settings) as reader:
        receipt = await found(reader, what)
    if receipt.state not in _LOOKED_AT:
        raise NoImage(
            f"{receipt.id} is {receipt.state}, not uploaded; `ingestd show {receipt.id}` tells more"
        )
    if receipt.target not in settings.targets:
        raise ConfigurationError([f"{receipt.id} went to the target {receipt.target!r}, which is gone"])
    if receipt.state is not State.UPLOADED:
        _tell(f"the receipt is {receipt.state}; this is what its slot holds now")
    return _Asked(
        target=receipt.target,
        slot=Slot.parse(receipt.slot),
        account=receipt.account,
        image_id=receipt.image_id,
        receipt=receipt,
    )


def _check_askable(asked: _Asked) -> None:
    """A slot without an ID keeps images apart by theirs."""
    if asked.slot.identifier is not None or asked.image_id:
        return
    if asked.receipt is not None:
        raise NoImage(
            f"{asked.receipt.id} is {asked.receipt.state} and has no image ID, without which {asked.name} "
            "can't be read back; look for it in the target itself"
        )
    raise ConfigurationError([f"{asked.name} keeps many images; say which one with --image-id"])


async def _found(asked: _Asked, destination: Destination) -> Found:
    """With a URL. Raises NoImage."""
    answer = await destination.look_up(asked.slot, account=asked.account, image_id=asked.image_id)
    match answer:
        case Found(url=None):
            raise NoImage(f"{asked.name} has an image, but {asked.target} names no URL for it")
        case Found():
            return answer
        case NotThere():
            raise NoImage(f"{asked.target} has no image for {asked.slot}" + _of_image(asked))
        case CannotSay(reason=reason):
            raise NoImage(f"{asked.target} can't say: {reason}")
        case _:
            assert_never(answer)


def _of_image(asked: _Asked) -> str:
    return f" with the ID {asked.image_id}" if asked.slot.identifier is None else ""


async def _downloaded(image: Found, destination: Destination, file: BinaryIO, place: Path) -> str:
    """The type as its server declares it. Raises NoImage, and IngestdError for a full disk."""
    assert image.url is not None
    try:
        result = await destination.download(image.url, file)
        file.flush()
    except OSError as error:
        raise not_written(place, error) from None
    if isinstance(result, CannotSay):
        raise NoImage(f"the image can't be fetched: {result.reason} Each try gets a new URL.")
    return result.mime_type


def _stem(asked: _Asked) -> str:
    """Of the name in a directory: that of the document, else of the slot."""
    if asked.receipt is not None:
        return Path(display_name(asked.receipt.filename)).stem or asked.receipt.id
    return f"{asked.slot.kind}-{asked.slot.identifier or asked.image_id}"


def _tell(line: str) -> None:
    typer.echo(one_line(line), err=True)
