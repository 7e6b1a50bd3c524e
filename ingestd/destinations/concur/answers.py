"""What an answer of Image v1.0 means for the receipt: one pure function, one table.

The rule behind the table: Uploaded needs the server's word (a parsed image ID); Refused, Throttled and
Unavailable need proof that nothing was stored; whatever is neither is Unconfirmed. The API documents few
errors of its own, so the meaning of a 400 is read from its message (Concur: HTTP status codes).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import assert_never

from ingestd.destinations.concur.bodies import Body, plain, read_body
from ingestd.domain.outcome import (
    Evidence,
    Outcome,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.retry import LONGEST_ASKED_WAIT
from ingestd.domain.routing import Slot
from ingestd.http.retry_after import retry_after
from ingestd.http.session import Answer, AnswerLost, Exchange, NotSent
from ingestd.http.tokens import redact

ONE_IMAGE = frozenset({"expenseentry", "invoice"})
"""Slots that take one image and never append a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked, as far as the answer's meaning depends on it.

    `unavailable`: how long a target is left alone. `token_accepted`: the same token was good for another
    request just now, so that a 403 is about this slot only.
    """

    slot: Slot
    correlation_id: str
    token_place: str
    token: str = field(repr=False)
    unavailable: timedelta
    now: datetime
    token_accepted: bool = False


def outcome_of(exchange: Exchange, question: Question) -> Outcome:
    """The Outcome, with evidence; the token is in no text of it, even when the server echoes it."""
    evidence = Evidence(correlation_id=question.correlation_id, bytes_sent=exchange.bytes_sent)
    match exchange:
        case NotSent(reason=reason, fix=fix, connected=connected):
            evidence = replace(evidence, message=plain(reason))
            return Unavailable(reason=reason, fix=fix, everything=not connected, evidence=evidence)
        case AnswerLost(reason=reason):
            return Unconfirmed(reason=reason, evidence=replace(evidence, message=plain(reason)))
        case Answer():
            return _answered(exchange, question, evidence)
        case _:
            assert_never(exchange)


@dataclass(frozen=True, slots=True)
class _Case:
    """An answer, read."""

    answer: Answer
    body: Body
    question: Question
    evidence: Evidence

    @property
    def said(self) -> str:
        """`Concur answered 400: its message.`"""
        message = self.body.message
        return f"Concur answered {self.answer.status}" + (f": {message.rstrip('.')}." if message else ".")

    @property
    def asked_wait(self) -> timedelta | None:
        return retry_after(self.answer.headers, self.question.now)


def _answered(answer: Answer, question: Question, evidence: Evidence) -> Outcome:
    body = _shown(read_body(answer.body), question)
    correlation = _clean(answer.headers.get("Concur-Correlationid", ""), question)
    evidence = replace(
        evidence,
        status=answer.status,
        correlation_id=correlation or question.correlation_id,
        error_id=body.error_id,
        message=body.message,
    )
    case = _Case(answer, body, question, evidence)
    if 200 <= answer.status < 300:
        return _success(case)
    return _BY_STATUS.get(answer.status, _any_other)(case)


def _shown(body: Body, question: Question) -> Body:
    """The body with texts fit to be shown. An ID with the token in it is no ID."""
    image_id = body.image_id if body.image_id == redact(body.image_id or "", (question.token,)) else None
    error_id = _clean(body.error_id or "", question) or None
    return replace(body, image_id=image_id, error_id=error_id, message=_clean(body.message, question))


def _clean(text: str, question: Question) -> str:
    """Redacted first and shortened then: half a token is a secret too."""
    return plain(redact(text, (question.token,)))


def _success(case: _Case) -> Outcome:
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


def _said_no(case: _Case) -> Outcome:
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


def _taken(case: _Case) -> Outcome:
    kind = _THING[case.question.slot.kind]
    return Refused(
        reason=f"The {kind} already has an image, and takes one only. {case.said}",
        fix=f"Look at the {kind} in Concur. If its image is this receipt, drop this one here; if not, remove "
        "that image there and retry this one.",
        evidence=case.evidence,
    )


def _unauthorized(case: _Case) -> Outcome:
    """401 or 403: Concur documents 403 for an expired token, and gateways answer 401."""
    return Unavailable(
        reason=f"Concur does not accept the token. {case.said}",
        fix=f"Put a valid token into {case.question.token_place}; it is picked up by itself and the receipts "
        "are tried again. A valid token needs the scope IMAGE, a user who may upload here, and the url of "
        "its own data centre.",
        wait=case.question.unavailable,
        everything=True,
        evidence=case.evidence,
    )


def _forbidden(case: _Case) -> Outcome:
    slot = case.question.slot
    if not case.question.token_accepted or slot.identifier is None:
        return _unauthorized(case)
    return Refused(
        reason=f"Concur does not let this token's user upload to {_THING[slot.kind]} {slot.identifier}. "
        f"{case.said}",
        fix="Check the ID; use the token of its owner or of an administrator; then retry it.",
        evidence=case.evidence,
    )


def _not_found(case: _Case) -> Outcome:
    return _unknown_id(case) if case.question.slot.identifier else _wrong_address(case)


def _unknown_id(case: _Case) -> Outcome:
    slot = case.question.slot
    return Refused(
        reason=f"Concur knows no {_THING[slot.kind]} {slot.identifier} for this token's user. {case.said}",
        fix="Check the ID, and that the token belongs to its owner or to an administrator; then send the "
        "document again with the right ID.",
        evidence=case.evidence,
    )


def _wrong_address(case: _Case) -> Outcome:
    """A redirect, or no API at this path: an upload elsewhere would carry the token to another place."""
    to = _clean(case.answer.headers.get("Location", ""), case.question)
    return Unavailable(
        reason=f"Image v1.0 is not at this url. {case.said}" + (f" It points to {to}" if to else ""),
        fix="Correct the url setting of this target: the base URI of your data centre, for example "
        "https://us2.api.concursolutions.com.",
        wait=case.question.unavailable,
        everything=True,
        evidence=case.evidence,
    )


def _incomplete(case: _Case) -> Outcome:
    """408 and 425: the server says that it did not act on the request (RFC 9110 15.5.9, RFC 8470 5.2)."""
    return Unavailable(reason=case.said, wait=case.asked_wait, evidence=case.evidence)


def _throttled(case: _Case) -> Outcome:
    return Throttled(reason=case.said, wait=case.asked_wait, evidence=case.evidence)


def _conflict(case: _Case) -> Outcome:
    return _taken(case) if case.question.slot.kind in ONE_IMAGE else _said_no(case)


def _maintenance(case: _Case) -> Outcome:
    asked = min(case.asked_wait or timedelta(), LONGEST_ASKED_WAIT)
    return Unavailable(
        reason=case.said,
        fix="Nothing to do: it is tried again by itself. Maintenance is announced at open.concur.com.",
        wait=max(asked, case.question.unavailable),
        everything=True,
        evidence=case.evidence,
    )


def _server_error(case: _Case) -> Outcome:
    """500 is documented for one permanent trouble; the rest may have come after the image was stored."""
    if _IMAGING_OFF.search(case.body.message):
        return _refused(case, _ENABLE_IMAGING)
    return _any_other(case)


def _any_other(case: _Case) -> Outcome:
    if 400 <= case.answer.status < 500:
        return _said_no(case)
    if not case.answer.whole_sent:
        reason = f"{case.said} It had not got the whole image."
        return Unavailable(reason=reason, evidence=case.evidence)
    return _unconfirmed(case, case.said)


def _refused_with(fix: str) -> Callable[[_Case], Outcome]:
    return lambda case: _refused(case, fix)


def _refused(case: _Case, fix: str) -> Refused:
    return Refused(reason=case.said, fix=fix, evidence=case.evidence)


def _unconfirmed(case: _Case, reason: str) -> Unconfirmed:
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
_BY_STATUS: Mapping[int, Callable[[_Case], Outcome]] = MappingProxyType(
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
