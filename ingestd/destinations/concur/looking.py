"""What an answer to GET of Image v1.0 says about a slot: one pure function beside the table for uploads.

Found and NotThere need Concur's own word, since an upload is repeated or refused because of it. All else
can't say; and where an upload would meet the same trouble, that goes along for the gate.
"""

from dataclasses import replace
from typing import assert_never

from ingestd.destinations.concur.answers import outcome_of
from ingestd.destinations.concur.bodies import plain
from ingestd.destinations.concur.reading import Case, Question, case_of, evidence_of, is_from_concur
from ingestd.domain.outcome import CannotSay, Found, LookUp, NotThere, Throttled, Unavailable
from ingestd.http.session import Answer, AnswerLost, Exchange, NotSent

_GATEWAY = frozenset({502, 504})


def found_by(exchange: Exchange, question: Question) -> LookUp:
    """What the slot holds. The ID that comes back for an entry, invoice or report is the slot's own.

    (Image v1: only for a receipt it names the image.) The token is in no text of it.
    """
    match exchange:
        case NotSent():
            return _cannot_say(exchange, question)
        case AnswerLost(reason=reason):
            evidence = replace(evidence_of(exchange, question), message=plain(reason))
            return CannotSay(
                reason=reason, obstacle=Unavailable(reason=reason, evidence=evidence), evidence=evidence
            )
        case Answer(status=status):
            case = case_of(exchange, question)
            if 200 <= status < 300 and not case.body.error:
                return _shown(case)
            if status == 404 and is_from_concur(exchange):
                return NotThere(evidence=case.evidence)
            if status == 403 and question.token_accepted and is_from_concur(exchange):
                return _not_ours(case)
            if status in _GATEWAY:
                obstacle = Unavailable(reason=case.said, wait=case.asked_wait, evidence=case.evidence)
                return CannotSay(reason=case.said, obstacle=obstacle, evidence=case.evidence)
            return _cannot_say(exchange, question)
        case _:
            assert_never(exchange)


def _shown(case: Case) -> LookUp:
    if case.body.image_id is None:
        reason = f"Concur answered {case.answer.status} without a readable image."
        evidence = replace(case.evidence, message=case.body.message or reason)
        return CannotSay(reason=reason, passing=True, evidence=evidence)
    return Found(image_id=case.body.image_id, url=case.body.url, evidence=case.evidence)


def _not_ours(case: Case) -> CannotSay:
    """To read an image takes the token of its owner, to attach one an administrator's will do."""
    return CannotSay(
        reason=f"Concur does not let this token's user look at {case.question.slot}. {case.said}",
        evidence=case.evidence,
    )


def _cannot_say(exchange: Exchange, question: Question) -> CannotSay:
    """As an upload would have fared."""
    outcome = outcome_of(exchange, question)
    match outcome:
        case Throttled() | Unavailable():
            return CannotSay(reason=outcome.reason, obstacle=outcome, evidence=outcome.evidence)
        case _:
            said = f"Concur answered {outcome.evidence.status}"
            message = outcome.evidence.message.rstrip(".")
            reason = f"{said}: {message}." if message and not message.startswith(said) else f"{said}."
            passing = (outcome.evidence.status or 0) // 100 in (2, 5)
            return CannotSay(reason=reason, passing=passing, evidence=outcome.evidence)
