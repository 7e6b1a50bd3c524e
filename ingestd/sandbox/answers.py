"""The bodies of Image v1.0: `<Image>` with its namespace, `<Error>` without one, and their JSON twins.

Shapes from Concur Image v1 ("Schema"), the generic error page (Message, Server-Time without offset, Id) and
the JSON that real clients get for `Accept: application/json`. The wrong answers live here too: NoAnswer and
CutAnswer break the connection at the moment aiohttp would write.
"""

import json
import math
import socket
import struct
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from ingestd.sandbox.state import EXCHANGE
from ingestd.sandbox.switches import Switches

CORRELATION_HEADER = "Concur-Correlationid"

_IMAGE = (
    '<Image xmlns="http://www.concursolutions.com/api/image/2011/02"'
    ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><Id>{}</Id>{}</Image>'
)
_ERROR = "<Error><Message>{}</Message><Server-Time>{}</Server-Time><Id>{}</Id></Error>"


class Refused(Exception):
    """The request is answered with an `<Error>`; raised by the checks and by the faults."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def image(request: web.Request, status: int, image_id: str, url: str = "") -> web.Response:
    """`url` is empty for an upload; its `&` becomes `&amp;` in the XML, as Concur's page warns."""
    if _wantsjson_body(request):
        return json_body(status, {"Id": image_id, "Url": url})
    element = f"<Url>{escape(url, quote=False)}</Url>" if url else "<Url />"
    return _xml(status, _IMAGE.format(escape(image_id, quote=False), element))


def error(
    request: web.Request, status: int, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An `<Error>`; noted in the request's exchange."""
    request[EXCHANGE].message = message
    error_id, server_time = str(uuid.uuid4()).upper(), time.strftime("%Y-%m-%dT%H:%M:%S")
    if _wantsjson_body(request):
        body = {"Error": {"Message": message, "Server-Time": server_time, "Id": error_id}}
        response = json_body(status, body)
    else:
        response = _xml(status, _ERROR.format(escape(message, quote=False), server_time, error_id))
    response.headers.update(headers or {})
    return response


def too_many(request: web.Request, headers: Mapping[str, str]) -> web.Response:
    """429 in the words of Concur's newer gateways, which speak JSON whatever was asked for."""
    message = request[EXCHANGE].message = "Too many requests"
    body = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "httpStatus": "429 - Too Many Requests",
        "error": {"id": "security.rate.limit.reached", "message": message},
        "path": request.path,
    }
    response = json_body(429, body)
    response.headers.update(headers)
    return response


def retry_after(switches: Switches, honest_seconds: float) -> dict[str, str]:
    """The header of a 429, as the switch says."""
    match switches.retry_after:
        case "absent":
            return {}
        case "honest":
            return {"Retry-After": str(math.ceil(honest_seconds))}
        case seconds:
            return {"Retry-After": str(seconds)}


def html_page(status: int) -> web.Response:
    """What a gateway in front of the API says."""
    text = f"<html><head><title>{status}</title></head><body><h1>{status} from the gateway</h1></body></html>"
    return web.Response(status=status, text=text, content_type="text/html")


def json_body(status: int, value: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=json.dumps(value).encode(), content_type="application/json")


class NoAnswer(web.Response):
    """Closes the connection instead of answering; `reset`: with an RST, as a gateway that gives up does."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self._reset = reset

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is not None and self._reset:
            # Lingering for 0 seconds makes the kernel send an RST (socket(7), SO_LINGER).
            no_lingering = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
            transport.abort()
        elif transport is not None:
            transport.close()
        raise ConnectionResetError("the sandbox gives no answer")  # aiohttp then ends the connection


class CutAnswer(web.Response):
    """Sends the status line, the headers and half of the body, then closes the connection."""

    async def write_eof(self, data: bytes = b"") -> None:
        writer, body = self._payload_writer, self.body
        assert writer is not None
        assert isinstance(body, bytes)
        await writer.write(body[: len(body) // 2])
        raise ConnectionResetError("the sandbox cuts the answer")


def cut(whole: web.Response) -> CutAnswer:
    return CutAnswer(status=whole.status, body=whole.body, headers=whole.headers)


def _wantsjson_body(request: web.Request) -> bool:
    """The first of the two that Accept names; XML when it names neither (it is all that is documented)."""
    accept = request.headers.get("Accept", "").lower()
    at_json, at_xml = accept.find("application/json"), accept.find("application/xml")
    return at_json >= 0 and (at_xml < 0 or at_json < at_xml)


def _xml(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=text.encode(), content_type="application/xml")
