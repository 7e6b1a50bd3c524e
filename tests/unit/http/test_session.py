"""What became of a request, measured against peers that behave badly on a real socket."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ingestd.domain.errors import ConfigurationError
from ingestd.http import session as session_module
from ingestd.http.session import ANSWER_BYTES, Answer, AnswerLost, Exchange, NotSent, Request, Session
from tests.unit.http.peers import (
    Behaviour,
    Peer,
    Reader,
    Writer,
    always,
    answer,
    peer,
    reset,
    resume_reading,
    stop_reading,
)

SMALL, LARGE = 100_000, 4_000_000
QUICK = timedelta(seconds=0.4)


@asynccontextmanager
async def session_to(url: str, connections: int = 4) -> AsyncIterator[Session]:
    session = Session(url, connections=connections)
    try:
        yield session
    finally:
        await session.aclose()


def post(here: Peer, size: int = SMALL, *, silence: timedelta = timedelta(seconds=20)) -> Request:
    return Request(
        method="POST",
        url=here.url + "/x",
        headers={},
        content=b"\xe5" * size,
        content_type="image/png",
        silence=silence,
    )


async def sent_to(behaviour: Behaviour, size: int, *, silence: timedelta = QUICK) -> Exchange:
    async with peer(behaviour) as here, session_to(here.url) as session:
        return await session.exchange(post(here, size, silence=silence))


# --- the ordinary exchange ---------------------------------------------------------------------------------


async def test_a_body_is_sent_whole_with_its_length_and_never_chunked() -> None:
    async with peer(always(answer(body=b"<Image/>"))) as here, session_to(here.url) as session:
        result = await session.exchange(post(here, LARGE))
    assert isinstance(result, Answer)
    assert (result.status, result.body, result.complete) == (201, b"<Image/>", True)
    assert (result.bytes_sent, result.whole_sent) == (LARGE, True)
    (request,) = here.seen
    assert request.header("Content-Length") == str(LARGE)
    assert request.header("Content-Type") == "image/png"
    assert request.header("Transfer-Encoding") is None
    assert request.body == b"\xe5" * LARGE


async def test_the_url_goes_out_as_it_stands() -> None:
    async with peer(always(answer())) as here, session_to(here.url) as session:
        request = Request(method="GET", url=here.url + "/a/%24b%2Fc%25%3F", headers={})
        await session.exchange(request)
    assert here.seen[0].line == "GET /a/%24b%2Fc%25%3F HTTP/1.1"


async def test_nothing_is_sent_to_another_host() -> None:
    async with session_to("http://127.0.0.1:1") as session:
        with pytest.raises(ValueError, match="not below"):
            await session.exchange(Request(method="GET", url="http://127.0.0.1:12/x", headers={}))


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with peer(always(answer())) as other:
        raw = answer("307 Temporary Redirect", headers=(f"Location: {other.url}/there",))
        async with peer(always(raw)) as here, session_to(here.url) as session:
            result = await session.exchange(post(here))
    assert isinstance(result, Answer)
    assert result.status == 307
    assert other.connections == 0


async def test_cookies_are_not_sent_back() -> None:
    raw = answer(headers=("Set-Cookie: a=b; Path=/",))
    async with peer(always(raw)) as here, session_to(here.url) as session:
        await session.exchange(post(here))
        await session.exchange(post(here))
    assert [request.header("Cookie") for request in here.seen] == [None, None]


async def test_a_proxy_of_the_environment_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peer(always(answer())) as proxy, peer(always(answer())) as here:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with session_to(here.url) as session:
            await session.exchange(post(here))
    assert (proxy.connections, here.connections) == (0, 1)


async def test_no_more_connections_than_allowed_are_open_at_once() -> None:
    async with peer(always(answer())) as here, session_to(here.url, connections=3) as session:
        results = await asyncio.gather(*(session.exchange(post(here)) for _ in range(12)))
    assert {type(result) for result in results} == {Answer}
    assert here.connections <= 3


async def test_a_long_answer_is_read_up_to_its_limit_only() -> None:
    result = await sent_to(always(answer(body=b"x" * 5_000_000)), SMALL)
    assert isinstance(result, Answer)
    assert len(result.body) == ANSWER_BYTES
    assert not result.complete


async def test_the_request_does_not_show_its_headers() -> None:
    request = Request(method="GET", url="https://a/b", headers={"Authorization": "Bearer canary"})
    assert "canary" not in repr(request)


# --- what can't have arrived whole -------------------------------------------------------------------------


async def refuse_to_read(here: Peer, _: Reader, writer: Writer) -> None:
    stop_reading(writer)
    await here.release.wait()


async def reset_unread(_: Peer, __: Reader, writer: Writer) -> None:
    stop_reading(writer)
    await asyncio.sleep(0.05)
    reset(writer)


async def reset_in_the_middle(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_head(reader)
    await reader.readexactly(LARGE // 2)
    reset(writer)


async def close_in_the_middle(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_head(reader)
    await reader.readexactly(LARGE // 2)


async def end_own_half_and_read_on(here: Peer, reader: Reader, writer: Writer) -> None:
    """asyncio closes its side on our FIN, but still flushes what it holds: the count must stand."""
    await here.read_head(reader)
    writer.write_eof()
    while await reader.read(2**16):
        pass


async def garbage_in_the_middle(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_head(reader)
    writer.write(b"\x16\x03\x01 no HTTP\r\n\r\n")
    await here.release.wait()


@pytest.mark.parametrize(
    "behaviour",
    [
        refuse_to_read,
        reset_unread,
        reset_in_the_middle,
        close_in_the_middle,
        end_own_half_and_read_on,
        garbage_in_the_middle,
    ],
)
async def test_a_connection_that_breaks_within_the_body_is_known_not_to_have_sent_it(
    behaviour: Behaviour,
) -> None:
    result = await sent_to(behaviour, LARGE)
    assert isinstance(result, NotSent)
    assert result.connected
    assert 0 < result.bytes_sent < LARGE


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system can't limit its buffers")
async def test_what_only_the_kernel_took_from_us_does_not_count_as_sent() -> None:
    """With the buffers a socket has by itself, this body would count as sent, unread as it is."""
    assert isinstance(await sent_to(reset_unread, 1_000_000), NotSent)


async def close_at_once(_: Peer, __: Reader, writer: Writer) -> None:
    reset(writer)


async def test_a_connection_closed_before_the_first_byte_is_tried_once_more() -> None:
    async with peer(close_at_once) as here, session_to(here.url) as session:
        result = await session.exchange(post(here, LARGE))
        assert isinstance(result, NotSent)
        assert here.connections <= 2


async def answer_one_then_close(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_request(reader)
    writer.write(answer(body=b"<Image/>"))
    await writer.drain()
    await asyncio.sleep(0.2)


async def test_a_connection_that_was_closed_while_idle_costs_no_doubt() -> None:
    """The end of the old connection lies unread in the kernel, because the loop had no turn since."""
    async with peer_in_thread() as url, session_to(url) as session:
        request = Request(
            method="POST", url=url + "/x", headers={}, content=b"\xe5" * 1000, content_type="image/png"
        )
        assert isinstance(await session.exchange(request), Answer)
        time.sleep(0.5)  # noqa: ASYNC251 - the loop must not run while the server closes
        assert isinstance(await session.exchange(request), Answer)


async def test_a_connection_is_reused_only_while_it_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "REUSE_SECONDS", 0.3)
    async with peer(always(answer())) as here, session_to(here.url) as session:
        await session.exchange(post(here))
        await session.exchange(post(here))
        assert here.connections == 1
        await asyncio.sleep(0.5)
        await session.exchange(post(here))
        assert here.connections == 2


async def test_nobody_there_means_no_connection() -> None:
    async with peer(always(answer())) as here:
        pass
    async with session_to(here.url) as session:
        result = await session.exchange(post(here))
    assert isinstance(result, NotSent)
    assert not result.connected
    assert result.reason.startswith("No connection to 127.0.0.1:")


async def test_an_unknown_name_is_named() -> None:
    async with session_to("https://nowhere.invalid") as session:
        result = await session.exchange(
            Request(method="GET", url="https://nowhere.invalid/x", headers={}, silence=QUICK)
        )
    assert isinstance(result, NotSent)
    assert not result.connected
    assert "nowhere.invalid can't be resolved" in result.reason


async def test_a_port_that_speaks_no_tls_is_no_connection() -> None:
    async def speak_plainly(here: Peer, _: Reader, writer: Writer) -> None:
        writer.write(answer("400 Bad Request"))
        await here.release.wait()

    async with peer(speak_plainly) as here:
        url = here.url.replace("http:", "https:")
        async with session_to(url) as session:
            result = await session.exchange(Request(method="GET", url=url + "/x", headers={}, silence=QUICK))
    assert isinstance(result, NotSent)
    assert not result.connected


async def test_a_certificate_nobody_vouches_for_is_refused_with_a_fix(tmp_path: Path) -> None:
    async with peer(always(answer()), tls=own_certificate(tmp_path)) as here, session_to(here.url) as session:
        result = await session.exchange(post(here))
    assert isinstance(result, NotSent)
    assert not result.connected
    assert "certificate" in result.reason
    assert "ca-certificates" in result.fix
    assert here.seen == []


# --- what may have arrived ---------------------------------------------------------------------------------


async def close_after_the_body(here: Peer, reader: Reader, _: Writer) -> None:
    await here.read_request(reader)


async def reset_after_the_body(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_request(reader)
    reset(writer)


async def half_a_status_line(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_request(reader)
    writer.write(b"HTTP/1.1 20")


async def half_of_the_headers(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_request(reader)
    writer.write(b"HTTP/1.1 201 Created\r\nContent-Ty")


async def garbage(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_request(reader)
    writer.write(b"\x16\x03\x01 no HTTP\r\n\r\n")


async def silence(here: Peer, reader: Reader, _: Writer) -> None:
    await here.read_request(reader)
    await here.release.wait()


@pytest.mark.parametrize(
    "behaviour",
    [
        close_after_the_body,
        reset_after_the_body,
        half_a_status_line,
        half_of_the_headers,
        garbage,
        silence,
    ],
)
@pytest.mark.parametrize("size", [1, SMALL, LARGE])
async def test_an_answer_lost_after_the_whole_body_is_never_called_unsent(
    behaviour: Behaviour, size: int
) -> None:
    result = await sent_to(behaviour, size)
    assert isinstance(result, AnswerLost)
    assert result.bytes_sent == size


async def test_a_request_whose_answer_was_lost_is_not_repeated() -> None:
    async with peer(close_after_the_body) as here, session_to(here.url) as session:
        await session.exchange(post(here))
        await asyncio.sleep(0.05)
    assert len(here.seen) == 1


async def test_a_small_body_that_a_broken_peer_never_read_counts_as_sent() -> None:
    """It fits into the kernel's buffers: whether the peer's program saw it, nobody can tell."""
    assert isinstance(await sent_to(reset_unread, 1000), AnswerLost)


async def test_a_server_that_answers_drop_by_drop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "RESOLVE_AND_CONNECT_TIMEOUT", timedelta(seconds=0.3))

    async def drip(here: Peer, reader: Reader, writer: Writer) -> None:
        await here.read_request(reader)
        while True:
            writer.write(b"H" if not writer.is_closing() else b"")
            await writer.drain()
            await asyncio.sleep(0.1)

    result = await asyncio.wait_for(sent_to(drip, 10, silence=timedelta(seconds=0.2)), 10)
    assert isinstance(result, AnswerLost)


# --- over TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SSLContext:
    """A server's context whose certificate this process trusts for once."""
    context = own_certificate(tmp_path)
    trusting = create_default_context(cafile=tmp_path / "server.pem")
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
    return context


