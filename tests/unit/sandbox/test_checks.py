import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from ingestd.sandbox.checks import MAX_BYTES
from tests.unit.sandbox.client import API, Answer, Client, jpeg, pdf, png

ERROR_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


async def refused(client: Client, answer: Answer, status: int, words: str) -> None:
    """An <Error> with that status and those words, and nothing stored."""
    assert (answer.status, words in answer.message) == (status, True), answer
    assert await client.images() == []


async def switch(client: Client, **switches: int) -> None:
    await client.plan(switches=switches)


async def test_an_error_has_a_message_a_time_without_offset_and_an_id(client: Client) -> None:
    error = (await client.post("receipt", authorization=None)).xml
    assert [child.tag for child in error] == ["Message", "Server-Time", "Id"]
    assert ERROR_TIME.fullmatch(error.findtext("Server-Time") or "")
    assert error.findtext("Id")


async def test_no_authorization_is_401(client: Client) -> None:
    await refused(client, await client.post("receipt", authorization=None), 401, "not included")
    assert (await client.get("receipt/x", authorization=None)).status == 401


@pytest.mark.parametrize(
    "authorization", ["Bearer bad-token", "OAuth expired-1", "Basic abc", "Bearer", "Bearer ", "token"]
)
async def test_an_authorization_that_fails_is_403_or_by_switch_401(
    client: Client, authorization: str
) -> None:
    answer = await client.post("receipt", authorization=authorization)
    await refused(client, answer, 403, "Forbidden Request")
    await switch(client, bad_token=401)
    assert (await client.post("receipt", authorization=authorization)).status == 401
    assert (await client.get("receipt/x", authorization=authorization)).status == 401


@pytest.mark.parametrize("content_type", ["image/gif", "text/plain", "application/octet-stream", "image"])
async def test_another_content_type_is_400_or_by_switch_415(client: Client, content_type: str) -> None:
    answer = await client.post("receipt", content_type=content_type)
    await refused(client, answer, 400, "Content-Type must be one of")
    await switch(client, wrong_type=415)
    assert (await client.post("receipt", content_type=content_type)).status == 415


async def test_a_missing_content_type_is_a_wrong_one(client: Client) -> None:
    body = jpeg()
    answer = await client.raw(
        f"POST {API}/receipt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Type must be one of" in answer


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("image/jpeg", png()),
        ("image/jpg", b"\xff\xd8\x00" + b"x" * 99),
        ("image/png", jpeg()),
        ("image/png", b"\x89PNG"),
        ("application/pdf", b"hello, this is no PDF"),
        ("application/pdf", b"\n%PDF-1.4"),
    ],
)
async def test_bytes_that_are_not_what_content_type_says_are_400(
    client: Client, content_type: str, content: bytes
) -> None:
    answer = await client.post("receipt", content, content_type=content_type)
    await refused(client, answer, 400, f"not {content_type}")


async def test_ten_mebibytes_are_taken_and_one_byte_more_is_400_or_by_switch_413(client: Client) -> None:
    answer = await client.post("receipt", jpeg(MAX_BYTES + 1))
    await refused(client, answer, 400, "larger than 10 MB")
    await switch(client, too_large=413)
    assert (await client.post("receipt", jpeg(MAX_BYTES + 1))).status == 413
    assert (await client.post("receipt", jpeg(MAX_BYTES))).status == 201


async def test_a_body_announced_as_huge_is_refused_without_reading_it(client: Client) -> None:
    host, port = client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {API}/receipt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {40 * 2**30}\r\n\r\n".encode()
    )
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "content",
    [
        pdf(password="secret"),
        pdf(password="secret", owner_only=True),
        pdf(password="secret", algorithm="AES-256"),
        pdf(password="secret").replace(b"/Encrypt", b"/#45ncr#79pt"),
        b"%PDF-1.7\ntrailer << /Encrypt 9 0 R >>\nruined",
    ],
    ids=["user password", "owner password only", "AES", "name written with #", "named but unreadable"],
)
async def test_an_encrypted_pdf_is_400(client: Client, content: bytes) -> None:
    answer = await client.post("receipt", content, content_type="application/pdf")
    await refused(client, answer, 400, "encrypted or password protected")


