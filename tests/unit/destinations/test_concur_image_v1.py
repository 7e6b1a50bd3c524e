"""What goes over the wire to Image v1.0, and what is asked before anything does."""

import asyncio
import io
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest

from ingestd.destinations.concur import ConcurImageV1
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.outcome import (
    CannotSay,
    Found,
    NotThere,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.routing import Slot
from ingestd.http.session import REUSE_SECONDS
from ingestd.settings import ConcurImageV1Settings, Secret
from tests.unit.destinations.receipts import image_in, receipt_for
from tests.unit.http.peers import Behaviour, Peer, Reader, Writer, always, answer, peer

TOKEN = "canary-token-5f0c"
CREATED = answer(body=b"<Image><Id>img$1</Id><Url/></Image>", headers=("Concur-Correlationid: theirs",))


@pytest.fixture
def settings(tmp_path: Path) -> ConcurImageV1Settings:
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "ann-token").write_text("ann-canary-77\n")
    return ConcurImageV1Settings(
        name="concur",
        url="https://unused",
        token=Secret(file=tmp_path / "token"),
        accounts={"ann": Secret(file=tmp_path / "ann-token")},
        timeout=timedelta(seconds=5),
    )


@asynccontextmanager
async def concur(
    behaviour: Behaviour,
    settings: ConcurImageV1Settings,
    *,
    path: str = "",
    authorization: Literal["Bearer", "OAuth"] = "Bearer",
) -> AsyncIterator[tuple[Peer, ConcurImageV1]]:
    async with peer(behaviour) as here:
        chosen = replace(settings, url=here.url + path, authorization=authorization)
        destination = ConcurImageV1(chosen, connections=4)
        try:
            yield here, destination
        finally:
            await destination.aclose()


def by_method(get: bytes, post: bytes) -> Behaviour:
    async def behave(here: Peer, reader: Reader, writer: Writer) -> None:
        while not reader.at_eof():
            request = await here.read_request(reader)
            writer.write(get if request.line.startswith("GET") else post)
            await writer.drain()

    return behave


# --- the request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mime_type", ["image/png", "image/jpeg", "application/pdf"])
async def test_an_upload_is_raw_bytes_with_the_documented_headers(
    settings: ConcurImageV1Settings, tmp_path: Path, mime_type: str
) -> None:
    image = image_in(tmp_path, mime_type=mime_type, size=300_000)
    async with concur(always(CREATED), settings) as (here, destination):
        outcome = await destination.upload(image, receipt_for("receipt"))
    assert isinstance(outcome, Uploaded)
    assert outcome.image_id == "img$1"
    assert (outcome.evidence.status, outcome.evidence.correlation_id) == (201, "theirs")
    (request,) = here.seen
    assert request.line == "POST /api/image/v1.0/receipt HTTP/1.1"
    assert request.body == image.path.read_bytes()
    assert request.header("Content-Type") == mime_type
    assert request.header("Content-Length") == "300000"
    assert request.header("Transfer-Encoding") is None
    assert request.header("Expect") is None
    assert request.header("Authorization") == f"Bearer {TOKEN}"
    assert request.header("Accept") == "application/xml"
    assert (request.header("User-Agent") or "").startswith("ingestd/")


@pytest.mark.parametrize(
    ("slot", "path"),
    [
        ("expenseentry/nfUEGTNh$p1", "expenseentry/nfUEGTNh%24p1"),
        ("report/a/b", "report/a%2Fb"),
        ("report/../receipt", "report/..%2Freceipt"),
        ("invoice/a%2Fb?c#d", "invoice/a%252Fb%3Fc%23d"),
        ("report/%2e%2e", "report/%252e%252e"),
        ("report/Bücher+&=;@:", "report/B%C3%BCcher%2B%26%3D%3B%40%3A"),
        ("report/A-Z_a.z~0", "report/A-Z_a.z~0"),
    ],
)
async def test_an_id_is_one_percent_encoded_segment_of_the_path(
    settings: ConcurImageV1Settings, tmp_path: Path, slot: str, path: str
) -> None:
    async with concur(always(CREATED), settings, path="/base/") as (here, destination):
        await destination.upload(image_in(tmp_path), receipt_for(slot))
    assert here.seen[0].line == f"POST /base/api/image/v1.0/{path} HTTP/1.1"