@pytest.mark.parametrize("size", [1, SMALL, LARGE])
async def test_a_body_arrives_whole_over_tls(trusted: SSLContext, size: int) -> None:
    async with peer(always(answer()), tls=trusted) as here, session_to(here.url) as session:
        for _ in range(2):
            result = await session.exchange(post(here, size))
            assert isinstance(result, Answer)
            assert result.whole_sent
    assert [len(request.body) for request in here.seen] == [size, size]
    assert here.connections == 1


@pytest.mark.parametrize("behaviour", [refuse_to_read, reset_unread, reset_in_the_middle])
async def test_a_break_within_the_body_is_recognised_over_tls(
    trusted: SSLContext, behaviour: Behaviour
) -> None:
    async with peer(behaviour, tls=trusted) as here, session_to(here.url) as session:
        result = await session.exchange(post(here, LARGE, silence=QUICK))
    assert isinstance(result, NotSent)
    assert 0 < result.bytes_sent < LARGE


@pytest.mark.parametrize("behaviour", [close_after_the_body, reset_after_the_body, silence])
async def test_a_lost_answer_is_recognised_over_tls(trusted: SSLContext, behaviour: Behaviour) -> None:
    async with peer(behaviour, tls=trusted) as here, session_to(here.url) as session:
        assert isinstance(await session.exchange(post(here, LARGE, silence=QUICK)), AnswerLost)


