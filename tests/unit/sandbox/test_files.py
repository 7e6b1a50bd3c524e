"""What lies behind image URLs: origins, leaks, processing, conversion and faults of its own."""

from io import BytesIO
from typing import Any

import aiohttp
import pytest
from PIL import Image, ImageChops
from pypdf import PdfReader

from ingestd.sandbox import Sandbox, bundle, convert
from tests.unit.sandbox.client import Client, jpeg, png


def photo(kind: str = "JPEG") -> bytes:
    out = BytesIO()
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(out, kind, quality=95)
    return out.getvalue()


async def switch(client: Client, **switches: Any) -> None:
    await client.plan(switches=switches)


async def url_of(client: Client, slot: str = "report/1", content: bytes | None = None) -> str:
    await client.post(slot, content)
    return (await client.get(slot)).url


def origin(url: str) -> str:
    return url.partition("/file/")[0]


async def test_the_files_lie_where_the_switch_says(client: Client) -> None:
    await client.post("report/1")
    found = {}
    for where in ("same", "port", "host"):
        await switch(client, url_origin=where)
        url = (await client.get("report/1")).url
        found[where] = origin(url)
        assert (await client.fetch(url)).body == jpeg()
    assert found["same"] == client.base
    assert found["port"] != client.base
    assert found["port"].startswith("http://127.0.0.1:")
    assert found["host"].startswith("http://127.0.0.2:")


@pytest.mark.parametrize("path", ["/", "/_sandbox/images", "/api/image/v1.0/report/1", "/oauth2/v0/token"])
async def test_the_other_origin_has_files_and_nothing_else(client: Client, path: str) -> None:
    await switch(client, url_origin="host")
    other = origin(await url_of(client))
    answer = await client.fetch(other + path, {"Authorization": "Bearer good", "Host": client.base[7:]})
    assert answer.status == 404
    assert (await client.own("GET", "requests"))["leaks"] == 1


@pytest.mark.parametrize("where", ["same", "host"])
async def test_a_token_that_comes_with_the_url_is_a_leak(client: Client, where: str) -> None:
    await switch(client, url_origin=where)
    url = await url_of(client)
    assert (await client.fetch(url)).status == 200
    assert (await client.own("GET", "requests"))["leaks"] == 0
    assert (await client.fetch(url, {"Authorization": "Bearer good"})).status == 200
    shown = await client.own("GET", "requests")
    assert shown["leaks"] == 1
    assert [each["leak"] for each in shown["requests"]] == [False, False, False, True]
    await client.own("POST", "reset")
    assert (await client.own("GET", "requests"))["leaks"] == 0


async def test_a_token_that_follows_a_redirect_is_a_leak(client: Client) -> None:
    await client.fetch(client.base + "/redirected/report", {"Authorization": "Bearer good"})
    assert (await client.own("GET", "requests"))["leaks"] == 1


async def test_an_image_is_not_there_until_it_was_processed(client: Client, state: Sandbox) -> None:
    await switch(client, processing_seconds=30)
    await client.post("expenseentry/1")
    taken = next(iter(state.images)).at.timestamp()
    state.now = lambda: taken + 29.9
    assert (await client.get("expenseentry/1")).status == 404
    assert (await client.post("expenseentry/1")).status == 400
    state.now = lambda: taken + 30
    found = await client.get("expenseentry/1")
    assert (found.status, (await client.fetch(found.url)).body) == (200, jpeg())


async def test_an_image_can_be_there_without_a_url_until_it_was_processed(
    client: Client, state: Sandbox
) -> None:
    await switch(client, processing_seconds=30, processing="no-url")
    assert (await client.get("expenseentry/1")).status == 404
    await client.post("expenseentry/1")
    found = await client.get("expenseentry/1")
    assert (found.status, found.image_id, found.url) == (200, "1", "")
    taken = state.now()
    state.now = lambda: taken + 31
    assert (await client.get("expenseentry/1")).url


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_a_photo_can_come_back_as_a_pdf_that_shows_it(client: Client, kind: str) -> None:
    content_type, content = f"image/{kind.lower()}", photo(kind)
    await client.post("invoice/1", content, content_type=content_type)
    await switch(client, converts="pdf")
    fetched = await client.fetch((await client.get("invoice/1")).url)
    assert fetched.headers["Content-Type"] == "application/pdf"
    [page] = PdfReader(BytesIO(fetched.body)).pages
    [drawn] = page.images
    with Image.open(BytesIO(content)) as sent:
        assert drawn.image is not None
        assert (
            ImageChops.difference(drawn.image.convert("RGB"), sent.convert("RGB")).getextrema()
            == ((0, 0),) * 3
        )


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_a_photo_can_come_back_compressed_again(client: Client, kind: str) -> None:
    content = photo(kind)
    await client.post("invoice/1", content, content_type=f"image/{kind.lower()}")
    await switch(client, converts="recompressed")
    fetched = await client.fetch((await client.get("invoice/1")).url)
    assert (fetched.headers["Content-Type"], fetched.body != content) == ("image/jpeg", True)
    with Image.open(BytesIO(content)) as sent, Image.open(BytesIO(fetched.body)) as returned:
        assert sent.size == returned.size
        difference = ImageChops.difference(sent.convert("RGB"), returned)
    assert max(difference.tobytes()) <= 24


@pytest.mark.parametrize("how", ["pdf", "recompressed"])
def test_what_can_not_be_converted_stays_as_it_is(how: str) -> None:
    assert convert.converted(how, "application/pdf", b"%PDF ruined") == ("application/pdf", b"%PDF ruined")
    assert convert.converted("recompressed", "image/png", b"\x89PNG no") == ("image/png", b"\x89PNG no")
    assert convert.converted("no", "image/png", png()) == ("image/png", png())


async def test_the_url_can_deliver_something_else(client: Client) -> None:
    url = await url_of(client, "report/other-image", photo())
    other = await client.fetch(url)
    assert other.headers["Content-Type"] == "application/pdf"
    assert "Something else" in PdfReader(BytesIO(other.body)).pages[0].extract_text()
    assert len(PdfReader(BytesIO(bundle.page("x"))).pages) == 1


@pytest.mark.parametrize("name", ["fail-503", "html-502", "redirect-302", "throttle-0"])
async def test_faults_meet_files_by_their_name(client: Client, name: str) -> None:
    url = await url_of(client)
    await client.plan({"match": "file", "fault": name, "times": 1})
    async with client.session.get(url, allow_redirects=False) as response:
        assert str(response.status) in (name.rpartition("-")[2], "429")
    assert (await client.fetch(url)).body == jpeg()


async def test_a_download_can_break_off(client: Client) -> None:
    url = await url_of(client)
    await client.plan({"match": "file", "fault": "cut-answer"}, {"match": "file", "fault": "drop-before"})
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.fetch(url)
    await client.plan({"match": "file", "fault": "drop-before"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.fetch(url)
