"""What lies behind a URL that a server handed out: from where it is taken, and what is sent along."""

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from yarl import URL

from ingestd.http import downloading
from ingestd.http.downloading import Downloads, Fetched, NotFetched
from tests.unit.http.peers import Behaviour, Peer, Reader, Writer, always, answer, peer

API = "https://us2.api.concursolutions.com"
DOMAINS = ("concursolutions.com",)
CONTENT = bytes(range(256)) * 3_000


@asynccontextmanager
async def downloads(base: str, silence: timedelta = timedelta(seconds=5)) -> AsyncIterator[Downloads]:
    made = Downloads(base=base, domains=DOMAINS, silence=silence)
    try:
        yield made
    finally:
        await made.aclose()


async def fetched_from(behaviour: Behaviour, *, silence: float = 5) -> tuple[Fetched | NotFetched, bytes]:
    into = io.BytesIO()
    async with peer(behaviour) as here, downloads(here.url, timedelta(seconds=silence)) as made:
        result = await made.fetch(f"{here.url}/file/1?id=2&e=3", into)
    return result, into.getvalue()


# --- what goes out -----------------------------------------------------------------------------------------


async def test_the_bytes_come_whole_with_their_type_and_nothing_of_ours_goes_out() -> None:
    raw = answer("200 OK", CONTENT, content_type="Image/JPEG; q=1", headers=("Set-Cookie: a=b; Path=/",))
    into = io.BytesIO()
    async with peer(always(raw)) as here, downloads(here.url) as made:
        result = await made.fetch(f"{here.url}/file/p%2400/0a%2F?id=1&e=%24&t=AN", into)
        await made.fetch(f"{here.url}/again", io.BytesIO())
    assert result == Fetched(mime_type="image/jpeg", size=len(CONTENT))
    assert into.getvalue() == CONTENT
    assert here.seen[0].line == "GET /file/p%2400/0a%2F?id=1&e=%24&t=AN HTTP/1.1"
    for request in here.seen:
        names = {name.lower() for name, _ in request.headers}
        assert names == {"host", "accept", "accept-encoding", "user-agent", "connection"}
        assert request.header("Accept-Encoding") == "identity"


async def test_a_proxy_of_the_environment_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peer(always(answer("200 OK", b"x"))) as proxy, peer(always(answer("200 OK", b"y"))) as here:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with downloads(here.url) as made:
            assert isinstance(await made.fetch(f"{here.url}/1", io.BytesIO()), Fetched)
    assert proxy.connections == 0


# --- where to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://imagingupload.concursolutions.com/file/1",
        "https://concursolutions.com.evil.example/file/1",
        "https://evilconcursolutions.com/file/1",
        "https://user@imagingupload.concursolutions.com/file/1",
        "https://imagingupload.concursolutions.com:pass@evil.example/file/1",
        "https://127.0.0.1/file/1",
        "https://[::1]/file/1",
        "http://localhost:8080/file/1",
        "https://2130706433/file/1",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "ftp://imagingupload.concursolutions.com/file/1",
        "file:///etc/passwd",
        "//imagingupload.concursolutions.com/file/1",
        "https://imagingupload.concursolutions.com:port/",
        "https://imagingupload.concursolutions.com/a b",
        "https://imagingupload.concursolutions.com/\r\nX: y",
        "https://imagingupload.concursolutions.com/" + "a" * 9_000,
        "https://ımagingupload.concursolutions.com/1",
        "https://",
        "",
    ],
)
async def test_no_url_leads_to_another_place_than_the_apis(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connects = 0

    async def counted(*_: object, **__: object) -> object:
        nonlocal connects
        connects += 1
        raise OSError("nobody may come here")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", counted)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", counted)
    async with downloads(API) as made:
        result = await made.fetch(url, io.BytesIO())
    assert isinstance(result, NotFetched)
    assert not result.passing
    assert connects == 0


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (API, "https://imagingupload.concursolutions.com/file/1"),
        (API, "https://imaginginvoiceupload.concursolutions.com:443/file/1"),
        (API, "https://concursolutions.com/file/1"),
        (API, "https://IMAGINGUPLOAD.ConcurSolutions.COM./file/1"),
        ("https://gateway.example.com/concur", "https://gateway.example.com/file/1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:9090/file/1"),
        ("http://localhost:8080", "http://127.0.0.1:8080/file/1"),
        ("http://[::1]:8080", "http://[::1]:8080/file/1"),
    ],
)
async def test_the_apis_own_hosts_are_asked(base: str, url: str) -> None:
    made = Downloads(base=base, domains=DOMAINS, silence=timedelta(seconds=1))
    assert made._is_allowed(URL(url, encoded=True))