# --- broken answers ----------------------------------------------------------------------------------------


async def too_large_and_close(here: Peer, reader: Reader, writer: Writer) -> None:
    await here.read_head(reader)
    writer.write(answer("413 Content Too Large", b"too large", headers=("Connection: close",)))
    await writer.drain()
    reset(writer)


async def test_an_answer_before_the_end_of_the_body_is_heard() -> None:
    result = await sent_to(too_large_and_close, LARGE)
    assert isinstance(result, Answer)
    assert (result.status, result.body) == (413, b"too large")
    assert not result.whole_sent
    assert result.bytes_sent < LARGE


async def test_after_an_early_answer_the_rest_of_the_body_is_not_sent() -> None:
    """Half a body on a connection that is used again would be read as the next request."""
    rest: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def early(here: Peer, reader: Reader, writer: Writer) -> None:
        await here.read_head(reader)
        stop_reading(writer)
        writer.write(answer("400 Bad Request", b"no"))
        await here.release.wait()
        resume_reading(writer)
        count = 0
        with suppress(ConnectionError):
            while chunk := await reader.read(2**16):
                count += len(chunk)
        if not rest.done():
            rest.set_result(count)

    async with peer(early) as here, session_to(here.url) as session:
        for expected in (1, 2):
            result = await session.exchange(post(here, LARGE))
            assert isinstance(result, Answer)
            assert here.connections == expected
            if expected == 1:
                here.release.set()
                assert await rest < LARGE // 2
                here.release.clear()


