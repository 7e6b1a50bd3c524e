"""Commands that only look: list, balance, export."""

import csv
import json
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ingestd.cli.rendering import balance_json, destined, print_json, print_rows, receipt_json, remarks
from ingestd.cli.session import ConfigOption, JsonOption, configured, with_reader
from ingestd.configfile import find_configuration, load_configuration
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State


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
    receipts = with_reader(settings, lambda reader: reader.find(states=state or (), limit=limit))
    if as_json:
        print_json({"receipts": [receipt_json(receipt) for receipt in receipts]})
        return
    rows = ([r.id, str(r.state), r.path, destined(r), r.image_id or "", remarks(r)] for r in receipts)
    print_rows(("receipt", "state", "file", "slot", "image ID", "reason"), rows)
    if sys.stdout.isatty():
        typer.echo(f"\n{len(receipts)} receipts" + ("" if receipts else "; nothing matches"), err=True)


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
        receipts = with_reader(settings, lambda reader: reader.find(states=state or ()))
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and output is not None:
            file.truncate(0)
        _write(file, receipts, form)


def _open(path: Path) -> TextIO:
    """To append: what an earlier export wrote is there until the new rows are known."""
    try:
        return path.open("a", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigurationError([f"--output {path}: can't be written: {error.strerror}"]) from None


def _write(file: TextIO, receipts: Sequence[Receipt], form: ExportFormat) -> None:
    rows = (receipt_json(receipt) for receipt in receipts)
    if form is ExportFormat.JSONL:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        flat = {key: _cell(value) for key, value in row.items()}
        if writer is None:
            writer = csv.DictWriter(file, fieldnames=list(flat))
            writer.writeheader()
        writer.writerow(flat)


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: file names and reasons come from strangers."""
    text = (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict | list)
        else str("" if value is None else value)
    )
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
