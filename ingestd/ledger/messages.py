"""What is written about messages: with the arrival where each was found, later where it is and its answer.

What is looked for later is written as `searchable` makes it: strangers choose their addresses and IDs.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, or_, update

from ingestd.domain.document import Instant, Origin
from ingestd.domain.errors import UnknownArrival
from ingestd.domain.mail import Filed, MessagePlace
from ingestd.interfaces import NewArrival
from ingestd.ledger.rows import to_json_list
from ingestd.ledger.schema import companions, leases, messages
from ingestd.ledger.transaction import Operation, Transaction

_SEARCHABLE_CHARACTERS = 320
"""As long as an address can be (RFC 5321 section 4.5.3.1). PostgreSQL refuses more than 2,704 bytes in an
index, and foreign text can take 7 for each character."""


def searchable(message_id: str) -> str:
    """Short enough for an index on every engine."""
    return message_id[:_SEARCHABLE_CHARACTERS]


def searchable_address(address: str) -> str:
    """The same for addresses, in whatever case they are written."""
    return searchable(address.casefold())


def arrival_columns(origin: Origin) -> Mapping[str, Any]:
    """What an arrival by mail has in its own row: where it was found, and what recognises it."""
    mail = origin.mail
    if mail is None:
        return {}
    return {
        **_place_columns(mail.place),
        "message_id": searchable(mail.message_id),
        "raw_sha256": mail.raw_sha256,
    }


def record(tx: Transaction, arrival: NewArrival, now: Instant) -> None:
    """The rows of an arrival by mail beside its own; nothing for others."""
    origin = arrival.origin
    mail = origin.mail
    if mail is None:
        return
    row = {
        "arrival_id": arrival.id,
        "source": origin.source,
        "sender": searchable_address(origin.sender),
        "received_at": now,
        "subject": mail.subject,
        "answer_to": mail.answer_to,
        "refers_to": to_json_list(mail.references),
        "filed": Filed.NOWHERE,
    }
    tx.insert(messages, {**row, **_place_columns(mail.place)})
    brought = {document.sha256 for receipt in arrival.receipts for document in receipt.documents}
    if len(brought) > 1:
        for sha256 in sorted(brought):
            tx.append(companions, {"source": origin.source, "sha256": sha256, "arrival_id": arrival.id})


def moved(arrival: str, *, place: MessagePlace | None, filed: Filed, now: Instant) -> Operation[None]:
    """MailBook.moved."""

    def run(tx: Transaction) -> None:
        values = {**_place_columns(place), "filed": filed, "moved_at": now}
        _check(arrival, tx.change(_MOVED, {"b_id": arrival, **values}))

    return run


def answered(arrival: str, *, address: str | None, now: Instant) -> Operation[None]:
    """MailBook.answered."""

    def run(tx: Transaction) -> None:
        to = None if address is None else searchable_address(address)
        _check(arrival, tx.change(_ANSWERED, {"b_id": arrival, "answered_at": now, "answered_to": to}))
        tx.execute(_END, {"b_name": f"{_ANSWER}{arrival}"})

    return run


def hold_mailbox(name: str, *, owner: str, until: Instant, now: Instant) -> Operation[bool]:
    """MailBook.hold_mailbox."""
    return _hold(f"{_MAILBOX}{name}", owner=owner, until=until, now=now)


def hold_answer(arrival: str, *, owner: str, until: Instant, now: Instant) -> Operation[bool]:
    """MailBook.hold_answer."""
    return _hold(f"{_ANSWER}{arrival}", owner=owner, until=until, now=now)


def _hold(name: str, *, owner: str, until: Instant, now: Instant) -> Operation[bool]:
    """Where two nodes make the row at once, the slower one is run again and finds it.

    A lease that another node just took or prolonged is looked at once that is committed: an UPDATE waits for
    the row and checks its condition again.
    """

    def run(tx: Transaction) -> bool:
        key = {"b_name": name, "b_owner": owner}
        if until <= now:
            tx.execute(_GIVE_UP, key)
            return False
        if tx.change(_HOLD, {**key, "owner": owner, "until": until, "now": now}) == 1:
            return True
        if tx.execute(_IS_HELD, {"b_name": name}).first() is not None:
            return False
        tx.insert(leases, {"name": name, "owner": owner, "until": until})
        return True

    return run


def _place_columns(place: MessagePlace | None) -> Mapping[str, Any]:
    if place is None:
        return {"account": None, "mailbox": None, "uidvalidity": None, "uid": None}
    return {
        "account": place.account,
        "mailbox": place.mailbox,
        "uidvalidity": place.uidvalidity,
        "uid": place.uid,
    }


def _check(arrival: str, changed: int) -> None:
    if changed != 1:
        raise UnknownArrival(f"there is no message of an arrival {arrival}")


_MAILBOX = "mailbox "
_ANSWER = "answer "
"""How the names of these leases begin, so that others may be kept beside them."""
_IS_MESSAGE = messages.c.arrival_id == bindparam("b_id")
_MOVED = (
    update(messages)
    .where(_IS_MESSAGE)
    .values(
        {name: bindparam(name) for name in ("account", "mailbox", "uidvalidity", "uid", "filed", "moved_at")}
    )
)
_ANSWERED = (
    update(messages)
    .where(_IS_MESSAGE)
    .values({name: bindparam(name) for name in ("answered_at", "answered_to")})
)
_IS_LEASE = leases.c.name == bindparam("b_name")
_IS_OURS = leases.c.owner == bindparam("b_owner")
_HOLD = (
    update(leases)
    .where(_IS_LEASE, or_(_IS_OURS, leases.c.until <= bindparam("now")))
    .values(owner=bindparam("owner"), until=bindparam("until"))
)
_IS_HELD = leases.select().where(_IS_LEASE)
_GIVE_UP = delete(leases).where(_IS_LEASE, _IS_OURS)
_END = delete(leases).where(_IS_LEASE)
