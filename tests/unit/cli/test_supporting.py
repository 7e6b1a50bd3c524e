"""What `show` tells somebody who helps: each attempt, what happens next, and whether it was verified."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ingestd.domain.outcome import Evidence, Unconfirmed, Uploaded
from ingestd.domain.receipt import SlotBefore
from ingestd.domain.retry import Step
from ingestd.domain.states import Event
from ingestd.ledger import SqlLedger, SqlLedgerReader
from tests.contract.ledger_making import accept_one, after, claim_one, make_ready
from tests.unit.cli.place import Place

EVIDENCE = Evidence(
    status=502, correlation_id="C-1", error_id="E-7", message="Bad\x1b gateway", bytes_sent=12345
)
Act = Callable[[SqlLedger], Awaitable[str]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def told(place: Place, act: Act) -> tuple[str, dict[str, Any]]:
    """What `show` says of the receipt that `act` made, to people and to programs."""
    ids: list[str] = []

    async def fill(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        ids.append(await act(ledger))

    place.fill(fill)
    shown: dict[str, Any] = json.loads(place.ingestd("show", ids[0], "--json").stdout)
    return place.ingestd("show", ids[0]).stdout, shown


def lost(*, ask_at: float | None) -> Act:
    async def act(ledger: SqlLedger) -> str:
        await make_ready(ledger)
        begun = await ledger.begin(await claim_one(ledger), now=after(1), slot_before=SlotBefore.EMPTY)
        step = Step(event=Event.LOSE, due_at=None if ask_at is None else after(ask_at))
        outcome = Unconfirmed(reason="No answer.", evidence=EVIDENCE)
        return (await ledger.finish(begun, step, outcome, now=after(2.5))).id

    return act


def uploaded(*looks: tuple[str, bool, float | None], verify_at: float | None = 10) -> Act:
    """Read back so often: what was noted, whether it was the same, and when to look again."""

    async def act(ledger: SqlLedger) -> str:
        await make_ready(ledger)
        begun = await ledger.begin(await claim_one(ledger), now=after(1))
        step = Step(event=Event.CONFIRM, verify_at=None if verify_at is None else after(verify_at))
        receipt = await ledger.finish(begun, step, Uploaded(image_id="I"), now=after(2))
        for n, (note, same, again) in enumerate(looks):
            later = None if again is None else after(again)
            receipt = await ledger.verified(receipt, now=after(20 + n), note=note, same=same, verify_at=later)
        return receipt.id

    return act


def test_an_attempt_tells_what_support_needs(place: Place) -> None:
    text, shown = told(place, lost(ask_at=None))
    (attempt,) = shown["tries"]
    assert attempt["milliseconds"] == 1500
    assert (attempt["status"], attempt["correlation_id"], attempt["error_id"]) == (502, "C-1", "E-7")
    assert (attempt["bytes_sent"], attempt["slot_before"]) == (12345, "empty")
    assert attempt["started_at"] < attempt["finished_at"]
    attempts = text.partition("\nattempts\n")[2].partition("\nfor support")[0]
    for words in (
        "HTTP 502, unconfirmed, 1,500 ms",
        "12,345 bytes sent",
        "correlation ID C-1",
        "error ID E-7",
        "the slot was empty before",
        "message: Bad\ufffd gateway",
    ):
        assert words in attempts


def test_the_block_for_support_names_no_file_and_no_person_and_its_times_are_utc(place: Place) -> None:
    text, shown = told(place, lost(ask_at=None))
    block = text.partition("\nfor support (paste this into a ticket)\n")[2]
    joined = " ".join(block.split())
    assert shown["id"] in joined and "concur:receipt, unconfirmed since 2025-10-09T08:53:22.500000Z" in joined
    assert "attempt 1 at 2025-10-09T08:53:21.000000Z: HTTP 502, unconfirmed, 1,500 ms" in joined
    assert "correlation ID C-1, error ID E-7" in joined
    assert "lunch" not in block and "scanner" not in block and "\x1b" not in block
    assert all(len(line) <= 100 for line in block.splitlines())


def test_what_the_target_never_saw_needs_no_support(place: Place) -> None:
    async def act(ledger: SqlLedger) -> str:
        return (await accept_one(ledger)).id

    text, shown = told(place, act)
    assert "for support" not in text and "attempts" not in text
    assert shown["verification"] is None


def test_an_upload_in_doubt_tells_when_the_target_is_asked(place: Place) -> None:
    text, shown = told(place, lost(ask_at=60))
    assert shown["ask_at"] == "2025-10-09T08:54:20.000000Z"
    assert shown["next"].startswith("Nothing: the target is asked at 2025-")
    assert shown["next"] in text and "ingestd confirm" not in text


def test_an_upload_in_doubt_that_nobody_asks_about_needs_a_person(place: Place) -> None:
    text, shown = told(place, lost(ask_at=None))
    assert shown["ask_at"] is None
    assert f"ingestd confirm {shown['id']} --image-id ID" in shown["next"] and shown["next"] in text


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (uploaded(verify_at=None), "no: `verify` was off for its target"),
        (uploaded(), "not yet: it is read back at 2025-10-09T08:53:30.000000Z"),
        (
            uploaded(("HTTP 503", False, 99)),
            "not yet: it is read back at 2025-10-09T08:54:59.000000Z (HTTP 503)",
        ),
        (
            uploaded(("HTTP 503", False, 30), ("Not verifiable: gone", False, None)),
            "no. Not verifiable: gone",
        ),
        (uploaded(("The same.", True, None)), "2025-10-09T08:53:40.000000Z  The same."),
    ],
)
def test_an_upload_tells_whether_it_was_verified_or_why_not(place: Place, act: Act, words: str) -> None:
    text, shown = told(place, act)
    assert shown["verification"] == words
    (line,) = [line for line in text.splitlines() if line.startswith("verified")]
    assert line.split()[1] == words.split()[0] or line.split()[1].startswith("2025-")
