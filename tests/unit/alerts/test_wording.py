"""What people read: in a mail all, in a chat nothing that came by mail, and nothing that calls anybody."""

import json

from ingestd.alerts.conditions import conditions
from ingestd.alerts.digest import Message
from ingestd.alerts.snapshot import Snapshot, SourceState, Trouble
from ingestd.alerts.wording import LONGEST_CHAT, LONGEST_SUBJECT, as_chat, as_fields, as_mail, subject
from ingestd.domain.retry import later
from tests.unit.alerts.cases import DAY, HOUR, SETTINGS, START, books, failing, needy, snapshot

SUBJECT_OF_A_MAIL = "Re: surgery of 3 May"


def trouble(moment: Snapshot, *gone: str) -> Message:
    return Message(event="trouble", alerts=conditions(moment, SETTINGS), gone=gone)


def test_a_mail_says_what_needs_whom_and_what_to_do() -> None:
    moment = snapshot(books=books(needy(2), needy(1), count=12), **failing(later(START, -HOUR)))
    message = trouble(moment, "the disk is nearly full")
    assert subject(message, "srv1") == "ingestd on srv1: the target concur fails; 12 receipts need you"
    assert as_mail(message, "srv1", START) == (
        "ingestd on srv1 needs somebody.\n"
        "\n"
        "The target concur has failed since 2025-10-09 07:53 UTC.\n"
        "  The target answers 503.\n"
        "  What to do: ingestd doctor; receipts for it wait, and go by themselves when it works again\n"
        "\n"
        "12 receipts are held, rejected, failed or unconfirmed.\n"
        "  0199-0002  failed  taxi2.pdf: The report does not exist.\n"
        "  0199-0001  failed  taxi1.pdf: The report does not exist.\n"
        "  … and 10 more: ingestd list --state held, rejected, failed or unconfirmed\n"
        "  What to do: ingestd show ID says what to do; then ingestd retry, confirm or drop\n"
        "\n"
        "It is over that the disk is nearly full.\n"
        "\n"
        "-- \n"
        "ingestd on srv1, 2025-10-09 08:53 UTC\n"
    )


def test_good_news_say_what_is_over() -> None:
    message = Message(event="well", gone=("the target concur fails", "3 receipts need you"))
    assert subject(message, "srv1") == "ingestd on srv1: all is well again"
    over = "It is over that the target concur fails; that 3 receipts need you."
    assert over in as_mail(message, "srv1", START) and over in as_chat(message, "srv1", quotable=True)


def test_a_chat_learns_nothing_that_came_by_mail() -> None:
    mail = needy(1, discreet=True, filename="payslip.pdf", reason=f"Held: {SUBJECT_OF_A_MAIL}")
    file = needy(2, reason="It looks like receipt 0199-0001 (payslip.pdf).")
    flooded = Trouble(since=later(START, -HOUR), reason="mallory@example.com sent 900 messages")
    moment = snapshot(
        books=books(mail, file), sources={"post": SourceState(scanned=True, discreet=True, trouble=flooded)}
    )
    message = trouble(moment)
    told = as_chat(message, "srv1", quotable=False)
    told += json.dumps(as_fields(message, "srv1", START, quotable=False))
    for secret in ("payslip", "surgery", "mallory"):
        assert secret not in told
    assert "0199-0001 failed" in told and "taxi2.pdf" in told and "mailbox post is in trouble" in told
    assert "payslip" in as_mail(message, "srv1", START), "the people of the house may know"


def test_a_file_name_calls_nobody_and_is_no_line_of_its_own() -> None:
    name = "<!channel> @all `x` [click](http://evil.example)\nAll is well\u202e.pdf"
    message = trouble(snapshot(books=books(needy(1, filename=name))))
    told = as_chat(message, "srv1", quotable=True)
    assert "<" not in told and "@" not in told and "\nAll is well" not in told
    line = next(line for line in told.splitlines() if "click" in line)
    assert line.count("`") == 4, "name and reason, each enclosed"
    mailed = as_mail(message, "srv1", START)
    assert "\nAll is well" not in mailed and "\u202e" not in mailed


def test_texts_are_bounded_whatever_comes() -> None:
    long = Trouble(since=later(START, -DAY), reason="x" * 100_000)
    sources = {f"folder{n}": SourceState(scanned=True, trouble=long, paused=long) for n in range(300)}
    message = trouble(snapshot(sources=sources))
    assert len(subject(message, "srv1")) <= LONGEST_SUBJECT
    assert "more)" in subject(message, "srv1")
    assert len(as_chat(message, "srv1", quotable=True)) <= LONGEST_CHAT