async def test_a_body_that_breaks_off_is_an_incomplete_answer() -> None:
    async def cut(here: Peer, reader: Reader, writer: Writer) -> None:
        await here.read_request(reader)
        writer.write(answer(body=b"<Image><Id>ab", length=100))

    result = await sent_to(cut, SMALL)
    assert isinstance(result, Answer)
    assert (result.status, result.body, result.complete) == (201, b"<Image><Id>ab", False)


# --- the url -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://us2.api.concursolutions.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "ftp://127.0.0.1",
        "us2.api.concursolutions.com",
        "https://",
        "https://user:pass@host",
        "https://host/?a=b",
        "https://host/#a",
        "https://[::1",
        "https://host:99999",
    ],
)
def test_a_url_unfit_for_a_token_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Session(url, connections=1)


@pytest.mark.parametrize(
    "url", ["https://host", "https://host/", "http://127.0.0.1:8080", "http://[::1]:1", "http://localhost:1"]
)
def test_https_anywhere_and_http_on_loopback_are_fine(url: str) -> None:
    assert Session(url, connections=1).url == url.rstrip("/")


# --- peers with a life of their own ------------------------------------------------------------------------


@asynccontextmanager
async def peer_in_thread() -> AsyncIterator[str]:
    """Answers one request for each connection, then closes it, while the test's loop stands still."""
    started: asyncio.Future[tuple[str, Callable[[], object]]] = asyncio.get_running_loop().create_future()
    main = asyncio.get_running_loop()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with peer(answer_one_then_close) as here:
            entry = (here.url, partial(loop.call_soon_threadsafe, stop.set))
            main.call_soon_threadsafe(started.set_result, entry)
            await stop.wait()

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, serve()))
    url, stop = await started
    try:
        yield url
    finally:
        stop()
        await thread


def own_certificate(folder: Path) -> SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(1)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
