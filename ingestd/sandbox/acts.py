"""What each fault does to a request, at its moment: before the body, after it, or once the image is stored.

The moments matter: a client must be able to tell "nothing was stored" from "stored, and the answer is lost".
"""

import time
from email.utils import formatdate

from aiohttp import ClientPayloadError, web

from ingestd.sandbox import answers, checks
from ingestd.sandbox.answers import NoAnswer, Refused
from ingestd.sandbox.faults import Fault, Kind
from ingestd.sandbox.state import EXCHANGE, SANDBOX

LIMIT_WORDS = "The number of requests received exceed the request limit."
"""The 400 that means 429 (Concur, "HTTP status codes")."""

_WORDS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden Request",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    429: "Too many requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "The service is down for maintenance.",
    504: "Gateway Timeout",
}


async def before_body(fault: Fault | None, request: web.Request) -> web.StreamResponse | None:
    """The connection breaks while the request is still coming in."""
    if fault is None:
        return None
    if fault.kind is Kind.DROP_BEFORE:
        return NoAnswer()
    if fault.kind is Kind.DROP_MID_BODY:
        await _read_half(request)
        return NoAnswer(reset=True)
    return None


def instead(fault: Fault | None, kind: str, request: web.Request) -> web.StreamResponse | None:
    """An answer in place of the right one; nothing has been stored. None: go on.

    `kind`: of the slot, or the name of the endpoint.
    """
    if fault is None:
        return None
    match fault.kind:
        case Kind.FAIL:
            raise Refused(fault.status, _words(fault.status))
        case Kind.THROTTLE:
            seconds = {} if fault.number is None else {"Retry-After": str(fault.number)}
            raise Refused(429, _words(429), seconds)
        case Kind.THROTTLE_DATE:
            # RFC 9110, 10.2.3: Retry-After is seconds or a date.
            date = formatdate(time.time() + (fault.number or 0), usegmt=True)
            raise Refused(429, _words(429), {"Retry-After": date})
        case Kind.LIMIT:
            raise Refused(fault.status, LIMIT_WORDS)
        case Kind.DEADLOCK:
            raise Refused(
                fault.status, "A database deadlock occurred. Resend the request a short time later."
            )
        case Kind.IMAGING:
            raise Refused(fault.status, "Imaging Configuration Not Available.")
        case Kind.ERROR_IN:
            return answers.error(request, fault.status, "The image could not be saved.")
        case Kind.HTML:
            return answers.html_page(fault.status)
        case Kind.REDIRECT:
            return web.Response(status=fault.status, headers={"Location": _elsewhere(kind, request)})
        case Kind.REVOKE_TOKEN:
            raise checks.revoke(request)
        case _:
            return None


async def on_answer(fault: Fault | None, request: web.Request, good: web.Response) -> web.StreamResponse:
    """The image is stored (or found); this is what becomes of the good answer."""
    if fault is None:
        return good
    match fault.kind:
        case Kind.ACCEPT_THEN:
            raise Refused(fault.status, _words(fault.status))
        case Kind.ACCEPT_THEN_DROP:
            return NoAnswer()
        case Kind.TIMEOUT:
            await request.app[SANDBOX].sleep(None, request)
            return NoAnswer()
        case Kind.SLOW:
            await request.app[SANDBOX].sleep(fault.number, request)
            return good
        case Kind.EMPTY:
            return web.Response(status=fault.status)
        case Kind.TRUNCATED_XML:
            good.body = _half(good)
            return good
        case Kind.CUT_ANSWER:
            return answers.cut(good)
        case _:
            return good


def _words(status: int) -> str:
    return _WORDS.get(status, f"The request failed with status {status}.")


def _half(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body[: len(response.body) // 2]


def _elsewhere(kind: str, request: web.Request) -> str:
    """The same server under another host name: a token sent there has left the configured API."""
    host = "localhost" if request.url.host != "localhost" else "127.0.0.1"
    return str(request.url.origin().with_host(host) / "redirected" / kind)


async def _read_half(request: web.Request) -> None:
    enough, received = (request.content_length or 0) // 2, 0
    try:
        while received < enough and not request.content.at_eof():
            received += len(await request.content.readany())
    except (ClientPayloadError, ConnectionError):
        pass  # the client was quicker: the connection is gone either way
    request[EXCHANGE].received = received
