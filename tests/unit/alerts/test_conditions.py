"""Which alerts are open, as a table: the moment, and what is told of it."""

from typing import Any

import pytest

from ingestd.alerts.conditions import Kind, conditions, is_unknown
from ingestd.alerts.snapshot import Snapshot, SourceState, Trouble
from ingestd.domain.retry import later
from tests.unit.alerts.cases import DAY, HOUR, MINUTE, SETTINGS, START, books, failing, needy, snapshot

LOW = SETTINGS.low_disk


def source(**given: Any) -> Snapshot:
    return snapshot(sources={"inbox": SourceState(scanned=True, **given)})


def ago(span: Any) -> Trouble:
    return Trouble(since=later(START, -span), reason="No such folder.")


@pytest.mark.parametrize(
    ("moment", "titles"),
    [
        (snapshot(), []),
        (snapshot(books=books(needy(1))), ["1 receipt needs you"]),
        (snapshot(books=books(needy(1), needy(2), count=1234)), ["1,234 receipts need you"]),
        (snapshot(books=books(oldest_waiting=later(START, -4 * HOUR))), ["receipts have waited for 4 h"]),
        (snapshot(books=books(oldest_waiting=later(START, -4 * HOUR + MINUTE))), []),
        (snapshot(**failing(later(START, -30 * MINUTE))), ["the target concur fails"]),
        (snapshot(**failing(later(START, -29 * MINUTE))), []),
        (snapshot(**failing(later(START, -HOUR), account="ann")), ["the target concur (ann) fails"]),
        (source(trouble=ago(HOUR)), ["the folder inbox is in trouble"]),
        (source(trouble=ago(MINUTE)), []),
        (source(paused=ago(MINUTE)), ["nothing is taken from inbox"]),
        (snapshot(logins={("concur", None): later(START, 31 * DAY)}), []),
        (snapshot(logins={("concur", None): later(START, 30 * DAY)}), ["the login of concur ends soon"]),
        (
            snapshot(logins={("concur", "ann"): later(START, 7 * DAY)}),
            ["the login of concur (ann) ends soon"],
        ),
        (snapshot(logins={("concur", None): START}), ["the login of concur has ended"]),
        (snapshot(free_bytes=LOW), []),
        (snapshot(free_bytes=LOW - 1), ["the disk is nearly full"]),
        (snapshot(free_bytes=None), []),
        (snapshot(lacking={"letters": "WeasyPrint is not installed"}), ["mails can't be made into PDFs"]),
        (snapshot(books=None, unreadable=ago(MINUTE)), ["the ledger can't be read"]),
    ],
)
def test_a_moment_has_its_alerts(moment: Snapshot, titles: list[str]) -> None:
    assert [alert.title for alert in conditions(moment, SETTINGS)] == titles


def test_what_stops_everything_is_told_before_what_waits_for_a_person() -> None:
    moment = snapshot(
        books=books(needy(1), oldest_waiting=later(START, -DAY)),
        free_bytes=1,
        logins={("concur", None): START},
        **failing(later(START, -HOUR)),
    )
    kinds = [alert.kind for alert in conditions(moment, SETTINGS)]
    assert kinds == [Kind.DISK, Kind.TARGET, Kind.WAITING, Kind.RECEIPTS, Kind.LOGIN]


def test_a_login_is_told_anew_at_each_threshold_and_is_a_notice_until_it_ends() -> None:
    def at(days: int) -> tuple[int, bool]:
        (alert,) = conditions(snapshot(logins={("concur", None): later(START, days * DAY)}), SETTINGS)
        return alert.news, alert.notice

    assert [at(days) for days in (30, 8, 7, 1, 0)] == [
        (-30, True), (-30, True), (-7, True), (-1, True), (0, False),
    ]  # fmt: skip


def test_what_was_told_stays_open_while_it_fails_at_all() -> None:
    moment = snapshot(**failing(later(START, -MINUTE)))
    assert not conditions(moment, SETTINGS)
    assert [alert.key for alert in conditions(moment, SETTINGS, told={"target:concur"})] == ["target:concur"]


def test_a_disk_that_was_low_is_well_only_with_a_tenth_more() -> None:
    a_little_more = snapshot(free_bytes=LOW + 1)
    assert conditions(a_little_more, SETTINGS, told={"disk:"})
    assert not conditions(snapshot(free_bytes=LOW * 11 // 10), SETTINGS, told={"disk:"})


@pytest.mark.parametrize(
    ("key", "moment", "unknown"),
    [
        ("receipts:", snapshot(books=None), True),
        ("receipts:", snapshot(), False),
        ("target:concur", snapshot(started_at=later(START, -MINUTE)), True),
        ("target:concur", snapshot(started_at=later(START, -MINUTE), answered=frozenset({"concur"})), False),
        ("target:concur", snapshot(started_at=later(START, -HOUR)), False),
        ("target:concur/ann", snapshot(started_at=START, answered=frozenset({"concur"})), True),
        ("source:inbox", snapshot(sources={"inbox": SourceState(scanned=False)}), True),
        ("source:inbox", snapshot(), False),
        ("source:gone", snapshot(), False),
        ("disk:", snapshot(free_bytes=None), True),
        ("login:concur", snapshot(started_at=START), False),
    ],
)
def test_absence_says_nothing_before_somebody_has_looked(key: str, moment: Snapshot, unknown: bool) -> None:
    assert is_unknown(key, moment, SETTINGS) is unknown