async def test_a_pdf_that_only_speaks_of_encrypt_is_taken(client: Client) -> None:
    content = pdf() + b"% how to /Encrypt a file\n"
    assert (await client.post("receipt", content, content_type="application/pdf")).status == 201


async def test_an_empty_body_is_400(client: Client) -> None:
    await refused(client, await client.post("receipt", b""), 400, "empty")


async def chunks() -> AsyncIterator[bytes]:
    yield jpeg()


async def test_chunked_is_400_in_concurs_words_or_by_switch_411(client: Client) -> None:
    answer = await client.post("receipt", chunks())
    await refused(client, answer, 400, "Concur does not support Chunked Transfer-Encoding")
    await switch(client, no_length=411)
    assert (await client.post("receipt", chunks())).status == 411


async def test_a_missing_content_length_is_400_or_by_switch_411(client: Client) -> None:
    request = (
        f"POST {API}/receipt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
        "Content-Type: image/jpeg\r\nConnection: close\r\n\r\n"
    ).encode()
    answer = await client.raw(request)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Length header is missing" in answer
    await switch(client, no_length=411)
    assert (await client.raw(request)).startswith(b"HTTP/1.1 411 ")


async def test_multipart_is_400_or_by_switch_415(client: Client) -> None:
    async def send() -> Answer:
        form = aiohttp.FormData()
        form.add_field("Image File", jpeg(), filename="receipt.jpg", content_type="image/jpeg")
        payload = form()
        return await client.post("receipt", payload, content_type=payload.headers["Content-Type"])

    await refused(client, await send(), 400, "not multipart")
    await switch(client, wrong_type=415)
    assert (await send()).status == 415


async def test_a_compressed_body_is_refused_and_never_unpacked(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.post("receipt", headers={"Content-Encoding": "gzip"})
    await refused(client, answer, 400, "Content-Encoding")
    assert caplog.records == []


@pytest.mark.parametrize("slot", ["expenseentry/unknown-1", "invoice/unknown-1", "report/unknown-1"])
async def test_an_unknown_id_is_404_or_by_switch_400(client: Client, slot: str) -> None:
    kind = slot.partition("/")[0]
    await refused(client, await client.post(slot), 404, f"No such {kind}")
    assert (await client.get(slot)).status == 404
    await switch(client, unknown_id=400)
    await refused(client, await client.post(slot), 400, f"Bad Request - invalid {kind} key.")


@pytest.mark.parametrize("identifier", ["%00", "a%0Ab", "x" * 201])
async def test_an_id_that_xml_could_not_echo_is_unknown(client: Client, identifier: str) -> None:
    assert (await client.post(f"report/{identifier}")).status == 404
    assert await client.images() == []


@pytest.mark.parametrize("slot", ["", "report/", "report", "receipt/1", "expenseentry//1", "album/1"])
async def test_there_is_no_other_place_to_post_to(client: Client, slot: str) -> None:
    assert (await client.post(slot)).status in (404, 405)
    assert await client.images() == []


@pytest.mark.parametrize("status", [409, 200, 201])
async def test_a_taken_slot_can_be_switched_to_other_answers_and_keeps_its_image(
    client: Client, status: int
) -> None:
    await client.post("expenseentry/1")
    await switch(client, slot_taken=status)
    again = await client.post("expenseentry/1", png(), content_type="image/png")
    assert again.status == status
    if status < 300:
        assert again.image_id == "1"
    assert [image["content_type"] for image in await client.images()] == ["image/jpeg"]


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(client: Client) -> None:
    host, port = client.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {API}/receipt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: 5000\r\n\r\n".encode()
        + jpeg(2000)
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    seen: dict[str, Any] = {"requests": []}
    while not seen["requests"]:
        await asyncio.sleep(0.01)
        seen = await client.own("GET", "requests")
    assert (seen["requests"][0]["status"], seen["requests"][0]["received"]) == (None, 2000)
    assert await client.images() == []


async def test_authorization_is_checked_before_everything_else(client: Client) -> None:
    answer = await client.post(
        "report/unknown-drop-before", b"", content_type="text/plain", authorization="Bearer bad-x"
    )
    assert answer.status == 403
