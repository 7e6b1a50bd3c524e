"""What is known of a message that brought receipts, for people and for programs."""

from collections.abc import Mapping

import typer

from ingestd.cli.rendering import local_moment, moment, one_line
from ingestd.domain.mail import MessagePlace
from ingestd.interfaces import Mailed


def mail_json(mailed: Mailed) -> Mapping[str, object]:
    """`found` is where it was taken in, `now` where it is; null when it is gone from there."""
    mail = mailed.origin.mail
    assert mail is not None, "whatever is mailed has the origin of a mail"
    return {
        "arrival": mailed.arrival,
        "sender": _encodable(mailed.origin.sender),
        "subject": _encodable(mail.subject),
        "message_id": _encodable(mail.message_id),
        "sha256": mail.raw_sha256,
        "found": _place_json(mail.place),
        "now": None if mailed.place is None else _place_json(mailed.place),
        "filed": str(mailed.filed) or None,
        "moved_at": moment(mailed.moved_at),
        "answered": mailed.answered,
        "answered_at": moment(mailed.answered_at),
        "answered_to": mailed.answered_to,
    }


def tell_mail(mailed: Mailed) -> None:
    """A few lines, as `ingestd show` writes them."""
    say, mail = typer.echo, mailed.origin.mail
    assert mail is not None, "whatever is mailed has the origin of a mail"
    say(f"mailbox    {mailed.origin.source}")
    say(f"sender     {one_line(mailed.origin.sender) or '-'}")
    say(f"message    {one_line(mail.message_id) or 'without a Message-ID'}")
    say(f"found in   {_place(mail.place)}")
    say(f"now in     {_now(mailed)}")
    say(f"answered   {_answer(mailed, mail.answer_to)}")


def _now(mailed: Mailed) -> str:
    if mailed.place is None:
        return "no mailbox ingestd knows: it was deleted or moved away"
    since = "" if mailed.moved_at is None else f", since {local_moment(mailed.moved_at)}"
    return f"{_place(mailed.place)}{since}"


def _answer(mailed: Mailed, answer_to: str | None) -> str:
    if mailed.answered_to is not None:
        return f"{local_moment(mailed.answered_at)}  {one_line(mailed.answered_to)}"
    if mailed.answered:
        return "no; it was given up, or nobody was to be answered"
    return "not yet" if answer_to is not None else "no: nobody is to be answered"


def _place(place: MessagePlace) -> str:
    return f"{one_line(place.mailbox)}, UID {place.uid}, of {one_line(place.account)}"


def _encodable(text: str) -> str:
    """Headers may hold bytes of no character set (surrogates), which no output takes."""
    return text.encode(errors="replace").decode()


def _place_json(place: MessagePlace) -> Mapping[str, object]:
    return {
        "account": place.account,
        "mailbox": place.mailbox,
        "uidvalidity": place.uidvalidity,
        "uid": place.uid,
    }
