"""The table from answers to outcomes: each row once, and what must hold for every row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from ingestd.destinations.concur.answers import outcome_of
from ingestd.destinations.concur.reading import Question
from ingestd.domain.outcome import Outcome, Refused, Throttled, Unavailable, Unconfirmed, Uploaded
from ingestd.domain.routing import Slot
from ingestd.http.session import Answer, AnswerLost, NotSent
from ingestd.http.tokens import redact

TOKEN = "canary-token-5f0c"
PAUSE = timedelta(minutes=5)
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
IMAGE = b"<Image xmlns='urn:x'><Id>img$1</Id><Url/></Image>"


def asked(slot: str = "receipt") -> Question:
    return Question(
        slot=Slot.parse(slot),
        correlation_id="ours",
        token_fix="put a valid token into file /etc/ingestd/token; it is picked up by itself",
        redact=lambda text: redact(text, (TOKEN,)),
        unavailable=PAUSE,
        now=NOW,
    )


def answered(status: int, body: bytes = b"", *, whole: bool = True, **headers: str) -> Answer:
    """As Concur does: with a correlation ID, unless it is an empty one."""
    fields = CIMultiDict({"Concur-Correlationid": "theirs"})
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    return Answer(
        status=status,
        headers=CIMultiDictProxy(fields),
        body=body,
        complete=True,
        bytes_sent=1000 if whole else 500,
        whole_sent=whole,
    )


def error(message: str) -> bytes:
    return f"<Error><Message>{message}</Message><Id>E-1</Id></Error>".encode()


def outcome(status: int, body: bytes = b"", slot: str = "receipt", **more: Any) -> Outcome:
    return outcome_of(answered(status, body, **more), asked(slot))


LIMIT = "The number of requests received exceed the request limit"
DEADLOCK = "Transaction was deadlocked on lock resources; resend a short time later"
IMAGING = "Imaging Configuration Not Available."
TOO_MANY_IN_JSON = (
    b'{"timestamp":"2026-01-02T03:04:05Z","httpStatus":"429 - Too Many Requests",'
    b'"error":{"id":"security.rate.limit.reached","message":"Too many requests"},"path":"/x"}'
)
ENTRY = "expenseentry/A2C40CEE415B43B2A0BE"


@pytest.mark.parametrize(
    ("status", "body", "slot", "expected"),
    [
        (201, IMAGE, "receipt", Uploaded),
        (200, IMAGE, ENTRY, Uploaded),
        (202, IMAGE, "report/1", Uploaded),
        (201, b"", "receipt", Unconfirmed),
        (201, IMAGE[:-9], "receipt", Unconfirmed),
        (201, b"\xff\x00\x1f garbage", "receipt", Unconfirmed),
        (201, b"<html>welcome</html>", ENTRY, Unconfirmed),
        (201, b'{"Id": "img$1", "Url": null}', "receipt", Uploaded),
        (201, b"<Image><Id/><Url/></Image>", "receipt", Unconfirmed),
        (201, error(LIMIT), "receipt", Throttled),
        (204, b"", "receipt", Unconfirmed),
        (202, b"", "receipt", Unconfirmed),
        (200, b"<html>welcome</html>", "receipt", Unconfirmed),
        (200, b"<Image><Id>a</Id><Error><Message>x</Message></Error></Image>", "receipt", Unconfirmed),
        (200, error("something is wrong"), "receipt", Refused),
        (200, error(LIMIT), "receipt", Throttled),
        (200, error(DEADLOCK), "receipt", Unavailable),
        (200, error(IMAGING), "receipt", Refused),
        (300, b"", "receipt", Unconfirmed),
        (303, b"", "receipt", Unconfirmed),
        (304, b"", "receipt", Unconfirmed),
        (301, b"", "receipt", Unavailable),
        (302, b"", "receipt", Unavailable),
        (307, b"", "receipt", Unavailable),
        (308, b"", "receipt", Unavailable),
        (400, error("Bad Request"), "receipt", Refused),
        (400, b"", "receipt", Refused),
        (400, error("Concur does not support Chunked Transfer-Encoding"), "receipt", Refused),
        (400, error("Bad Request - invalid receipt image id."), "receipt", Refused),
        (400, b'{"Error":{"Message":"A deadlock occurred"}}', "receipt", Unavailable),
        (400, error(LIMIT), "receipt", Throttled),
        (400, error("Rate limit reached"), "receipt", Throttled),
        (400, error("Request size exceeds the request limit of 10 MB"), "receipt", Refused),
        (400, error(DEADLOCK), "receipt", Unavailable),
        (400, error("An image is already attached to this expenseentry."), ENTRY, Refused),
        (401, b"", "receipt", Unavailable),
        (403, error("Forbidden Request"), ENTRY, Unavailable),
        (404, b"", ENTRY, Refused),
        (404, b"", "receipt", Unavailable),
        (404, b"<html>nginx</html>", ENTRY, Unavailable),
        (404, b"\n<?xml version='1.0'?><!DOCTYPE html><html/>", ENTRY, Unavailable),
        (404, error("No image found for this expenseentry."), ENTRY, Refused),
        (405, b"", "receipt", Unavailable),
        (408, b"", "receipt", Unavailable),
        (409, b"", ENTRY, Refused),
        (409, b"", "report/1", Refused),
        (411, b"", "receipt", Refused),
        (413, b"", "receipt", Refused),
        (415, b"", "receipt", Refused),
        (418, b"", "receipt", Refused),
        (422, b"", "receipt", Refused),
        (425, b"", "receipt", Unavailable),
        (429, b"", "receipt", Throttled),
        (429, TOO_MANY_IN_JSON, ENTRY, Throttled),
        (400, TOO_MANY_IN_JSON, ENTRY, Throttled),
        (403, b"<html>blocked</html>", "receipt", Unavailable),
        (500, error("Internal error"), "receipt", Unconfirmed),
        (500, b"", "receipt", Unconfirmed),
        (500, error(IMAGING), "receipt", Refused),
        (501, b"", "receipt", Unconfirmed),
        (502, b"<html>502</html>", "receipt", Unconfirmed),
        (503, b"", "receipt", Unavailable),
        (503, b"<html>maintenance</html>", ENTRY, Unavailable),
        (500, b'{"Error":{"Message":"Imaging Configuration Not Available."}}', ENTRY, Refused),
        (504, b"", "receipt", Unconfirmed),
        (599, b"", "receipt", Unconfirmed),
        (999, b"", "receipt", Unconfirmed),
    ],
)
def test_each_answer_means_one_outcome(status: int, body: bytes, slot: str, expected: type[Outcome]) -> None:
    assert type(outcome(status, body, slot)) is expected


@pytest.mark.parametrize("status", [500, 502, 504, 599, 303])
def test_a_server_error_before_the_end_of_the_body_means_nothing_was_stored(status: int) -> None:
    assert type(outcome(status, whole=False)) is Unavailable


def test_a_success_before_the_end_of_the_body_is_not_believed() -> None:
    assert type(outcome(201, IMAGE, whole=False)) is Unconfirmed


def test_an_upload_keeps_the_id_as_it_came() -> None:
    result = outcome(201, b"<Image>\n<Id> aB$1 </Id></Image>")
    assert isinstance(result, Uploaded)
    assert result.image_id == "aB$1"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_closes_the_target_and_says_where_the_token_is_read_from(status: int) -> None:
    result = outcome(status)
    assert isinstance(result, Unavailable)
    assert (result.everything, result.wait) == (True, PAUSE)
    assert "file /etc/ingestd/token" in result.fix
    assert "picked up by itself" in result.fix


def test_a_403_with_a_token_that_is_good_elsewhere_is_about_this_slot_only() -> None:
    result = outcome_of(answered(403), replace(asked(ENTRY), token_accepted=True))
    assert isinstance(result, Refused)
    assert "A2C40CEE415B43B2A0BE" in result.reason


def test_a_404_that_is_not_concurs_fails_no_receipt_but_names_the_setting() -> None:
    result = outcome(404, b"no such app", ENTRY, Concur_Correlationid="")
    assert isinstance(result, Unavailable)
    assert result.everything
    assert "url setting" in result.fix


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 405])
def test_a_wrong_address_closes_the_target_and_names_the_setting(status: int) -> None:
    result = outcome(status, Location="https://elsewhere/x")
    assert isinstance(result, Unavailable)
    assert (result.everything, result.wait) == (True, PAUSE)
    assert "url setting" in result.fix
    assert "https://elsewhere/x" in result.reason


@pytest.mark.parametrize(
    ("asked_for", "wait"), [("", PAUSE), ("1", PAUSE), ("600", timedelta(minutes=10)), ("86000", None)]
)
def test_maintenance_waits_at_least_the_configured_pause_and_at_most_an_hour(
    asked_for: str, wait: timedelta | None
) -> None:
    result = outcome(503, Retry_After=asked_for)
    assert isinstance(result, Unavailable)
    assert result.everything
    assert result.wait == (wait or timedelta(hours=1))


@pytest.mark.parametrize(
    ("asked_for", "wait"),
    [
        ("", None),
        ("0", timedelta()),
        ("7", timedelta(seconds=7)),
        ("-1", None),
        ("later", None),
        ("9" * 300, timedelta(days=1)),
        ("Sat, 21 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Sat, 21 Nov 2026 11:00:00 GMT", timedelta()),
        ("Sun, 21 Nov 2126 12:00:00 GMT", timedelta(days=1)),
    ],
)
def test_throttling_passes_on_what_the_server_asked_for(asked_for: str, wait: timedelta | None) -> None:
    result = outcome(429, Retry_After=asked_for)
    assert isinstance(result, Throttled)
    assert result.wait == wait


@pytest.mark.parametrize("kind", ["expenseentry", "invoice"])
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "An image is already attached to this entry"),
        (400, "This entry already has an image."),
        (400, "You cannot append additional images"),
        (409, ""),
    ],
)
def test_a_taken_slot_is_explained(kind: str, status: int, message: str) -> None:
    result = outcome(status, error(message) if message else b"", f"{kind}/1")
    assert isinstance(result, Refused)
    assert "already has an image" in result.reason
    assert "drop this one" in result.fix


def test_a_report_that_appends_is_never_called_taken() -> None:
    result = outcome(400, error("An image is already attached"), "report/1")
    assert isinstance(result, Refused)
    assert "takes one only" not in result.reason


@pytest.mark.parametrize(
    ("status", "body"), [(404, b""), (400, error("Bad Request - invalid expenseentry key."))]
)
def test_an_unknown_id_is_named(status: int, body: bytes) -> None:
    result = outcome(status, body, ENTRY)
    assert isinstance(result, Refused)
    assert "A2C40CEE415B43B2A0BE" in result.reason


def test_missing_imaging_is_permanent_and_names_the_remedy() -> None:
    result = outcome(500, error(IMAGING))
    assert isinstance(result, Refused)
    assert "enable imaging" in result.fix


def test_nothing_sent_for_want_of_a_connection_concerns_the_whole_target() -> None:
    away = NotSent(reason="No connection.", fix="Look.", connected=False)
    result = outcome_of(away, asked())
    assert isinstance(result, Unavailable)
    assert (result.everything, result.reason, result.fix) == (True, "No connection.", "Look.")
    broken = outcome_of(replace(away, connected=True, bytes_sent=7), asked())
    assert isinstance(broken, Unavailable)
    assert not broken.everything
    assert broken.evidence.bytes_sent == 7


def test_a_lost_answer_is_unconfirmed() -> None:
    result = outcome_of(AnswerLost(reason="All was sent, then silence.", bytes_sent=9), asked())
    assert isinstance(result, Unconfirmed)
    assert (result.evidence.bytes_sent, result.evidence.status) == (9, None)
    assert result.evidence.message


def test_the_evidence_quotes_what_support_asks_for() -> None:
    result = outcome(400, error("No"), cOnCuR_cOrReLaTiOnId="theirs-2")
    evidence = result.evidence
    assert (evidence.status, evidence.correlation_id, evidence.error_id) == (400, "theirs-2", "E-1")
    assert (evidence.message, evidence.bytes_sent) == ("No", 1000)
    assert outcome(400, b"", Concur_Correlationid="").evidence.correlation_id == "ours"


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 404, 409, 413, 429, 500, 503])
@pytest.mark.parametrize("slot", ["receipt", ENTRY])
def test_a_token_that_the_server_echoes_is_in_no_text_of_the_outcome(status: int, slot: str) -> None:
    body = f"<Error><Message>bad {TOKEN} here</Message><Id>{TOKEN}</Id></Error>".encode()
    for content in (body, TOKEN.encode(), f"<html>{TOKEN}</html>".encode()):
        result = outcome(status, content, slot, Concur_Correlationid=TOKEN, Location=f"https://x/{TOKEN}")
        assert TOKEN not in repr(result)
    assert TOKEN not in repr(asked())


@pytest.mark.parametrize("cut", range(150, 200))
def test_a_token_is_not_hidden_by_the_shortening_of_the_message(cut: int) -> None:
    assert TOKEN[:12] not in repr(outcome(400, error("x" * cut + TOKEN)))


@given(
    status=st.integers(200, 999),
    body=st.one_of(st.binary(max_size=200), st.sampled_from([IMAGE, error(LIMIT), error(DEADLOCK)])),
    whole=st.booleans(),
    slot=st.sampled_from(["receipt", ENTRY, "report/1", "invoice/1"]),
)
def test_every_answer_has_an_outcome_that_a_person_can_read(
    status: int, body: bytes, whole: bool, slot: str
) -> None:
    result = outcome(status, body, slot, whole=whole)
    assert result.evidence.status == status
    if isinstance(result, Uploaded):
        assert status < 300
        assert whole
        assert result.image_id
    elif not isinstance(result, Refused | Throttled | Unavailable | Unconfirmed):
        raise AssertionError(result)
    else:
        assert result.reason.isprintable()
    if isinstance(result, Refused):
        assert result.fix
        assert status < 300 or 400 <= status <= 500
