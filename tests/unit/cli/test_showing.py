"""What `show` tells of a receipt that came by mail, and of arrivals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingestd.domain.mail import Filed
from ingestd.interfaces import NewArrival, Refusal
from ingestd.ledger import SqlLedger, SqlLedgerReader, SqlMailBook
from tests.contract.ledger_mail import ACCOUNT, at, message
from tests.contract.ledger_making import START, document, new_arrival, new_receipt
from tests.unit.cli.place import Place

LOGO = Refusal(filename="logo\x1b.png", reason="It is a logo.")
Accept = Callable[[NewArrival], list[str]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def accept(place: Place) -> Accept:
    """Commits an arrival; the IDs of its receipts."""

    def run(arrival: NewArrival) -> list[str]:
        ids: list[str] = []

        async def fill(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
            ids.extend(receipt.id for receipt in (await ledger.accept(arrival, now=START)).receipts)

        place.fill(fill)
        return ids

    return run


def show(place: Place, shown: str) -> dict[str, Any]:
    done = place.ingestd("show", shown, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def file_and_answer(place: Place, arrival: str, *, to: str | None) -> None:
    async def act(ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        book = SqlMailBook(ledger, reader)
        await book.moved(arrival, place=at(9, "Ingestd/Uploaded"), filed=Filed.UPLOADED, now=START)
        await book.answered(arrival, address=to, now=START)

    place.fill(act)


def test_a_receipt_tells_which_mail_brought_it_and_where_that_is_now(place: Place, accept: Accept) -> None:
    arrival = message(new_receipt(), uid=5)
    (receipt,) = accept(arrival)
    lines = place.ingestd("show", receipt).stdout.splitlines()
    for line in (
        "mailbox    mail",
        "sender     ann@example.com",
        "message    <1@example.com>",
        f"found in   INBOX, UID 5, of {ACCOUNT}",
        f"now in     INBOX, UID 5, of {ACCOUNT}",
        "answered   not yet",
    ):
        assert line in lines
    file_and_answer(place, arrival.id, to="Ann@example.com")
    lines = place.ingestd("show", receipt).stdout.splitlines()
    assert any(
        line.startswith(f"now in     Ingestd/Uploaded, UID 9, of {ACCOUNT}, since 2025-") for line in lines
    )
    (answered,) = [line for line in lines if line.startswith("answered")]
    assert answered.endswith("  ann@example.com")


def test_programs_learn_of_the_mail_too(place: Place, accept: Accept) -> None:
    arrival = message(new_receipt(), uid=5)
    (receipt,) = accept(arrival)
    before = show(place, receipt)["mail"]
    assert (before["now"], before["filed"], before["answered_at"]) == (before["found"], None, None)
    file_and_answer(place, arrival.id, to=None)
    shown = show(place, receipt)
    mail = shown["mail"]
    assert (shown["id"], shown["arrival"], mail["arrival"]) == (receipt, arrival.id, arrival.id)
    assert (mail["sender"], mail["message_id"]) == ("ann@example.com", "<1@example.com>")
    assert mail["subject"] == "Fwd: hotel?", "whatever the header held"
    assert mail["found"] == {"account": ACCOUNT, "mailbox": "INBOX", "uidvalidity": 7, "uid": 5}
    assert (mail["now"]["mailbox"], mail["now"]["uid"], mail["filed"]) == ("Ingestd/Uploaded", 9, "uploaded")
    assert (mail["answered"], mail["answered_to"]) == (True, None)
    assert mail["answered_at"] == mail["moved_at"] == shown["received_at"]


def test_a_receipt_of_a_folder_came_by_no_mail(place: Place, accept: Accept) -> None:
    (receipt,) = accept(new_arrival(new_receipt()))
    assert show(place, receipt)["mail"] is None
    assert "mailbox" not in place.ingestd("show", receipt).stdout


def test_the_id_of_an_arrival_with_one_receipt_shows_that_receipt_and_its_mail(
    place: Place, accept: Accept
) -> None:
    accept(new_arrival(new_receipt()))
    arrival = message(new_receipt(), uid=5)
    (repeated,) = accept(arrival)
    shown = show(place, arrival.id.upper())
    assert (shown["id"], shown["mail"]["arrival"]) == (repeated, arrival.id)
    assert shown["arrival"] != arrival.id, "the folder's was the first"


def test_the_id_of_an_arrival_with_several_receipts_lists_them_in_their_order(
    place: Place, accept: Accept
) -> None:
    receipts = [new_receipt(document(f"{n}.pdf", f"{n}")) for n in range(3)]
    arrival = message(*receipts, ignored=[LOGO])
    ids = accept(arrival)
    shown = show(place, arrival.id)
    assert [receipt["id"] for receipt in shown["receipts"]] == ids
    assert shown["ignored"] == [{"filename": LOGO.filename, "reason": LOGO.reason}]
    assert (shown["arrival"], shown["source"]) == (arrival.id, "mail")
    text = place.ingestd("show", arrival.id).stdout
    assert [line.split("\t")[0] for line in text.splitlines()[-3:]] == ids
    assert "ignored    logo\ufffd.png: It is a logo." in text
    assert "message    <1@example.com>" in text


def test_an_arrival_without_receipts_tells_what_was_left_out(place: Place, accept: Accept) -> None:
    arrival = message(ignored=[LOGO])
    accept(arrival)
    assert show(place, arrival.id)["receipts"] == []
    assert "receipts   none" in place.ingestd("show", arrival.id).stdout


def test_an_id_that_nothing_has_is_named(place: Place, accept: Accept) -> None:
    accept(new_arrival(new_receipt()))
    done = place.ingestd("show", "00000000-0000")
    assert "00000000-0000" in str(done.exception)
