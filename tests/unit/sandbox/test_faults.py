import asyncio
import email.utils
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from defusedxml.ElementTree import ParseError

from ingestd.sandbox import faults
from ingestd.sandbox.faults import CATALOGUE, Fault, Kind
from tests.unit.sandbox.client import Client, jpeg

NOTHING_STORED: list[str] = []


async def stored(client: Client) -> list[str]:
    return [image["id"] for image in await client.images()]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("fail-503", Fault(Kind.FAIL, 503)),
        ("fail-503-lunch", Fault(Kind.FAIL, 503)),
        ("fail-503-x2-lunch", Fault(Kind.FAIL, 503, 2)),
        ("fail-418-x2", Fault(Kind.FAIL, 418, 2)),
        ("throttle", Fault(Kind.THROTTLE)),
        ("throttle-0", Fault(Kind.THROTTLE, 0)),
        ("throttle-x3-a", Fault(Kind.THROTTLE, None, 3)),
        ("throttle-date-5", Fault(Kind.THROTTLE_DATE, 5)),
        ("accept-then-drop-7", None),
        ("accept-then-drop-x1-7", Fault(Kind.ACCEPT_THEN_DROP, None, 1)),
        ("accept-then-502", Fault(Kind.ACCEPT_THEN, 502)),
        ("redirect", Fault(Kind.REDIRECT, 307)),
        ("redirect-301-a", Fault(Kind.REDIRECT, 301)),
        ("timeout", Fault(Kind.TIMEOUT)),
        ("timeout-lunch", Fault(Kind.TIMEOUT)),
        ("timeouts", None),
        ("a-timeout", None),
        ("empty-handed", None),
        ("fail", None),
        ("fail-200", None),
        ("fail-600", None),
        ("redirect-200", None),
        ("error-in-500", None),
        ("A2C40CEE415B43B2A0BE", None),
        ("", None),
    ],
)
def test_a_name_picks_its_fault_or_none(name: str, fault: Fault | None) -> None:
    assert faults.parse(name) == fault


def test_every_example_of_the_catalogue_picks_its_own_kind() -> None:
    assert set(CATALOGUE) == set(Kind)
    for kind, entry in CATALOGUE.items():
        found = faults.parse(entry.example)
        assert found is not None
        assert found.kind is kind


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500, 502, 503, 504])
async def test_fail_answers_with_its_status_and_stores_nothing(client: Client, status: int) -> None:
    answer = await client.post(f"expenseentry/fail-{status}-a")
    assert (answer.status, bool(answer.message)) == (status, True)
    assert await stored(client) == NOTHING_STORED


async def test_x2_fails_twice_and_then_all_is_well(client: Client) -> None:
    slot = "expenseentry/fail-503-x2-lunch"
    assert [(await client.post(slot)).status for _ in range(4)] == [503, 503, 201, 400]
    assert (await client.post("expenseentry/fail-503-x2-dinner")).status == 503


@pytest.mark.parametrize(("name", "header"), [("throttle-5", "5"), ("throttle-0", "0"), ("throttle", None)])
async def test_throttle_says_when_to_come_back_or_does_not(
    client: Client, name: str, header: str | None
) -> None:
    answer = await client.post(f"report/{name}")
    assert (answer.status, answer.headers.get("Retry-After")) == (429, header)
    assert await stored(client) == NOTHING_STORED


async def test_throttle_can_name_a_date(client: Client) -> None:
    answer = await client.post("report/throttle-date-60")
    wait = email.utils.parsedate_to_datetime(answer.headers["Retry-After"]) - datetime.now(UTC)
    assert 50 < wait.total_seconds() <= 60


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("limit-400", 400, "number of requests received exceed the request limit"),
        ("deadlock-400", 400, "deadlock"),
        ("imaging-500", 500, "Imaging Configuration Not Available."),
        ("error-in-200", 200, "could not be saved"),
        ("error-in-201", 201, "could not be saved"),
    ],
)
async def test_errors_in_concurs_words_store_nothing(
    client: Client, name: str, status: int, words: str
) -> None:
    answer = await client.post(f"invoice/{name}")
    assert (answer.status, words in answer.message) == (status, True)
    assert await stored(client) == NOTHING_STORED