async def test_the_legacy_scheme_is_a_setting(settings: ConcurImageV1Settings, tmp_path: Path) -> None:
    async with concur(always(CREATED), settings, authorization="OAuth") as (here, destination):
        await destination.upload(image_in(tmp_path), receipt_for("receipt"))
    assert here.seen[0].header("Authorization") == f"OAuth {TOKEN}"


async def test_an_account_uses_its_own_token(settings: ConcurImageV1Settings, tmp_path: Path) -> None:
    async with concur(always(CREATED), settings) as (here, destination):
        await destination.upload(image_in(tmp_path), receipt_for("receipt", account="ann"))
    assert here.seen[0].header("Authorization") == "Bearer ann-canary-77"


async def test_every_attempt_has_a_correlation_id_of_its_own(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async with concur(always(answer("503 Busy")), settings) as (here, destination):
        outcomes = [await destination.upload(image_in(tmp_path), receipt_for("receipt")) for _ in "12"]
    sent = [request.header("concur-correlationid") for request in here.seen]
    assert [outcome.evidence.correlation_id for outcome in outcomes] == sent
    assert len({uuid.UUID(value) for value in sent if value}) == 2


async def test_a_new_attempt_sends_the_whole_image_again(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    image = image_in(tmp_path)
    async with concur(always(answer("429 Slow down")), settings) as (here, destination):
        for _ in range(2):
            assert isinstance(await destination.upload(image, receipt_for("receipt")), Throttled)
    assert [len(request.body) for request in here.seen] == [image.size] * 2


async def test_a_token_changed_between_attempts_is_used_at_once(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async with concur(always(CREATED), settings) as (here, destination):
        await destination.upload(image_in(tmp_path), receipt_for("receipt"))
        (tmp_path / "token").write_text("fresh-token")
        await destination.upload(image_in(tmp_path), receipt_for("receipt"))
    assert here.seen[1].header("Authorization") == "Bearer fresh-token"


async def test_the_token_is_in_no_log_of_any_library(
    settings: ConcurImageV1Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with concur(always(answer("403 Forbidden", TOKEN.encode())), settings) as (_, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("report/1"))
        problems = await destination.check()
    assert TOKEN not in caplog.text + repr(outcome) + repr(problems) + repr(vars(destination))


# --- before the request ------------------------------------------------------------------------------------


def test_a_token_never_goes_to_a_host_in_the_clear(settings: ConcurImageV1Settings) -> None:
    with pytest.raises(ConfigurationError):
        ConcurImageV1(replace(settings, url="http://us2.api.concursolutions.com"), connections=1)


def test_entries_and_invoices_take_one_image(settings: ConcurImageV1Settings) -> None:
    destination = ConcurImageV1(settings, connections=1)
    one = {slot: destination.limits(Slot.parse(slot)).one_image for slot in ("receipt", "report/1")}
    one |= {slot: destination.limits(Slot.parse(slot)).one_image for slot in ("expenseentry/1", "invoice/1")}
    assert one == {"receipt": False, "report/1": False, "expenseentry/1": True, "invoice/1": True}
    assert destination.limits(Slot("receipt")).max_bytes == settings.max_bytes
    assert destination.limits(Slot("receipt")).max_pages == settings.max_pages == 200


async def test_a_target_without_a_token_says_which_setting_is_missing(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    bare = replace(settings, token=None, accounts={})
    async with concur(always(CREATED), bare) as (here, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("receipt"))
        problems = await destination.check()
    assert isinstance(outcome, Refused)
    assert "targets.concur.token_file" in outcome.fix
    assert "targets.concur.token_file" in problems[0]
    assert here.connections == 0


async def test_a_type_concur_does_not_take_is_not_sent(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    image = replace(image_in(tmp_path), mime_type="image/heic\r\nX: y")
    async with concur(always(CREATED), settings) as (here, destination):
        assert isinstance(await destination.upload(image, receipt_for("receipt")), Refused)
    assert here.connections == 0


async def test_a_spool_that_can_not_be_read_just_now_is_tried_again(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    image = replace(image_in(tmp_path), path=tmp_path)
    async with concur(always(CREATED), settings) as (here, destination):
        outcome = await destination.upload(image, receipt_for("receipt"))
    assert isinstance(outcome, Unavailable)
    assert not outcome.everything
    assert here.connections == 0


# --- 403: the token, or this slot only? --------------------------------------------------------------------

FROM_CONCUR = ("Concur-Correlationid: x",)
FORBIDDEN = answer("403 Forbidden", b"<Error><Message>Forbidden</Message></Error>", headers=FROM_CONCUR)
NOBODYS = answer("404 Not Found", headers=FROM_CONCUR)


async def test_a_forbidden_report_does_not_close_the_target_for_others(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async with concur(by_method(NOBODYS, FORBIDDEN), settings) as (here, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("report/ANN1"))
    assert isinstance(outcome, Refused)
    assert "ANN1" in outcome.reason
    assert [request.line.split()[0] for request in here.seen] == ["POST", "GET"]


@pytest.mark.parametrize(
    "get",
    [
        *(answer(f"{status} X", headers=FROM_CONCUR) for status in (403, 401, 500, 302, 429)),
        answer("404 Not Found"),
        answer("404 Not Found", b"<html>nginx</html>", headers=FROM_CONCUR),
    ],
)
async def test_a_403_is_about_the_token_unless_concur_takes_the_token_elsewhere(
    settings: ConcurImageV1Settings, tmp_path: Path, get: bytes
) -> None:
    async with concur(by_method(get, FORBIDDEN), settings) as (_, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("report/ANN1"))
    assert isinstance(outcome, Unavailable)
    assert outcome.everything


async def test_a_403_for_a_plain_receipt_is_about_the_token(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async with concur(by_method(NOBODYS, FORBIDDEN), settings) as (here, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("receipt"))
    assert isinstance(outcome, Unavailable)
    assert len(here.seen) == 1


async def test_a_firewall_that_dislikes_one_image_does_not_close_the_target(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    blocked = answer("403 Forbidden", b"<!DOCTYPE html><title>Blocked</title>", content_type="text/html")
    async with concur(by_method(NOBODYS, blocked), settings) as (_, destination):
        for slot in ("receipt", "report/ANN1"):
            outcome = await destination.upload(image_in(tmp_path), receipt_for(slot))
            assert isinstance(outcome, Unavailable), outcome
            assert not outcome.everything
            assert "firewall" in outcome.fix


# --- a refused token that can be renewed -------------------------------------------------------------------


def refusing(token: str, status: str, tokens: Path, fresh: str, after: bytes = CREATED) -> Behaviour:
    """Refuses `token`, and has `fresh` in its place by the time it answers; others get `after`."""

    async def behave(here: Peer, reader: Reader, writer: Writer) -> None:
        while not reader.at_eof():
            request = await here.read_request(reader)
            known = request.header("Authorization") != f"Bearer {token}"
            tokens.write_text(fresh)
            writer.write(after if known else answer(status, headers=FROM_CONCUR))
            await writer.drain()

    return behave


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_an_upload_refused_for_its_token_is_repeated_once_with_the_new_one(
    settings: ConcurImageV1Settings, tmp_path: Path, status: str
) -> None:
    image = image_in(tmp_path)
    async with concur(refusing(TOKEN, status, tmp_path / "token", "fresh-1"), settings) as (
        here,
        destination,
    ):
        outcome = await destination.upload(image, receipt_for("receipt"))
    assert isinstance(outcome, Uploaded)
    assert [request.header("Authorization") for request in here.seen] == [f"Bearer {TOKEN}", "Bearer fresh-1"]
    assert {request.body for request in here.seen} == {image.path.read_bytes()}


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_new_token_that_is_refused_as_well_is_not_tried_a_third_time(
    settings: ConcurImageV1Settings, tmp_path: Path, status: str
) -> None:
    again = answer(status, headers=FROM_CONCUR)
    behaviour = refusing(TOKEN, status, tmp_path / "token", "fresh-1", after=again)
    async with concur(behaviour, settings) as (here, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("receipt"))
    assert isinstance(outcome, Unavailable)
    assert outcome.everything
    assert len(here.seen) == 2


async def test_no_token_is_renewed_for_a_report_that_is_somebody_elses(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async def behave(here: Peer, reader: Reader, writer: Writer) -> None:
        while not reader.at_eof():
            request = await here.read_request(reader)
            (tmp_path / "token").write_text("fresh-1")
            writer.write(FORBIDDEN if "ANN1" in request.line else NOBODYS)
            await writer.drain()

    async with concur(behave, settings) as (here, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("report/ANN1"))
        answered = await destination.look_up(Slot.parse("report/ANN1"), account=None)
    assert isinstance(outcome, Refused)
    assert [request.line.split()[0] for request in here.seen[:2]] == ["POST", "GET"]
    assert isinstance(answered, CannotSay)
    assert answered.obstacle is None
    assert len(here.seen) == 4


# --- looking a slot up -------------------------------------------------------------------------------------

IMAGE = (
    b"<Image><Id>E$1</Id><Url>https://imagingupload.concursolutions.com/file/p/f?id=1&amp;e=2</Url></Image>"
)


async def test_a_look_up_is_a_get_of_the_slot_with_the_accounts_token(
    settings: ConcurImageV1Settings,
) -> None:
    raw = answer("200 OK", IMAGE, headers=FROM_CONCUR)
    async with concur(always(raw), settings, path="/base") as (here, destination):
        result = await destination.look_up(Slot.parse("expenseentry/E$1"), account="ann")
        await destination.look_up(Slot("receipt"), account=None, image_id="a/b$")
    assert isinstance(result, Found)
    assert result.url == "https://imagingupload.concursolutions.com/file/p/f?id=1&e=2"
    assert (result.image_id, result.evidence.status, result.evidence.correlation_id) == ("E$1", 200, "x")
    assert [request.line for request in here.seen] == [
        "GET /base/api/image/v1.0/expenseentry/E%241 HTTP/1.1",
        "GET /base/api/image/v1.0/receipt/a%2Fb%24 HTTP/1.1",
    ]
    first = here.seen[0]
    assert first.header("Authorization") == "Bearer ann-canary-77"
    assert first.header("Accept") == "application/xml"
    assert first.body == b""


async def test_what_can_not_be_asked_costs_no_request(settings: ConcurImageV1Settings) -> None:
    async with concur(always(NOBODYS), settings) as (here, destination):
        for slot, account in (
            (Slot("receipt"), None),
            (Slot("album", "1"), None),
            (Slot("report", "1"), "x"),
        ):
            result = await destination.look_up(slot, account=account)
            assert isinstance(result, CannotSay)
            assert result.obstacle is None
    assert here.connections == 0


async def test_a_look_up_without_a_token_or_a_connection_tells_the_gate(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async with concur(always(NOBODYS), settings) as (here, destination):
        (tmp_path / "token").unlink()
        result = await destination.look_up(Slot("invoice", "1"), account=None)
        assert isinstance(result, CannotSay)
        assert isinstance(result.obstacle, Unavailable)
        assert result.obstacle.everything
        assert here.connections == 0
    nobody = ConcurImageV1(replace(settings, url="http://127.0.0.1:9"), connections=1)
    result = await nobody.look_up(Slot("invoice", "1"), account="ann")
    await nobody.aclose()
    assert isinstance(result, CannotSay)
    assert isinstance(result.obstacle, Unavailable)
    assert result.obstacle.everything


async def test_a_look_up_is_repeated_with_a_renewed_token_too(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    behaviour = refusing(TOKEN, "401 Unauthorized", tmp_path / "token", "fresh-1", after=NOBODYS)
    async with concur(behaviour, settings) as (here, destination):
        result = await destination.look_up(Slot("invoice", "1"), account=None)
    assert isinstance(result, NotThere)
    assert len(here.seen) == 2


def test_slots_of_one_image_are_read_back_and_a_report_shows_several(settings: ConcurImageV1Settings) -> None:
    destination = ConcurImageV1(settings, connections=1)
    slots = [Slot("receipt"), Slot("expenseentry", "1"), Slot("invoice", "1"), Slot("report", "1")]
    assert [destination.reads_back(slot) for slot in slots] == [False, True, True, False]
    assert [destination.shows_alone(slot) for slot in slots] == [True, True, True, False]


def test_every_login_is_named(settings: ConcurImageV1Settings) -> None:
    destination = ConcurImageV1(settings, connections=1)
    assert [login.account for login in destination.logins] == [None, "ann"]


# --- downloading -------------------------------------------------------------------------------------------


async def test_a_download_says_whether_another_try_may_do_better(settings: ConcurImageV1Settings) -> None:
    for status, passing in (("403 Forbidden", False), ("503 Busy", True)):
        async with concur(always(answer(status)), settings) as (here, destination):
            result = await destination.download(f"{here.url}/file/1", io.BytesIO())
        assert isinstance(result, CannotSay)
        assert result.passing is passing
        assert result.obstacle is None
        assert here.seen[0].header("Authorization") is None


# --- the answer --------------------------------------------------------------------------------------------


async def test_a_redirect_takes_the_token_nowhere(settings: ConcurImageV1Settings, tmp_path: Path) -> None:
    async with peer(always(CREATED)) as other:
        raw = answer("308 Permanent Redirect", headers=(f"Location: {other.url}/api",))
        async with concur(always(raw), settings) as (_, destination):
            outcome = await destination.upload(image_in(tmp_path), receipt_for("receipt"))
    assert isinstance(outcome, Unavailable)
    assert other.connections == 0


async def test_a_server_that_never_answers_is_given_up_after_the_timeout(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async def silent(here: Peer, reader: Reader, _: Writer) -> None:
        await here.read_request(reader)
        await here.release.wait()

    quick = replace(settings, timeout=timedelta(seconds=0.3))
    async with concur(silent, quick) as (_, destination):
        outcome = await asyncio.wait_for(destination.upload(image_in(tmp_path), receipt_for("receipt")), 5)
    assert isinstance(outcome, Unconfirmed)


def test_connections_are_reused_for_less_time_than_servers_keep_them() -> None:
    assert REUSE_SECONDS < 5


# --- the check ---------------------------------------------------------------------------------------------


async def test_the_check_asks_with_every_token_and_uploads_nothing(settings: ConcurImageV1Settings) -> None:
    async with concur(always(answer("404 Not Found", headers=FROM_CONCUR)), settings) as (here, destination):
        assert await destination.check() == []
    assert {request.header("Authorization") for request in here.seen} == {
        f"Bearer {TOKEN}",
        "Bearer ann-canary-77",
    }
    assert {request.line.split()[0] for request in here.seen} == {"GET"}
    assert all(request.body == b"" for request in here.seen)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_the_check_names_each_token_that_is_refused(
    settings: ConcurImageV1Settings, tmp_path: Path, status: str
) -> None:
    async with concur(always(answer(status)), settings) as (_, destination):
        problems = await destination.check()
    assert len(problems) == 2
    assert {"ann-token" in problem for problem in problems} == {True, False}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (answer("503 Busy", headers=FROM_CONCUR), "answered 503"),
        (answer("301 Moved", headers=FROM_CONCUR), "answered 301"),
        (answer("404 Not Found", b"<html>nginx</html>"), "not Concur"),
        (b"garbage\r\n\r\n", "not HTTP"),
    ],
)
async def test_the_check_says_once_what_concerns_every_token(
    settings: ConcurImageV1Settings, raw: bytes, words: str
) -> None:
    async with concur(always(raw), settings) as (_, destination):
        (problem,) = await destination.check()
    assert words in problem
