"""Commands that only look: list, balance. What they list is read and written page by page (paging.py)."""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import typer

from ingestd.cli.paging import pages
from ingestd.cli.rendering import balance_json, destined, print_json, print_rows, receipt_json, remarks
from ingestd.cli.session import ConfigOption, JsonOption, configured, with_reader
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State


def list_receipts(
    config: ConfigOption = None,
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only this state; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many, newest first.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Show receipts, newest first.

    \b
    ingestd list --state failed --state rejected
    ingestd list --limit 20
    ingestd list --json | jq '.receipts[].image_id'
    """
    settings = configured(config)
    tell = _tell_as_json if as_json else _tell_rows
    with_reader(settings, lambda reader: tell(pages(reader, state or (), limit)))


def balance(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Prove that nothing is lost: what came in equals what became of it.

    Counted from two sides: payloads counted at intake = documents in receipts + sightings (repeats) +
    ignored, and receipts = the sum of their states. Exit code 0 when the books are closed, else 1.
    """
    settings = configured(config)
    books = with_reader(settings, lambda reader: reader.balance())
    if as_json:
        print_json(balance_json(books))
    else:
        say = typer.echo
        say(f"came in      {books.payloads:>8}")
        say(f"  documents  {books.documents:>8}")
        say(f"  repeats    {books.sightings:>8}")
        say(f"  ignored    {books.ignored:>8}")
        say(f"receipts     {books.receipts:>8}")
        for state, count in books.states.items():
            if count:
                say(f"  {state:<11}{count:>8}")
        say("The books are closed." if books.closed else "THE BOOKS ARE NOT CLOSED: please report this.")
    raise typer.Exit(0 if books.closed else 1)


async def _tell_rows(found: AsyncIterator[Sequence[Receipt]]) -> None:
    count = 0
    async for page in found:
        rows = ([r.id, str(r.state), r.path, destined(r), r.image_id or "", remarks(r)] for r in page)
        if page or count == 0:
            print_rows(("receipt", "state", "file", "slot", "image ID", "reason"), rows)
        count += len(page)
    if sys.stdout.isatty():
        typer.echo(f"\n{count} receipts" + ("" if count else "; nothing matches"), err=True)


async def _tell_as_json(found: AsyncIterator[Sequence[Receipt]]) -> None:
    """One document, written as print_json would."""
    between = '{\n  "receipts": ['
    say = sys.stdout.write
    async for page in found:
        for receipt in page:
            row = json.dumps(receipt_json(receipt), ensure_ascii=False, indent=2)
            say(f"{between}\n    {row.replace(chr(10), chr(10) + '    ')}")
            between = ","
    say("\n  ]\n}\n" if between == "," else f"{between}]\n}}\n")
