"""What an answer of Image v1.0 means for the receipt: one pure function, one table.

The rule behind the table: Uploaded needs the server's word (a parsed image ID); Refused, Throttled and
Unavailable need proof that nothing was stored; whatever is neither is Unconfirmed. The API documents few
errors of its own, so the meaning of a 400 is read from its message (Concur: HTTP status codes).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import assert_never

from ingestd.destinations.concur.bodies import plain
from ingestd.destinations.concur.reading import (
    Case,
    Question,
    case_of,
    clean,
    evidence_of,
    is_from_concur,
)
from ingestd.domain.outcome import (
    Outcome,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.retry import LONGEST_ASKED_WAIT
from ingestd.http.session import Answer, AnswerLost, Exchange, NotSent

ONE_IMAGE = frozenset({"expenseentry", "invoice"})
"""Slots that take one image and never append a second."""


def outcome_of(exchange: Exchange, question: Question) -> Outcome:
    """The Outcome, with evidence; the token is in no text of it, even when the server echoes it."""
    evidence = evidence_of(exchange, question)
    match exchange:
        case NotSent(reason=reason, fix=fix, connected=connected):
            evidence = replace(evidence, message=plain(reason))
            return Unavailable(reason=reason, fix=fix, everything=not connected, evidence=evidence)
        case AnswerLost(reason=reason):
            return Unconfirmed(reason=reason, evidence=replace(evidence, message=plain(reason)))
        case Answer():
            return _answered(case_of(exchange, question))
        case _:
            assert_never(exchange)


def _answered(case: Case) -> Outcome:
    if 200 <= case.answer.status < 300:
        return _success(case)
    return _BY_STATUS.get(case.answer.status, _any_other)(case)


def _success(case: Case) -> Outcome:
    status, body = case.answer.status, case.body
    if body.image_id and body.error:
        return _unconfirmed(case, f"Concur answered {status} with an image ID and an error at once.")
    if body.error:
        return _said_no(case)
    if not body.image_id:
        return _unconfirmed(case, f"Concur answered {status} without a readable image ID.")
    if not case.answer.whole_sent:
        return _unconfirmed(case, f"Concur answered {status} before it had the whole image.")
    return Uploaded(image_id=body.image_id, evidence=case.evidence)


def _said_no(case: Case) -> Outcome:
    """A no in words: the message says what kind of no it is."""
    message = case.body.message
    if _LIMIT.search(message) and not _SIZE.search(message):
        return Throttled(reason=case.said, wait=case.asked_wait, evidence=case.evidence)
    if _DEADLOCK.search(message):
        return Unavailable(reason=case.said, wait=case.asked_wait, evidence=case.evidence)
    if _IMAGING_OFF.search(message):
        return _refused(case, _ENABLE_IMAGING)
    if case.question.slot.kind in ONE_IMAGE and _TAKEN.search(message):
        return _taken(case)
    if _NO_SUCH.search(message) and case.question.slot.identifier:
        return _unknown_id(case)
    return _refused(case, "Read what Concur says; correct the receipt or the slot, then retry it.")


def _taken(case: Case) -> Outcome:
    kind = _THING[case.question.slot.kind]
    return Refused(
        reason=f"The {kind} already has an image, and takes one only. {case.said}",
        fix=f"Look at the {kind} in Concur. If its image is this receipt, drop this one here; if not, remove "
        "that image there and retry this one.",
        evidence=case.evidence,
    )


def _unauthorized(case: Case) -> Outcome:
    """401 or 403: Concur documents 403 for an expired token, and gateways answer 401."""
    return Unavailable(
        reason=f"Concur does not accept the token. {case.said}",
        fix=f"{_sentence(case.question.token_fix)} The receipts are tried again by themselves. A valid token "
        "needs the scope IMAGE, a user who may upload here, and the url of its own data centre.",
        wait=case.question.unavailable,
        everything=True,
        evidence=case.evidence,
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _forbidden(case: Case) -> Outcome:
    slot = case.question.slot
    if case.question.token_accepted and not is_from_concur(case.answer):
        return _stopped_on_the_way(case)
    if not case.question.token_accepted or slot.identifier is None:
        return _unauthorized(case)
    return Refused(
        reason=f"Concur does not let this token's user upload to {_THING[slot.kind]} {slot.identifier}. "
        f"{case.said}",
        fix="Check the ID; use the token of its owner or of an administrator; then retry it.",
        evidence=case.evidence,
    )


def _stopped_on_the_way(case: Case) -> Outcome:
    """A firewall may dislike one body: that costs this receipt its attempts, and no other its turn."""
    return Unavailable(
        reason=f"Something on the way to Concur does not let this image through. {case.said}",
        fix="Ask who looks after the proxy or firewall between here and Concur; then retry it.",
        evidence=case.evidence,
    )


def _not_found(case: Case) -> Outcome:
    known = case.question.slot.identifier and is_from_concur(case.answer)
    return _unknown_id(case) if known else _wrong_address(case)


def _unknown_id(case: Case) -> Outcome:
    slot = case.question.slot
    return Refused(
        reason=f"Concur knows no {_THING[slot.kind]} {slot.identifier} for this token's user. {case.said}",
        fix="Check the ID, and that the token belongs to its owner or to an administrator; then send the "
        "document again with the right ID.",
        evidence=case.evidence,
    )


def _wrong_address(case: Case) -> Outcome:
    """A redirect, or no API at this path: an upload elsewhere would carry the token to another place."""
    to = clean(case.answer.headers.get("Location", ""), case.question)
    return Unavailable(
        reason=f"Image v1.0 is not at this url. {case.said}" + (f" It points to {to}" if to else ""),
        fix="Correct the url setting of this target: the base URI of your data centre, for example "
        "https://us2.api.concursolutions.com.",
        wait=case.question.unavailable,
        everything=True,
        evidence=case.evidence,
    )


def _incomplete(case: Case) -> Outcome:
    """408 and 425: the server says that it did not act on the request (RFC 9110 15.5.9, RFC 8470 5.2)."""
    return Unavailable(reason=case.said, wait=case.asked_wait, evidence=case.evidence)


def _throttled(case: Case) -> Outcome:
    return Throttled(reason=case.said, wait=case.asked_wait, evidence=case.evidence)


def _conflict(case: Case) -> Outcome:
    return _taken(case) if case.question.slot.kind in ONE_IMAGE else _said_no(case)


def _maintenance(case: Case) -> Outcome:
    asked = min(case.asked_wait or timedelta(), LONGEST_ASKED_WAIT)
    return Unavailable(
        reason=case.said,
        fix="Nothing to do: it is tried again by itself. Maintenance is announced at open.concur.com.",
        wait=max(asked, case.question.unavailable),
        everything=True,
        evidence=case.evidence,
    )


def _server_error(case: Case) -> Outcome:
    """500 is documented for one permanent trouble; the rest may have come after the image was stored."""
    if _IMAGING_OFF.search(case.body.message):
        return _refused(case, _ENABLE_IMAGING)
    return _any_other(case)


def _any_other(case: Case) -> Outcome:
    if 400 <= case.answer.status < 500:
        return _said_no(case)
    if not case.answer.whole_sent:
        reason = f"{case.said} It had not got the whole image."
        return Unavailable(reason=reason, evidence=case.evidence)
    return _unconfirmed(case, case.said)


def _refused_with(fix: str) -> Callable[[Case], Outcome]:
    return lambda case: _refused(case, fix)


def _refused(case: Case, fix: str) -> Refused:
    return Refused(reason=case.said, fix=fix, evidence=case.evidence)


def _unconfirmed(case: Case, reason: str) -> Unconfirmed:
    return Unconfirmed(reason=reason, evidence=replace(case.evidence, message=case.body.message or reason))


_LIMIT = re.compile(
    r"requests?\b.{0,40}\bexceed|request limit|rate limit|rate\.limit|too many requests", re.IGNORECASE
)
_SIZE = re.compile(r"\b(size|bytes|[KM]B|large)\b", re.IGNORECASE)
_DEADLOCK = re.compile(r"dead\s?lock", re.IGNORECASE)
_IMAGING_OFF = re.compile(r"imaging (is )?(configuration )?not (available|configured|enabled)", re.IGNORECASE)
_TAKEN = re.compile(
    r"already\b.{0,60}\b(image|receipt|attached)|(image|receipt)\b.{0,60}\balready|can(no|')t append",
    re.IGNORECASE,
)
_NO_SUCH = re.compile(
    r"(invalid|unknown|no such)\b.{0,20}(report|entry|request|invoice)\b.{0,8}\b(key|id)\b", re.IGNORECASE
)
_ENABLE_IMAGING = "Ask your Concur administrator to enable imaging for this user's policy, then retry it."
_THING: Mapping[str, str] = MappingProxyType(
    {"receipt": "user", "expenseentry": "expense entry", "invoice": "invoice", "report": "report"}
)
_BY_STATUS: Mapping[int, Callable[[Case], Outcome]] = MappingProxyType(
    {
        # 303 is not here: it is how a server answers a POST that it has obeyed (RFC 9110 15.4.4).
        301: _wrong_address,
        302: _wrong_address,
        307: _wrong_address,
        308: _wrong_address,
        400: _said_no,
        401: _unauthorized,
        403: _forbidden,
        404: _not_found,
        405: _wrong_address,
        408: _incomplete,
        409: _conflict,
        411: _refused_with("A proxy on the way takes the Content-Length away; let it pass, then retry."),
        413: _refused_with("The image is too large for this server; send a smaller one."),
        415: _refused_with("Send the document as PDF, JPEG or PNG."),
        425: _incomplete,
        429: _throttled,
        500: _server_error,
        503: _maintenance,
    }
)
