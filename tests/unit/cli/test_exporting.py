"""Tables: which receipts, what stands in them, and that no cell is a formula."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from ingestd.cli import paging
from ingestd.cli.exporting import _cell
from ingestd.domain.outcome import Evidence, Refused
from ingestd.domain.receipt import SlotBefore
from ingestd.domain.retry import Step
from ingestd.domain.states import Event
from ingestd.ledger import SqlLedger, SqlLedgerReader
from tests.contract.ledger_making import START, accept_one, after, claim_one, make_ready, upload
from tests.unit.cli.place import Place

DAY_S = 86400


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def lines(place: Place, *options: str) -> list[dict[str, Any]]:
    done = place.ingestd("export", "--format", "jsonl", *options)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


@pytest.fixture
def ten_days(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """One receipt of each day from 2025-10-09T08:53:20Z on, and three pages of them."""
    monkeypatch.setattr(paging, "PAGE", 4)

    async def fill(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        for n in range(10):
            receipt = await accept_one(ledger, f"{n}", now=after(n * DAY_S))
            if n % 2:
                await ledger.move(receipt, Event.REJECT, now=after(n * DAY_S), reason="blank")

    place.fill(fill)
    return place


@pytest.mark.parametrize(
    ("options", "days"),
    [
        ([], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (["--since", "2025-10-16"], [9, 8, 7]),
        (["--until", "2025-10-11T08:53:20"], [1, 0]),
        (["--until", "2025-10-11T08:53:20.000001"], [2, 1, 0]),
        (["--since", "2025-10-11T08:53:20Z", "--until", "2025-10-13T10:53:21+02:00"], [4, 3, 2]),
        (["--since", "2025-10-12", "--until", "2025-10-17", "--state", "rejected"], [7, 5, 3]),
        (["--since", "2s"], []),
        (["--until", "1960-01-01"], []),
        (["--until", "9999-12-31"], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ],
)
def test_only_what_came_between_two_times_is_exported(
    ten_days: Place, options: list[str], days: list[int]
) -> None:
    assert [row["filename"] for row in lines(ten_days, *options)] == [f"{day}.pdf" for day in days]


@pytest.mark.parametrize("text", ["yesterday", "2025-13-01", "20", "-2d"])
def test_a_time_that_is_none_is_one_clear_line(place: Place, text: str) -> None:
    done = place.ingestd("export", "--since", text)
    assert f"--since {text}: write a day or moment in UTC" in str(done.exception)


def test_the_first_and_the_last_attempt_stand_in_the_row_when_asked_for(place: Place) -> None:
    async def fill(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        await accept_one(ledger, "waits", now=after(-5))
        await make_ready(ledger, "twice")
        for n in range(2):
            claimed = await claim_one(ledger, now=after(n * 10))
            begun = await ledger.begin(claimed, now=after(n * 10), slot_before=SlotBefore.EMPTY)
            evidence = Evidence(status=404 + n, correlation_id=f"C{n}", error_id=f"E{n}")
            refused = Refused(reason="No.", fix="", evidence=evidence)
            event = Step(event=Event.REFUSE) if n else Step(event=Event.DEFER, due_at=after(10))
            await ledger.finish(begun, event, refused, now=after(n * 10 + 1.5))

    place.fill(fill)
    twice, waits = lines(place, "--attempts")
    told = {key: twice[key] for key in twice if key.startswith(("tries", "first_", "last_"))}
    assert told == {
        "tries": 2, "first_attempt_at": "2025-10-09T08:53:20.000000Z",
        "last_attempt_at": "2025-10-09T08:53:30.000000Z", "last_milliseconds": 1500,
        "last_outcome": "refused", "last_status": 405, "last_correlation_id": "C1",
        "last_error_id": "E1", "last_slot_before": "empty",
    }  # fmt: skip
    assert (waits["tries"], waits["first_attempt_at"], waits["last_slot_before"]) == (0, None, None)
    (row, _) = csv.DictReader(io.StringIO(place.ingestd("export", "--attempts").stdout))
    assert (row["last_correlation_id"], row["last_status"], row["verified_at"]) == ("C1", "405", "")


def test_when_an_upload_was_verified_stands_in_the_row(place: Place) -> None:
    async def fill(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        await ledger.verified(await upload(ledger), now=after(3), note="Same.", same=True)

    place.fill(fill)
    (row,) = lines(place)
    assert row["verified_at"] == "2025-10-09T08:53:23.000000Z"
    assert after(3) > START


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert _cell(text) == f"'{text}"


@pytest.mark.parametrize("options", [["--force"], ["--evidence", "00000000", "--since", "2d"]])
def test_options_that_do_not_go_together_are_told(place: Place, options: list[str]) -> None:
    done = place.ingestd("export", *options)
    assert "--evidence" in str(done.exception)
