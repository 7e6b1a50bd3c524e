"""Lists and exports of many receipts come page by page, and look as if they came at once."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from ingestd.cli import paging
from ingestd.cli.rendering import receipt_json
from ingestd.domain.states import Event, State
from ingestd.ledger import SqlLedger, SqlLedgerReader
from tests.contract.ledger_making import START, accept_one, after
from tests.unit.cli.place import Place

PAGE = 7


@pytest.fixture(params=[0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
def filled(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Every third receipt is rejected."""
    monkeypatch.setattr(paging, "PAGE", PAGE)
    place = Place(tmp_path)

    async def fill(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        for n in range(request.param):
            receipt = await accept_one(ledger, f"lunch {n}\u2028", now=after(n))
            if n % 3 == 0:
                await ledger.move(receipt, Event.REJECT, now=START, reason="=blank")

    place.fill(fill)
    return place


def rows_of(place: Place, *states: State) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    async def read(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        found.extend(receipt_json(receipt) for receipt in await reader.find(states=states))

    place.fill(read)
    return found


def test_a_list_as_json_is_one_document_of_all_pages(filled: Place) -> None:
    rows = rows_of(filled)
    for limit in (None, 1, PAGE, PAGE + 1, 100):
        done = filled.ingestd("list", "--json", *(["--limit", str(limit)] if limit else []))
        assert done.exit_code == 0
        document = {"receipts": rows[:limit]}
        assert done.stdout == json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def test_a_list_of_states_leaves_none_out_and_tells_none_twice(filled: Place) -> None:
    for states in ([State.REJECTED], [State.REJECTED, State.RECEIVED], [State.FAILED]):
        options = [option for state in states for option in ("--state", state.value)]
        done = filled.ingestd("list", "--json", *options)
        assert json.loads(done.stdout)["receipts"] == rows_of(filled, *states)


def test_a_list_in_a_pipe_has_one_line_for_each_receipt(filled: Place) -> None:
    lines = filled.ingestd("list").stdout.split("\n")[:-1]
    assert [line.split("\t")[0] for line in lines] == [row["id"] for row in rows_of(filled)]


def test_an_export_has_one_heading_and_every_row(filled: Place) -> None:
    rows = rows_of(filled)
    target = filled.directory / "export"
    target.write_text("what an earlier export left\n" * 1000)
    assert filled.ingestd("export", "-o", str(target)).exit_code == 0
    text = target.read_bytes().decode()
    assert [row["id"] for row in csv.DictReader(io.StringIO(text))] == [row["id"] for row in rows]
    assert text.count("received_at") == (1 if rows else 0)
    done = filled.ingestd("export", "--format", "jsonl", "--state", "rejected")
    lines = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert lines == rows_of(filled, State.REJECTED)
