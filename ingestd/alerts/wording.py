"""A message as people read it: subject and text for a mail, text and fields for a webhook.

A webhook is another company's: of receipts that came by mail it learns the ID and the state, and where there
are mailboxes no reason at all, since a reason may quote the name of another receipt.
"""

from typing import Any

from ingestd.alerts.conditions import Alert
from ingestd.alerts.digest import Message
from ingestd.alerts.snapshot import Needy
from ingestd.alerts.words import clock_time, for_chat, iso_time, one_line
from ingestd.domain.document import Instant

LONGEST_SUBJECT = 150
LONGEST_CHAT = 3500
"""Characters; Slack folds or cuts what is longer than 4,000."""
_NAME, _REASON = 100, 300
_MOST_ALERTS = 20
"""Told one by one in a chat; a person reads no more."""


def subject(message: Message, host: str) -> str:
    match message.event:
        case "test":
            return f"ingestd on {host}: this is a test"
        case "well":
            return f"ingestd on {host}: all is well again"
        case "trouble":
            return _shortened(f"ingestd on {host}: ", [alert.title for alert in message.alerts])


def as_mail(message: Message, host: str, at: Instant) -> str:
    """The whole text, a line for each thing; for people of the house."""
    paragraphs = [_opening(message, host)]
    for alert in message.alerts:
        lines = [alert.says]
        if alert.reason:
            lines.append(f"  {one_line(alert.reason, most=_REASON)}")
        lines += [f"  {_mailed(needy)}" for needy in alert.needy]
        lines += _uncounted(alert)
        lines.append(f"  What to do: {alert.fix}")
        paragraphs.append("\n".join(lines))
    paragraphs += [_gone(message)] if message.gone and message.event == "trouble" else []
    paragraphs.append(f"-- \ningestd on {host}, {clock_time(at)}")
    return "\n\n".join(paragraphs) + "\n"


def as_chat(message: Message, host: str, *, quotable: bool) -> str:
    """Bounded. `quotable`: no mailbox is watched, so that reasons quote no mail."""
    lines = [subject(message, host) if message.event != "test" else _opening(message, host)]
    for alert in message.alerts[:_MOST_ALERTS]:
        lines.append(f"• {alert.says}")
        if alert.reason and not alert.discreet:
            lines.append(f"   {for_chat(alert.reason, most=_REASON)}")
        lines += [f"   {_chatted(needy, quotable=quotable)}" for needy in alert.needy]
        lines += _uncounted(alert)
        lines.append(f"   What to do: {alert.fix}")
    lines += [_gone(message)] if message.gone else []
    text = "\n".join(lines)
    return text if len(text) <= LONGEST_CHAT else text[: LONGEST_CHAT - 1] + "…"


def as_fields(message: Message, host: str, at: Instant, *, quotable: bool) -> dict[str, Any]:
    """The same for programs; times in ISO 8601, UTC."""
    return {
        "event": message.event,
        "host": host,
        "at": iso_time(at),
        "subject": subject(message, host),
        "alerts": [_fields(alert, quotable=quotable) for alert in message.alerts],
        "well_again": list(message.gone),
    }


def _opening(message: Message, host: str) -> str:
    match message.event:
        case "test":
            return f"This is a test of the alerts of ingestd on {host}. Nothing is wrong."
        case "well":
            return f"All is well again with ingestd on {host}.\n\n{_gone(message)}"
        case "trouble":
            return f"ingestd on {host} needs somebody."


def _gone(message: Message) -> str:
    return "It is over that " + "; that ".join(message.gone) + "."


def _mailed(needy: Needy) -> str:
    name, reason = one_line(needy.filename, most=_NAME), one_line(needy.reason, most=_REASON)
    return f"{needy.id}  {needy.state}  {name}" + (f": {reason}" if reason else "")


def _chatted(needy: Needy, *, quotable: bool) -> str:
    if needy.discreet:
        return f"{needy.id} {needy.state}"
    text = f"{needy.id} {needy.state} {for_chat(needy.filename, most=_NAME)}"
    return f"{text} {for_chat(needy.reason, most=_REASON)}" if quotable and needy.reason else text


def _uncounted(alert: Alert) -> list[str]:
    more = alert.count - len(alert.needy)
    states = "ingestd list --state held, rejected, failed or unconfirmed"
    return [f"  … and {more:,} more: {states}"] if alert.needy and more > 0 else []


def _fields(alert: Alert, *, quotable: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": alert.key, "kind": str(alert.kind), "title": alert.title}
    fields |= {"says": alert.says, "fix": alert.fix}
    if alert.since is not None:
        fields["since"] = iso_time(alert.since)
    if alert.reason and not alert.discreet:
        fields["reason"] = one_line(alert.reason, most=_REASON)
    if alert.count:
        fields["count"] = alert.count
        fields["receipts"] = [_needy_fields(needy, quotable=quotable) for needy in alert.needy]
    return fields


def _needy_fields(needy: Needy, *, quotable: bool) -> dict[str, str]:
    fields = {"id": needy.id, "state": str(needy.state)}
    if not needy.discreet:
        fields["filename"] = one_line(needy.filename, most=_NAME)
        if quotable and needy.reason:
            fields["reason"] = one_line(needy.reason, most=_REASON)
    return fields


def _shortened(opening: str, titles: list[str]) -> str:
    """As many titles as fit, and how many there are beside them."""
    for count in range(len(titles), 0, -1):
        more = f" (and {len(titles) - count} more)" if count < len(titles) else ""
        text = opening + "; ".join(titles[:count]) + more
        if len(text) <= LONGEST_SUBJECT:
            return text
    return opening + "it needs you"
