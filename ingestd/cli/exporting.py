"""`ingestd export`: every receipt as a table or JSON lines, or the evidence of a few (gathering.py).

Receipts are read and written page by page (paging.py), so that memory is flat whatever their number.
"""

import csv
import json
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO, assert_never

import typer

from ingestd.cli.gathering import export_evidence
from ingestd.cli.paging import pages
from ingestd.cli.rendering import milliseconds, moment, receipt_json
from ingestd.cli.session import ConfigOption, configured, with_reader
from ingestd.clock import process_clock
from ingestd.configfile import find_configuration, load_configuration
from ingestd.configfile.values import parse_duration
from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.receipt import Attempt
from ingestd.domain.retry import later
from ingestd.domain.states import State
from ingestd.interfaces import LedgerReader


class ExportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


Row = dict[str, Any]


def export(
    config: ConfigOption = None,
    form: Annotated[
        ExportFormat | None, typer.Option("--format", help="csv or jsonl. [default: csv]", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write there instead of stdout; evidence without it goes to the present directory.",
        ),
    ] = None,
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only this state; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only what came then or later.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only what came before then.")
    ] = None,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="Also the first and the last attempt of each; takes longer.")
    ] = False,
    evidence: Annotated[
        list[str] | None,
        typer.Option(
            "--evidence",
            metavar="ID",
            help="A zip that proves what became of this receipt or arrival; may be repeated.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --evidence: replace FILE.")] = False,
) -> None:
    """Write every receipt as CSV or JSON lines, for a spreadsheet or another program; or evidence of some.

    A TIME is a day or a moment in UTC (2026-01-31, 2026-01-31T15:00), or how long ago (30d, 12h).

    \b
    ingestd export --format csv -o receipts.csv
    ingestd export --format jsonl --state uploaded --since 30d
    ingestd export --evidence 019a6b3c-5d1e -o lunch.zip
    """
    if evidence:
        if form or state or since or until or attempts:
            raise ConfigurationError(["--evidence goes with -o and --force only; the others are for tables"])
        export_evidence(config, evidence, output, force=force)
        return
    if force:
        raise ConfigurationError(["--force goes with --evidence; a table replaces the earlier one anyway"])
    now = process_clock()()
    came_since, came_until = _instant("--since", since, now), _instant("--until", until, now)
    with ExitStack() as stack:
        load_configuration(find_configuration(config))
        # Opened before root steps down to the owner of the storage, who may not write there.
        file = stack.enter_context(_open(output)) if output else sys.stdout
        settings = configured(config)
        anew = output is not None and stat.S_ISREG(os.fstat(file.fileno()).st_mode)

        async def write(reader: LedgerReader) -> None:
            lines, first = _Lines(file, form or ExportFormat.CSV), True
            async for page in pages(reader, state or (), since=came_since, until=came_until):
                if first and anew:
                    file.truncate(0)
                first = False
                for receipt in page:
                    row = receipt_json(receipt)
                    if attempts:
                        row |= _tried(await reader.attempts(receipt.id))
                    lines.write(row)

        with_reader(settings, write)


def _instant(option: str, text: str | None, now: Instant) -> Instant | None:
    """Raises ConfigurationError with what to write instead."""
    if text is None:
        return None
    try:
        return later(now, -parse_duration(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
        whole = at.replace(tzinfo=at.tzinfo or UTC)
        return Instant(round(whole.timestamp() * MICROSECONDS))
    except (ValueError, OverflowError):
        example = "a day or moment in UTC (2026-01-31, 2026-01-31T15:00), or how long ago (30d, 12h)"
        raise ConfigurationError([f"{option} {text}: write {example}"]) from None


def _tried(attempts: Sequence[Attempt]) -> Row:
    """All attempts there were; `attempts` of the row counts only those that were spent."""
    first = attempts[0] if attempts else None
    last = attempts[-1] if attempts else None
    return {
        "tries": len(attempts),
        "first_attempt_at": moment(first.started_at) if first else None,
        "last_attempt_at": moment(last.started_at) if last else None,
        "last_milliseconds": milliseconds(last) if last else None,
        "last_outcome": last.outcome if last else None,
        "last_status": last.status if last else None,
        "last_correlation_id": last.correlation_id if last else None,
        "last_error_id": last.error_id if last else None,
        "last_slot_before": str(last.slot_before) if last and last.slot_before else None,
    }


def _open(path: Path) -> TextIO:
    """To append: what an earlier export wrote is there until the new rows are known."""
    try:
        # A name of a file may hold bytes that are no UTF-8: they come out as \\udcXX, which JSON reads back.
        return path.open("a", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ConfigurationError([f"--output {path}: can't be written: {error.strerror}"]) from None


class _Lines:
    """Receipts as lines of a file."""

    def __init__(self, file: TextIO, form: ExportFormat) -> None:
        self._file = file
        self._form = form
        self._table: csv.DictWriter[str] | None = None

    def write(self, row: Row) -> None:
        match self._form:
            case ExportFormat.JSONL:
                self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            case ExportFormat.CSV:
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
