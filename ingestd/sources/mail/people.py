"""On whose behalf a message was sent: the sender's own, or that of the person whose address is the subject.

A receipt in the wrong person's account is worse than one that waits: what is not clear becomes a problem to
be told.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingestd.domain.mail import Person
from ingestd.sources.mail.addresses import canonical_address

_LONGEST_SUBJECT = 1000
_PREFIX = re.compile(
    r"""
    \s* (?:re|fw|fwd|aw|wg|tr|rv|rif|enc|res|vs|vb|sv|antw|doorst|odp|pd|回复|答复|转发|轉寄|回覆)
        \s* (?: \[\d{1,3}\] \s* )? [:：] \s*
    | \s* \[ [^\[\]]{1,40} \] \s*
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What mail programs put before a subject when they answer or forward, and gateways ([EXTERNAL])."""


@dataclass(frozen=True, slots=True)
class Behalf:
    """Whose receipts they are: None is nobody's in particular. `problem`: sentences for the sender."""

    person: Person | None = None
    problem: str | None = None


class People:
    """Looks up [[people]] by address. An address listed twice is the first one's."""

    def __init__(self, people: Sequence[Person]) -> None:
        self._by_address: dict[str, Person] = {}
        self._bosses: dict[str, list[Person]] = {}
        for person in people:
            for address in _canonical(person.addresses):
                self._by_address.setdefault(address, person)
            for address in _canonical(person.delegates):
                self._bosses.setdefault(address, []).append(person)

    def knows(self, sender: str) -> bool:
        """Whether it is the canonical address of a person or a delegate."""
        return sender in self._by_address or sender in self._bosses

    def behalf(self, sender: str, subject: str) -> Behalf:
        """`sender` is canonical, and proved or about to be.

        The address in the subject decides, and only for those who may send for that person. Without one,
        people send for themselves, and who may send for one person only sends for that one.
        """
        own = self._by_address.get(sender)
        bosses = self._bosses.get(sender, [])
        named = named_in(subject)
        if named is not None:
            person = self._by_address.get(named)
            if person is not None and (person is own or person in bosses):
                return Behalf(person)
            if person is not None or bosses:
                return Behalf(own, _may_not_send_for(sender, named, bosses))
        if own is None and len(bosses) > 1:
            return Behalf(None, f"{sender} sends for several people. {_what_to_write(bosses)}")
        return Behalf(own or (bosses[0] if bosses else None))


def named_in(subject: str) -> str | None:
    """The address that stands alone in the subject, whatever `Fwd:` and brackets stand around it."""
    text = subject[:_LONGEST_SUBJECT]
    position = 0
    while found := _PREFIX.match(text, position):
        position = found.end()
    text = text[position:].strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    return canonical_address(text)


def _canonical(addresses: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(found for text in addresses if (found := canonical_address(text)) is not None))


def _may_not_send_for(sender: str, named: str, bosses: Sequence[Person]) -> str:
    said = f"The subject names {named}, and {sender} may not send for that address."
    if not bosses:
        return (
            f"{said} Send it again with another subject, or have {sender} added to the delegates of {named}."
        )
    return f"{said} {_what_to_write(bosses)}"


def _what_to_write(bosses: Sequence[Person]) -> str:
    addresses = [person.addresses[0] for person in bosses if person.addresses]
    return (
        "Send it again with the address of the person it is for alone in the subject: "
        f"{' or '.join(addresses)}. What waits here can then be dropped (ingestd drop ID)."
    )