async def test_a_redirect_is_followed_by_the_same_rules() -> None:
    async with peer(always(answer("200 OK", CONTENT))) as there:
        raw = answer("302 Found", headers=(f"Location: {there.url}/x",))
        async with peer(always(raw)) as here, downloads(here.url) as made:
            result = await made.fetch(f"{here.url}/1", io.BytesIO())
    assert isinstance(result, Fetched)
    result, _ = await fetched_from(always(answer("302 Found", headers=("Location: https://10.0.0.1/x",))))
    assert isinstance(result, NotFetched)
    assert "no host of this API" in result.reason


async def test_a_circle_of_redirects_ends() -> None:
    async with peer(always(answer("307 X", headers=("Location: /again",)))) as here, downloads(here.url) as m:
        result = await m.fetch(f"{here.url}/1", io.BytesIO())
    assert isinstance(result, NotFetched)
    assert len(here.seen) == 1 + downloading.MOST_REDIRECTS


# --- what comes back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "passing", "words"),
    [
        (answer("403 Forbidden"), False, "not good any more"),
        (answer("404 Not Found"), False, "not good any more"),
        (answer("410 Gone"), False, "not good any more"),
        (answer("204 No Content"), False, "204"),
        (answer("206 Partial Content", b"x"), False, "206"),
        (answer("429 Slow down"), True, "429"),
        (answer("500 Oops"), True, "500"),
        (answer("503 Busy"), True, "503"),
        (answer("200 OK", b"<html>log in</html>", content_type="text/html"), False, "web page"),
        (answer("200 OK", gzip.compress(b"x"), headers=("Content-Encoding: gzip",)), False, "encoding"),
        (answer("200 OK", b""), False, "no bytes"),
        (answer("200 OK", b"x", length=10**9), False, "longer than"),
        (b"garbage\r\n\r\n", True, "broke off"),
    ],
)
async def test_each_answer_that_is_no_image_says_so(raw: bytes, passing: bool, words: str) -> None:
    async def once(here: Peer, reader: Reader, writer: Writer) -> None:
        await here.read_request(reader)
        writer.write(raw)
        await writer.drain()

    result, _ = await fetched_from(once)
    assert isinstance(result, NotFetched)
    assert words in result.reason
    assert result.passing is passing
    assert "id=2" not in repr(result), "the URL is as good as a password"


async def test_a_body_that_breaks_off_is_no_image() -> None:
    async def half(here: Peer, reader: Reader, writer: Writer) -> None:
        await here.read_request(reader)
        writer.write(answer("200 OK", CONTENT[:1000], length=len(CONTENT)))
        await writer.drain()

    result, _ = await fetched_from(half)
    assert isinstance(result, NotFetched)
    assert result.passing


async def test_a_silent_server_is_given_up() -> None:
    async def silent(here: Peer, reader: Reader, _: Writer) -> None:
        await here.read_request(reader)
        await here.release.wait()

    result, _ = await asyncio.wait_for(fetched_from(silent, silence=0.2), 10)
    assert isinstance(result, NotFetched)
    assert result.passing


async def test_a_body_without_a_length_is_cut_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "MOST_BYTES", 300_000)

    async def endless(here: Peer, reader: Reader, writer: Writer) -> None:
        await here.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    result, written = await fetched_from(endless)
    assert isinstance(result, NotFetched)
    assert "longer than" in result.reason
    assert len(written) <= 300_000


async def test_nobody_there_is_not_for_ever() -> None:
    async with downloads("http://127.0.0.1:9") as made:
        result = await made.fetch("http://127.0.0.1:9/1", io.BytesIO())
    assert isinstance(result, NotFetched)
    assert result.passing


async def test_a_file_that_takes_less_than_it_is_given_gets_the_rest_as_well() -> None:
    """As write(2) does when the disk is all but full: the next call says so, or there is room again."""

    class Tight(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(memoryview(data)[:1000])

    into = Tight()
    async with peer(always(answer("200 OK", CONTENT))) as here, downloads(here.url) as made:
        result = await made.fetch(f"{here.url}/1", into)
    assert isinstance(result, Fetched)
    assert into.getvalue() == CONTENT


async def test_a_full_disk_is_the_callers() -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    async with peer(always(answer("200 OK", CONTENT))) as here, downloads(here.url) as made:
        with pytest.raises(OSError, match="No space"):
            await made.fetch(f"{here.url}/1", Full())