async def test_html_is_a_gateways_page(client: Client) -> None:
    answer = await client.post("report/html-502")
    assert (answer.status, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert b"<html>" in answer.body
    assert await stored(client) == NOTHING_STORED


@pytest.mark.parametrize(("name", "status"), [("redirect", 307), ("redirect-302", 302)])
async def test_redirect_leads_away_and_shows_who_follows(client: Client, name: str, status: int) -> None:
    answer = await client.post(f"report/{name}")
    assert answer.status == status
    port = client.base.rpartition(":")[2]
    assert answer.headers["Location"] == f"http://localhost:{port}/redirected/report"
    away = client.base + "/redirected/report"
    assert (await client.fetch(away, {"Authorization": "Bearer leaked"})).status == 404
    [_, followed] = (await client.own("GET", "requests"))["requests"]
    assert followed["path"] == "/redirected/report"
    assert followed["account"] is not None
    assert await stored(client) == NOTHING_STORED


@pytest.mark.parametrize("name", ["drop-before", "drop-mid-body"])
async def test_a_connection_dropped_early_stores_nothing(client: Client, name: str) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.post(f"report/{name}", jpeg(2_000_000))
    assert await stored(client) == NOTHING_STORED
    [request] = (await client.own("GET", "requests"))["requests"]
    assert request["status"] is None
    assert (request["received"] >= 1_000_000) is (name == "drop-mid-body")
    assert request["received"] < 2_000_000


async def test_drop_mid_body_resets_the_connection(client: Client) -> None:
    host, port = client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "POST /api/image/v1.0/report/drop-mid-body HTTP/1.1\r\nHost: x\r\nAuthorization: OAuth x\r\n"
    writer.write(f"{head}Content-Type: image/jpeg\r\nContent-Length: 4000\r\n\r\n".encode() + jpeg(2000))
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()


async def test_accept_then_drop_stores_and_says_nothing(client: Client) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post("report/accept-then-drop-x1-a")
    assert (await client.post("report/accept-then-drop-x1-a")).status == 201
    assert await stored(client) == ["accept-then-drop-x1-a"] * 2
    counts = (await client.own("GET", "images"))["requests"]
    assert counts == {"total": 2, "by_status": {"201": 1, "no answer": 1}}


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_accept_then_stores_and_answers_an_error(client: Client, status: int) -> None:
    assert (await client.post(f"report/accept-then-{status}")).status == status
    assert await stored(client) == [f"accept-then-{status}"]


async def test_timeout_stores_and_stays_silent_until_the_client_leaves(client: Client) -> None:
    asking = asyncio.create_task(client.post("expenseentry/timeout-a"))
    while not await stored(client):
        await asyncio.sleep(0.01)
    assert not asking.done()
    assert (await client.own("GET", "requests"))["total"] == 0
    asking.cancel()
    while (await client.own("GET", "requests"))["total"] == 0:
        await asyncio.sleep(0.01)
    assert (await client.post("expenseentry/timeout-a")).status == 400


async def test_slow_stores_at_once_and_answers_late(client: Client) -> None:
    assert (await client.post("report/slow-1")).status == 201
    answered = datetime.now(UTC)
    [image] = await client.images()
    assert (answered - datetime.fromisoformat(image["at"])).total_seconds() >= 1


async def test_empty_has_no_body(client: Client) -> None:
    answer = await client.post("report/empty-201")
    assert (answer.status, answer.body) == (201, b"")
    assert await stored(client) == ["empty-201"]


async def test_truncated_xml_is_a_whole_answer_with_half_the_xml(client: Client) -> None:
    answer = await client.post("report/truncated-xml")
    assert answer.status == 201
    assert len(answer.body) == int(answer.headers["Content-Length"])
    with pytest.raises(ParseError):
        _ = answer.xml
    assert await stored(client) == ["truncated-xml"]


async def test_cut_answer_stops_in_the_middle(client: Client) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.post("report/cut-answer")
    assert await stored(client) == ["cut-answer"]


async def test_the_url_faults_spoil_only_reading_back(client: Client) -> None:
    for name in ("expired-url", "no-url", "other-bytes"):
        assert (await client.post(f"report/{name}")).status == 201
    assert (await client.fetch((await client.get("report/expired-url")).url)).status == 403
    assert (await client.get("report/no-url")).url == ""
    other = await client.fetch((await client.get("report/other-bytes")).url)
    assert other.status == 200
    assert other.body != jpeg()
    assert len(other.body) == len(jpeg())


@pytest.mark.parametrize(
    ("slot", "content"),
    [("report/accept-then-drop", b"no jpeg"), ("report/timeout", b"no jpeg"), ("report/slow-9", b"no jpeg")],
)
async def test_what_is_no_image_is_refused_before_the_faults_that_store(
    client: Client, slot: str, content: bytes
) -> None:
    assert (await client.post(slot, content)).status == 400
    assert await stored(client) == NOTHING_STORED


async def test_an_id_spoils_uploads_and_not_look_ups(client: Client) -> None:
    slot = "report/accept-then-500"
    await client.post(slot)
    assert (await client.get(slot)).status == 200


@pytest.mark.parametrize(
    ("name", "status"), [("fail-503", 503), ("throttle-1", 429), ("html-502", 502), ("error-in-200", 200)]
)
async def test_the_plan_can_spoil_look_ups(client: Client, name: str, status: int) -> None:
    await client.post("report/1")
    rule: dict[str, Any] = {"match": "report/*", "method": "GET", "fault": name}
    await client.plan(rule)
    assert (await client.get("report/1")).status == status
    assert (await client.post("report/1")).status == 201
