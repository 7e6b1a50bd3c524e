"""What goes over the wire to Image v1.0, and what is asked before anything does."""

import asyncio
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
from ingestd.domain.outcome import Refused, Throttled, Unavailable, Unconfirmed, Uploaded
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

FORBIDDEN = answer("403 Forbidden", b"<Error><Message>Forbidden</Message></Error>")


async def test_a_forbidden_report_does_not_close_the_target_for_others(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async with concur(by_method(answer("404 Not Found"), FORBIDDEN), settings) as (here, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("report/ANN1"))
    assert isinstance(outcome, Refused)
    assert "ANN1" in outcome.reason
    assert [request.line.split()[0] for request in here.seen] == ["POST", "GET"]


@pytest.mark.parametrize("get", ["403 Forbidden", "401 Unauthorized", "500 Error", "302 Found", "429 Slow"])
async def test_a_403_is_about_the_token_unless_the_token_is_good_elsewhere(
    settings: ConcurImageV1Settings, tmp_path: Path, get: str
) -> None:
    async with concur(by_method(answer(get), FORBIDDEN), settings) as (_, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("report/ANN1"))
    assert isinstance(outcome, Unavailable)
    assert outcome.everything


async def test_a_403_for_a_plain_receipt_is_about_the_token(
    settings: ConcurImageV1Settings, tmp_path: Path
) -> None:
    async with concur(by_method(answer("404 Not Found"), FORBIDDEN), settings) as (here, destination):
        outcome = await destination.upload(image_in(tmp_path), receipt_for("receipt"))
    assert isinstance(outcome, Unavailable)
    assert len(here.seen) == 1


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

FROM_CONCUR = ("Concur-Correlationid: x",)


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
