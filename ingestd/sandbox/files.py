"""The files behind image URLs: signed, good for 15 minutes, without Authorization, on an origin of their own
when the switch `url_origin` says so.

What a URL delivers is written in it and signed, so a million look-ups cost no memory.
"""

import asyncio
import hashlib
import hmac
from typing import Any

from aiohttp import web
from yarl import URL

from ingestd.sandbox import acts, bundle, convert
from ingestd.sandbox.answers import Refused
from ingestd.sandbox.faults import Fault, Kind
from ingestd.sandbox.slots import FILE, REPORT, Slot
from ingestd.sandbox.state import EXCHANGE, SANDBOX, Sandbox
from ingestd.sandbox.store import Image

URL_LIFE_SECONDS = 15 * 60
"""30 minutes until 2021-01-08, 15 since (Concur Image v1, "Get an image URL")."""
PREFIX = "/file/"

_ENTITY = "p00sandbox"
_OTHER = {Kind.OTHER_BYTES: "1", Kind.OTHER_IMAGE: "2"}
_OTHER_BYTES, _OTHER_IMAGE = _OTHER.values()


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_get(f"{PREFIX}{_ENTITY}/{{signature}}", download, allow_head=False)


def signed_url(slot: Slot, request: web.Request, fault: Fault | None) -> str:
    """Empty for the fault no-url."""
    kind = None if fault is None else fault.kind
    if kind is Kind.NO_URL:
        return ""
    sandbox = request.app[SANDBOX]
    expires = str(int(sandbox.now()) + (-1 if kind is Kind.EXPIRED_URL else URL_LIFE_SECONDS))
    other = "" if kind is None else _OTHER.get(kind, "")
    path = f"{PREFIX}{_ENTITY}/{_signature(sandbox, str(slot), expires, other)}"
    query = {"id": str(slot), "e": expires, "v": other, "t": "AN", "s": "ConcurConnect"}
    base = sandbox.file_bases.get(sandbox.switches.url_origin) or str(request.url.origin())
    return str(URL(base).with_path(path).with_query(query))


async def download(request: web.Request) -> web.StreamResponse:
    """The bytes as they were uploaded, or as the switch `converts` says; a report's images as one PDF."""
    sandbox = request.app[SANDBOX]
    fault = sandbox.pick(FILE, request.method)
    request[EXCHANGE].fault = None if fault is None else str(fault)
    spoilt = await acts.before_body(fault, request) or acts.instead(fault, FILE, request)
    if spoilt is not None:
        return spoilt
    place, expires, other = (request.query.get(key, "") for key in ("id", "e", "v"))
    good = _signature(sandbox, place, expires, other)
    if not hmac.compare_digest(good.encode(), request.match_info["signature"].encode()):
        raise Refused(403, "The signature of this URL is wrong.")
    if sandbox.now() > int(expires):
        raise Refused(403, "This URL has expired.")
    kind, _, identifier = place.partition("/")
    content_type, content = await _one_file(sandbox, kind, _held(sandbox, Slot(kind, identifier)))
    if other == _OTHER_BYTES:
        content = content[:-1] + bytes([content[-1] ^ 1])
    elif other == _OTHER_IMAGE:
        content_type, content = "application/pdf", bundle.page("Something else altogether")
    return await acts.on_answer(fault, request, web.Response(body=content, content_type=content_type))


def _signature(sandbox: Sandbox, place: str, expires: str, other: str) -> str:
    message = "\0".join((place, expires, other)).encode("utf-8", "surrogateescape")
    return hmac.new(sandbox.url_key, message, hashlib.sha256).hexdigest()


def _held(sandbox: Sandbox, slot: Slot) -> list[tuple[Image, bytes]]:
    images = sandbox.images.attached(slot)
    if slot.kind == REPORT and len(images) > 1 and sum(image.size for image in images) > bundle.MAX_BYTES:
        raise Refused(500, "The report is too large to be bundled here; see /_sandbox/images.")
    contents: list[Any] = [sandbox.images.content(image) for image in images]
    if not images or None in contents:
        raise Refused(404, "The bytes of this image are not kept any more.")
    return list(zip(images, contents, strict=True))


async def _one_file(sandbox: Sandbox, kind: str, held: list[tuple[Image, bytes]]) -> tuple[str, bytes]:
    if kind != REPORT or len(held) == 1:
        image, content = held[0]
        how = sandbox.switches.converts
        return await asyncio.to_thread(convert.converted, how, image.content_type, content)
    pages = [(image.content_type, content) for image, content in held]
    return "application/pdf", await asyncio.to_thread(bundle.merge, pages)
