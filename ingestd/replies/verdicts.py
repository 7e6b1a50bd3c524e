"""What became of a message, in sentences: the content of an answer, before it is text or markup.

What needs the sender comes first. Nothing here is escaped; everything of strangers is one bounded line.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never

from ingestd.domain.document import MICROSECONDS, Document, Instant
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Slot
from ingestd.domain.states import State
from ingestd.interfaces import Mailed, MailedReceipt, Refusal
from ingestd.replies.presentable import isolated, one_line
from ingestd.replies.wording import Wording

MOST_ROWS = 50
"""Receipts that are listed one by one; the others are counted."""
MOST_LEFT_OUT = 20
MOST_NAMES = 5
"""Of the documents of one receipt, or of parts left out for the same reason."""
MOST_WARNINGS = 3
_NAME, _REASON, _IDENTIFIER = 120, 500, 200


class Verdict(StrEnum):
    """How a receipt ended, as far as the sender is concerned; in the order in which it is told."""

    REFUSED = "refused"
    WAITING = "waiting"
    UNDERWAY = "underway"
    UPLOADED = "uploaded"
    REPEATED = "repeated"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Entry:
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """`kind` is a Verdict, or "left_out"."""

    kind: str
    heading: str
    advice: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """`more` tells of receipts that are not listed; empty when all are."""

    headline: str
    sections: tuple[Section, ...]
    more: str
    footer: str


def content(mailed: Mailed, words: Wording, *, own_name: str) -> Content:
    """What an answer to this message says."""
    ranked = sorted(mailed.receipts, key=lambda one: list(Verdict).index(_verdict(one)))
    listed, others = ranked[:MOST_ROWS], ranked[MOST_ROWS:]
    sections = [
        _section(verdict, [one for one in listed if _verdict(one) is verdict], mailed, words)
        for verdict in Verdict
    ]
    return Content(
        headline=_headline(ranked, words),
        sections=(*(section for section in sections if section.entries), *_left_out(mailed, words)),
        more=words.say("more", count=len(others), list=_counted(others, words)) if others else "",
        footer=words.say(
            "footer",
            date=_date(mailed.received_at, words),
            name=own_name,
            arrival=one_line(mailed.arrival, most=_IDENTIFIER),
        ),
    )


def _verdict(one: MailedReceipt) -> Verdict:
    match one.receipt.state:
        case State.UPLOADED:
            return Verdict.REPEATED if one.repeat else Verdict.UPLOADED
        case State.REJECTED | State.FAILED:
            return Verdict.REFUSED
        case State.HELD | State.UNCONFIRMED:
            return Verdict.WAITING
        case State.DROPPED:
            return Verdict.DROPPED
        case State.RECEIVED | State.READY | State.CLAIMED | State.UPLOADING:
            return Verdict.UNDERWAY
        case _:
            assert_never(one.receipt.state)


def _headline(receipts: Sequence[MailedReceipt], words: Wording) -> str:
    verdicts = {_verdict(one) for one in receipts}
    match len(receipts), len(verdicts):
        case 0, _:
            return words.say("headline.nothing")
        case 1, _:
            return words.say(f"headline.one.{verdicts.pop()}")
        case count, 1:
            return words.say(f"headline.all.{verdicts.pop()}", count=count)
        case count, _:
            return words.say("headline.mixed", count=count, list=_counted(receipts, words))


def _counted(receipts: Sequence[MailedReceipt], words: Wording) -> str:
    counts = Counter(_verdict(one) for one in receipts)
    return ", ".join(words.say(f"headline.count.{v}", count=counts[v]) for v in Verdict if counts[v])


def _section(verdict: Verdict, receipts: Sequence[MailedReceipt], mailed: Mailed, words: Wording) -> Section:
    entries = tuple(
        Entry(_title(one, words), tuple(line for line in _lines(one, verdict, mailed, words) if line))
        for one in receipts
    )
    return Section(verdict, words.say(f"heading.{verdict}"), words.say(f"advice.{verdict}"), entries)


def _title(one: MailedReceipt, words: Wording) -> str:
    names = [_name(document, words) for document in one.documents[:MOST_NAMES]]
    if not names:
        return _presented(one.receipt.filename)
    if len(one.documents) == 1:
        return names[0]
    count = len(one.documents)
    return words.say("joined", count=count, names=_enumerated(names, count, words))


def _name(document: Document, words: Wording) -> str:
    if document.declared_type == MESSAGE_TYPE:
        return words.say("message_text")
    return _presented(document.arrived_as or document.filename)


def _presented(name: str) -> str:
    return isolated(one_line(name, most=_NAME)) or "?"


def _enumerated(names: Sequence[str], count: int, words: Wording) -> str:
    """The first of `count` names, and how many there are beside them."""
    shown = ", ".join(names)
    return shown if len(names) == count else words.say("and_more", names=shown, count=count - len(names))


def _lines(one: MailedReceipt, verdict: Verdict, mailed: Mailed, words: Wording) -> list[str]:
    receipt = one.receipt
    facts = {
        "place": _place(receipt, words),
        "image_id": one_line(receipt.image_id or "?", most=_IDENTIFIER),
        "date": _date(receipt.updated_at, words),
    }
    match verdict:
        case Verdict.UPLOADED:
            return [words.say("state.uploaded", **facts), *_warnings(receipt, words)]
        case Verdict.REPEATED:
            # Twice in one message is no "already here": the sender would look for an older mail.
            key = "state.twice" if receipt.arrival == mailed.arrival else "state.repeated"
            return [words.say(key, **facts)]
        case Verdict.REFUSED | Verdict.WAITING:
            said = [words.say(f"state.{receipt.state}", **facts), _reason(receipt)]
        case Verdict.DROPPED:  # its reason says no more than that
            said = [words.say("state.dropped")]
        case Verdict.UNDERWAY:
            said = [words.say("state.underway")]
        case _:
            assert_never(verdict)
    if one.repeat and receipt.arrival != mailed.arrival:
        said.insert(0, words.say("state.sent_before", date=_date(receipt.received_at, words)))
    return [*said, words.say("receipt_id", receipt=one_line(receipt.id, most=_IDENTIFIER))]


def _reason(receipt: Receipt) -> str:
    return isolated(one_line(receipt.reason or "", most=_REASON))


def _warnings(receipt: Receipt, words: Wording) -> list[str]:
    warnings = receipt.image.warnings[:MOST_WARNINGS] if receipt.image else ()
    return [words.say("check", warning=isolated(one_line(text, most=_REASON))) for text in warnings]


def _place(receipt: Receipt, words: Wording) -> str:
    """Where it goes, as a clerk knows it. Empty for a receipt that no route claimed."""
    if not receipt.target:
        return ""
    slot: Slot = receipt.destined.slot
    key = f"place.{slot.kind}" if words.knows(f"place.{slot.kind}") else "place.other"
    facts: Mapping[str, str] = {
        "target": receipt.target,
        "slot": one_line(str(slot), most=_IDENTIFIER),
        "id": one_line(slot.identifier or "", most=_IDENTIFIER),
    }
    place = words.say(key, **facts)
    if not receipt.person:
        return place
    return words.say("place.for", place=place, person=_presented(receipt.person))


def _left_out(mailed: Mailed, words: Wording) -> tuple[Section, ...]:
    """The parts that are no receipt: those with the same reason together, in the order of the message."""
    advice = "" if mailed.receipts else words.say("advice.nothing")
    if not mailed.ignored:
        return (Section("left_out", "", advice, ()),) if advice else ()
    by_reason: dict[str, list[Refusal]] = {}
    for part in mailed.ignored:
        by_reason.setdefault(part.reason, []).append(part)
    entries = [
        Entry(
            _enumerated([_presented(part.filename) for part in parts[:MOST_NAMES]], len(parts), words),
            tuple(filter(None, (isolated(one_line(reason, most=_REASON)),))),
        )
        for reason, parts in list(by_reason.items())[:MOST_LEFT_OUT]
    ]
    if len(by_reason) > MOST_LEFT_OUT:
        listed = sum(len(parts) for parts in list(by_reason.values())[:MOST_LEFT_OUT])
        entries.append(Entry(words.say("and_more", names="…", count=len(mailed.ignored) - listed), ()))
    heading = words.say("heading.left_out")
    return (Section("left_out", heading, advice or words.say("advice.left_out"), tuple(entries)),)


def _date(at: Instant, words: Wording) -> str:
    day = datetime.fromtimestamp(at / MICROSECONDS, UTC)
    return words.say("date", year=f"{day:%Y}", month=f"{day:%m}", day=f"{day:%d}")
