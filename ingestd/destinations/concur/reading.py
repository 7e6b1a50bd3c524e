"""An answer of Image v1.0, read: its body, the evidence to keep, and whether it is Concur's own.

Every text that leaves this module is fit to be shown: one line, bounded, and without the token even when the
server echoes it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ingestd.destinations.concur.bodies import Body, is_page, plain, read_body
from ingestd.domain.outcome import Evidence
from ingestd.domain.routing import Slot
from ingestd.http.retry_after import retry_after
from ingestd.http.session import Answer, Exchange

CORRELATION = "Concur-Correlationid"
"""Carried by every answer of Concur (platform/correlation-id), so what lacks it comes from elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked, as far as the answer's meaning depends on it.

    `token_fix`: what a person does about a token that is not accepted, without its full stop. `redact` takes
    every secret of the login out of a text. `unavailable`: how long a target is left alone. `token_accepted`:
    the same token was good for another request just now, so that a 403 is about this request only.
    """

    slot: Slot
    correlation_id: str
    token_fix: str
    redact: Callable[[str], str] = field(repr=False)
    unavailable: timedelta
    now: datetime
    token_accepted: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """An answer to a question."""

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


def case_of(answer: Answer, question: Question) -> Case:
    body = _shown(read_body(answer.body), question)
    evidence = replace(
        evidence_of(answer, question),
        status=answer.status,
        correlation_id=clean(answer.headers.get(CORRELATION, ""), question) or question.correlation_id,
        error_id=body.error_id,
        message=body.message,
    )
    return Case(answer, body, question, evidence)


def evidence_of(exchange: Exchange, question: Question) -> Evidence:
    """What is known of every exchange."""
    return Evidence(correlation_id=question.correlation_id, bytes_sent=exchange.bytes_sent)


def is_from_concur(answer: Answer) -> bool:
    """Not from a gateway on the way, nor from whatever else the url setting leads to."""
    return bool(answer.headers.get(CORRELATION, "").strip()) and not is_page(answer.body)


def clean(text: str, question: Question) -> str:
    """Redacted first and shortened then: half a token is a secret too."""
    return plain(question.redact(text))


def _shown(body: Body, question: Question) -> Body:
    """The body with texts fit to be shown. An ID with the token in it is no ID."""
    image_id = body.image_id if body.image_id == question.redact(body.image_id or "") else None
    error_id = clean(body.error_id or "", question) or None
    return replace(body, image_id=image_id, error_id=error_id, message=clean(body.message, question))
