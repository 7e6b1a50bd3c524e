"""Who gets in at a mailbox, for whom they send, and whether they may be answered. No I/O.

Display names, Sender fields and what only looks alike never count: one From address, on the list, proved.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from ingestd.domain.mail import Letter, Person
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.addresses import (
    canonical_address,
    compile_sender_pattern,
    domain_of,
    without_tag,
)
from ingestd.sources.mail.authenticity import Proof
from ingestd.sources.mail.people import Behalf, People

MOST_HOPS = 50
"""Received fields of a message that may still be answered; more is a loop (Postfix bounces at 50, too)."""

_NOBODY_READS = re.compile(
    r"(?:mailer-daemon|postmaster|no[-_.]?reply|do[-_.]?not[-_.]?reply|bounces?)(?:[-_.+].*)?"
    r"|.*[-_.](?:no[-_.]?reply|do[-_.]?not[-_.]?reply)",
    re.DOTALL,
)
"""Local parts that no answer should be sent to (RFC 3834 section 2)."""


_DECIDE = "ingestd retry ID uploads it all the same, ingestd drop ID forgets it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a message.

    `admitted`: the sender is known and proved. `hold`: why a person must decide; `reject`: why it is refused;
    both sentences that say what to do, never both set. `person` and `account` are whose receipts they are,
    as claimed when not admitted. `answer_to`: who may be told how it ended, None: nobody.
    """

    admitted: bool
    hold: str | None = None
    reject: str | None = None
    person: str | None = None
    account: str | None = None
    answer_to: str | None = None


class Doorkeeper:
    """Judges the messages of one mailbox. `own` are addresses of ours beside the mailbox's (smtp sender)."""

    def __init__(
        self, settings: MailboxSettings, people: Sequence[Person], own: Collection[str] = ()
    ) -> None:
        self._settings = settings
        self._people = People(people)
        patterns = (compile_sender_pattern(pattern) for pattern in settings.allow)
        self._allow = tuple(pattern for pattern in patterns if pattern is not None)
        self._own = own_addresses(settings) | _canonical(own)

    def knows(self, letter: Letter) -> bool:
        """Whether the sender is on the list, so that a proof is worth its DNS queries."""
        sender = sender_of(letter)
        return sender is not None and self._is_listed(sender)

    def judge(self, letter: Letter, proof: Proof) -> Verdict:
        """`proof` may be UNASKED for a letter of somebody unknown."""
        sender = sender_of(letter)
        if sender is None:
            return self._stranger(_not_one_sender(letter))
        if not self._is_listed(sender):
            return self._stranger(f"{sender} may not send here. {self._how_to_list(sender)}")
        behalf = self._people.behalf(sender, letter.subject)
        if not proof.proved:
            return self._stranger(f"{sender} may send here, but may be forged. {proof.sentence}", behalf)
        if self._came_back(letter, sender):
            return self._stranger(
                f"It is an automatic message of {sender}, an address of this mailbox itself: "
                "probably an answer that was sent back."
            )
        return Verdict(
            admitted=True,
            hold=behalf.problem,
            person=behalf.person.name if behalf.person else None,
            account=behalf.person.account if behalf.person else None,
            answer_to=self._answer_to(letter, sender),
        )

    # --- who gets in

    def _is_listed(self, sender: str) -> bool:
        return self._people.knows(sender) or any(pattern.fullmatch(sender) for pattern in self._allow)

    def _how_to_list(self, sender: str) -> str:
        return (
            f"Add {sender} to allow of the mailbox {self._settings.name}, or to the addresses or delegates "
            "of a [[people]] entry, to let it in."
        )

    def _came_back(self, letter: Letter, sender: str) -> bool:
        return letter.unanswerable is not None and without_tag(sender) in self._own

    def _stranger(self, why: str, behalf: Behalf | None = None) -> Verdict:
        person = behalf.person if behalf else None
        verdict = Verdict(
            admitted=False,
            reject=why,
            person=person.name if person else None,
            account=person.account if person else None,
        )
        match self._settings.strangers:
            case "reject":
                return verdict
            case "hold":
                return as_hold(verdict)
            case never:
                assert_never(never)

    # --- who is answered

    def _answer_to(self, letter: Letter, sender: str) -> str | None:
        if letter.unanswerable is not None or letter.return_path == "" or letter.trace > MOST_HOPS:
            return None
        address = _wished_reply(letter, sender) or sender
        if without_tag(address) in self._own or without_tag(sender) in self._own:
            return None
        return None if _NOBODY_READS.fullmatch(address.rpartition("@")[0]) else address


def as_hold(verdict: Verdict) -> Verdict:
    """The same, left to a person."""
    return replace(verdict, reject=None, hold=f"{verdict.reject} {_DECIDE}")


def sender_of(letter: Letter) -> str | None:
    """The canonical address of the only From address; None when there is none or more, or it makes no sense.

    RFC 5322 allows several authors; DMARC can't tell which of them is proved (RFC 7489 section 6.6.1).
    """
    return canonical_address(letter.senders[0]) if len(letter.senders) == 1 else None


def own_addresses(settings: MailboxSettings) -> frozenset[str]:
    """The mailbox's own addresses, canonical and without tags."""
    return _canonical((settings.user, *settings.addresses))


def facts_of(letter: Letter, settings: MailboxSettings) -> Mapping[str, str]:
    """What routes can ask for: `from`, `address`, `subject`.

    `address` is the first recipient that is ours but for its +tag, else the first recipient. It is written as
    in the message: IDs caught from a tag keep their case.
    """
    own = own_addresses(settings)
    ours = (text for text in letter.recipients if without_tag(canonical_address(text) or "") in own)
    address = next(ours, next(iter(letter.recipients), ""))
    return {"from": sender_of(letter) or "", "address": address, "subject": letter.subject}


def _not_one_sender(letter: Letter) -> str:
    if len(letter.senders) > 1:
        return (
            f"It names {len(letter.senders)} From addresses; a message that can be believed has exactly one. "
            "Forward the receipt as a new message."
        )
    return "Its From field holds no valid address. Forward the receipt as a new message."


def _wished_reply(letter: Letter, sender: str) -> str | None:
    """Reply-To, as long as it stays in the sender's domain: nobody makes us write to third parties."""
    if len(letter.reply_to) != 1:
        return None
    address = canonical_address(letter.reply_to[0])
    return address if address is not None and domain_of(address) == domain_of(sender) else None


def _canonical(addresses: Collection[str]) -> frozenset[str]:
    found = (canonical_address(address) for address in addresses)
    return frozenset(without_tag(address) for address in found if address is not None)
