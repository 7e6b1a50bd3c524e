"""Commands that only look: list, balance, export.

Receipts are read and written page by page, so that a ledger of a million of them costs as much memory as one
of a thousand, and no transaction lasts longer than a page.
"""

import csv
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO, assert_never

import typer

from ingestd.cli.rendering import balance_json, destined, print_json, print_rows, receipt_json, remarks
from ingestd.cli.session import ConfigOption, JsonOption, configured, with_reader
from ingestd.configfile import find_configuration, load_configuration
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State
from ingestd.interfaces import LedgerReader

PAGE = 1000
"""Receipts read in one transaction, and rows of one table at a terminal."""


class ExportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


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
    with_reader(settings, lambda reader: tell(_pages(reader, state or (), limit)))


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


def export(
    config: ConfigOption = None,
    form: Annotated[ExportFormat, typer.Option("--format", help="csv or jsonl.")] = ExportFormat.CSV,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
    ] = None,
    state: Annotated[list[State] | None, typer.Option("--state", help="Only this state.")] = None,
) -> None:
    """Write every receipt as CSV or JSON lines, for a spreadsheet or another program.

    \b
    ingestd export --format csv -o receipts.csv
    ingestd export --format jsonl --state uploaded
    """
    with ExitStack() as stack:
        load_configuration(find_configuration(config))
        # Opened before root steps down to the owner of the storage, who may not write there.
        file = stack.enter_context(_open(output)) if output else sys.stdout
        settings = configured(config)
        anew = output is not None and stat.S_ISREG(os.fstat(file.fileno()).st_mode)

        async def write(reader: LedgerReader) -> None:
            rows, first = _Rows(file, form), True
            async for page in _pages(reader, state or (), None):
                if first and anew:
                    file.truncate(0)
                first = False
                rows.write(page)

        with_reader(settings, write)


async def _pages(
    reader: LedgerReader, states: Collection[State], limit: int | None
) -> AsyncIterator[Sequence[Receipt]]:
    """At least one page, which may be empty. A receipt that moves meanwhile is told as its page finds it."""
    before, told = None, 0
    while True:
        size = PAGE if limit is None else min(PAGE, limit - told)
        page = await reader.find(states=states, limit=size, before=before)
        yield page
        told += len(page)
        if len(page) < size or told == limit:
            return
        before = page[-1].id


async def _tell_rows(pages: AsyncIterator[Sequence[Receipt]]) -> None:
    count = 0
    async for page in pages:
        rows = ([r.id, str(r.state), r.path, destined(r), r.image_id or "", remarks(r)] for r in page)
        if page or count == 0:
            print_rows(("receipt", "state", "file", "slot", "image ID", "reason"), rows)
        count += len(page)
    if sys.stdout.isatty():
        typer.echo(f"\n{count} receipts" + ("" if count else "; nothing matches"), err=True)


async def _tell_as_json(pages: AsyncIterator[Sequence[Receipt]]) -> None:
    """One document, written as print_json would."""
    between = '{\n  "receipts": ['
    say = sys.stdout.write
    async for page in pages:
        for receipt in page:
            row = json.dumps(receipt_json(receipt), ensure_ascii=False, indent=2)
            say(f"{between}\n    {row.replace(chr(10), chr(10) + '    ')}")
            between = ","
    say("\n  ]\n}\n" if between == "," else f"{between}]\n}}\n")


def _open(path: Path) -> TextIO:
    """To append: what an earlier export wrote is there until the new rows are known."""
    try:
        return path.open("a", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigurationError([f"--output {path}: can't be written: {error.strerror}"]) from None


class _Rows:
    """Receipts as lines of a file."""

    def __init__(self, file: TextIO, form: ExportFormat) -> None:
        self._file = file
        self._form = form
        self._table: csv.DictWriter[str] | None = None

    def write(self, receipts: Sequence[Receipt]) -> None:
        rows = (receipt_json(receipt) for receipt in receipts)
        match self._form:
            case ExportFormat.JSONL:
                self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            case ExportFormat.CSV:
                for row in rows:
                    self._write_cells({key: _cell(value) for key, value in row.items()})
            case form:
                assert_never(form)

    def _write_cells(self, cells: dict[str, str]) -> None:
        if self._table is None:
            self._table = csv.DictWriter(self._file, fieldnames=list(cells))
            self._table.writeheader()
        self._table.writerow(cells)


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: file names and reasons come from strangers."""
    text = (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict | list)
        else str("" if value is None else value)
    )
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
