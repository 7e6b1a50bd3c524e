from dataclasses import replace

import pytest

from ingestd.domain.document import Instant
from ingestd.domain.states import State
from ingestd.interfaces import HistoryEntry
from ingestd.ledger import verify_chain
from ingestd.ledger.chain import START, digest

STEPS = [
    ("accept", None, State.RECEIVED, None),
    ("hold", State.RECEIVED, State.HELD, "No route fits this file."),
    ("drop", State.HELD, State.DROPPED, None),
]


def chain() -> list[HistoryEntry]:
    entries: list[HistoryEntry] = []
    previous = START
    for version, (event, before, after, reason) in enumerate(STEPS, start=1):
        at = Instant(version)
        previous = digest(
            previous,
            receipt="r",
            version=version,
            at=at,
            event=event,
            before=before,
            after=after,
            actor="ingestd",
            reason=reason,
        )
        entry = HistoryEntry(
            receipt="r",
            version=version,
            at=at,
            event=event,
            before=before,
            after=after,
            actor="ingestd",
            reason=reason,
            digest=previous,
        )
        entries.append(entry)
    return entries


def test_an_untouched_chain_verifies() -> None:
    assert verify_chain(chain())
    assert verify_chain([])


@pytest.mark.parametrize(
    "change",
    [
        {"receipt": "s"},
        {"version": 3},
        {"at": Instant(9)},
        {"event": "reject"},
        {"before": None},
        {"after": State.REJECTED},
        {"actor": "ann"},
        {"reason": "It was lunch."},
        {"digest": "0" * 64},
    ],
)
def test_no_part_of_a_row_can_be_changed(change: dict[str, object]) -> None:
    entries = chain()
    entries[1] = replace(entries[1], **change)  # type: ignore[arg-type]  # one field each, of its own type
    assert not verify_chain(entries)


@pytest.mark.parametrize("missing", [0, 1])
def test_no_row_can_be_taken_out(missing: int) -> None:
    entries = chain()
    del entries[missing]
    assert not verify_chain(entries)


def test_rows_can_not_change_places() -> None:
    first, second, third = chain()
    assert not verify_chain([first, third, second])
