"""Image v1.0 itself: POST an image to a slot, GET its short-lived URL, fetch that URL.

POST decides and stores without a pause in between, so of two images racing for one entry exactly one wins.
"""

import asyncio
import hashlib
import hmac

from aiohttp import web
from yarl import URL

from ingestd.sandbox import acts, answers, bundle, checks
from ingestd.sandbox.answers import NoAnswer, Refused
from ingestd.sandbox.faults import Fault, Kind
from ingestd.sandbox.slots import KINDS, RECEIPT, REPORT, Slot
from ingestd.sandbox.state import EXCHANGE, SANDBOX, Sandbox
from ingestd.sandbox.store import Image

URL_LIFE_SECONDS = 15 * 60
"""30 minutes until 2021-01-08, 15 since (Concur Image v1, "Get an image URL")."""

_BASE = "/api/image/v1.0"
_ENTITY = "p00sandbox"


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_post(f"{_BASE}/{{kind:{RECEIPT}}}", upload)
    others = "|".join(kind for kind in KINDS if kind != RECEIPT)
    router.add_post(f"{_BASE}/{{kind:{others}}}/{{identifier}}", upload)
    router.add_get(f"{_BASE}/{{kind:{'|'.join(KINDS)}}}/{{identifier}}", look_up, allow_head=False)
    router.add_get(f"/file/{_ENTITY}/{{signature}}", download, allow_head=False)


async def upload(request: web.Request) -> web.StreamResponse:
    """201 with the image ID; everything else is a Refused or a fault of the plan."""
    sandbox, slot = request.app[SANDBOX], _slot(request)
    account = checks.account(request, sandbox.plan.switches)
    checks.known(slot, sandbox.plan.switches)
    fault = _pick(sandbox, slot, request)
    broken = await acts.before_body(fault, request)
    if broken is not None:
        return broken
    checks.framing(request, sandbox.plan.switches)
    content = await checks.body(request)
    if content is None:
        return NoAnswer()
    spoilt = acts.instead(fault, slot, request)
    if spoilt is not None:
        return spoilt
    await checks.content(request.content_type, content)
    # No await from here until the image is stored: the slot can't be taken in between.
    status = 201
    if checks.free(slot, len(sandbox.images.attached(slot)), sandbox.plan.switches):
        image = sandbox.images.put(
            slot,
            content,
            content_type=request.content_type,
            account=account,
            correlation_id=request[EXCHANGE].correlation_id,
        )
    else:
        image, status = sandbox.images.attached(slot)[0], sandbox.plan.switches.slot_taken
    return await acts.on_answer(fault, request, answers.image(request, status, image.image_id))


async def look_up(request: web.Request) -> web.StreamResponse:
    """200 with a URL that needs no Authorization; 404 for a slot without an image."""
    sandbox, slot = request.app[SANDBOX], _slot(request)
    checks.account(request, sandbox.plan.switches)
    checks.known(slot, sandbox.plan.switches)
    fault = _pick(sandbox, slot, request)
    spoilt = await acts.before_body(fault, request) or acts.instead(fault, slot, request)
    if spoilt is not None:
        return spoilt
    if not sandbox.images.attached(slot):
        raise Refused(404, f"No image found for this {slot.kind}.")
    assert slot.identifier is not None
    url = _signed_url(sandbox, slot, request, fault)
    return await acts.on_answer(fault, request, answers.image(request, 200, slot.identifier, url))


async def download(request: web.Request) -> web.Response:
    """The bytes as they were uploaded; a report of several images is bundled into one PDF."""
    sandbox = request.app[SANDBOX]
    place, expires, altered = (request.query.get(key, "") for key in ("id", "e", "v"))
    good = _signature(sandbox, place, expires, altered)
    if not hmac.compare_digest(good.encode(), request.match_info["signature"].encode()):
        raise Refused(403, "The signature of this URL is wrong.")
    if sandbox.now() > int(expires):
        raise Refused(403, "This URL has expired.")
    kind, _, identifier = place.partition("/")
    images = sandbox.images.attached(Slot(kind, identifier))
    if kind == REPORT and len(images) > 1 and sum(image.size for image in images) > bundle.MAX_BYTES:
        raise Refused(500, "The report is too large to be bundled here; see /_sandbox/images.")
    contents = [sandbox.images.content(image) for image in images]
    if not images or None in contents:
        raise Refused(404, "The bytes of this image are not kept any more.")
    held = [(image, content) for image, content in zip(images, contents, strict=True) if content is not None]
    content_type, content = await _one_file(kind, held)
    if altered:
        content = content[:-1] + bytes([content[-1] ^ 1])
    return web.Response(body=content, content_type=content_type)


def _slot(request: web.Request) -> Slot:
    return Slot(request.match_info["kind"], request.match_info.get("identifier"))


def _pick(sandbox: Sandbox, slot: Slot, request: web.Request) -> Fault | None:
    fault = sandbox.plan.pick(slot, request.method)
    request[EXCHANGE].fault = None if fault is None else str(fault)
    return fault


def _signed_url(sandbox: Sandbox, slot: Slot, request: web.Request, fault: Fault | None) -> str:
    """Nothing is remembered for it: a million look-ups cost no memory."""
    kind = None if fault is None else fault.kind
    if kind is Kind.NO_URL:
        return ""
    expires = str(int(sandbox.now()) + (-1 if kind is Kind.EXPIRED_URL else URL_LIFE_SECONDS))
    altered = "1" if kind is Kind.OTHER_BYTES else ""
    path = f"/file/{_ENTITY}/{_signature(sandbox, str(slot), expires, altered)}"
    query = {"id": str(slot), "e": expires, "v": altered, "t": "AN", "s": "ConcurConnect"}
    return str(URL(str(request.url.origin())).with_path(path).with_query(query))


def _signature(sandbox: Sandbox, place: str, expires: str, altered: str) -> str:
    message = "\0".join((place, expires, altered)).encode("utf-8", "surrogateescape")
    return hmac.new(sandbox.url_key, message, hashlib.sha256).hexdigest()


async def _one_file(kind: str, held: list[tuple[Image, bytes]]) -> tuple[str, bytes]:
    if kind != REPORT or len(held) == 1:
        image, content = held[0]
        return image.content_type, content
    pages = [(image.content_type, content) for image, content in held]
    return "application/pdf", await asyncio.to_thread(bundle.merge, pages)
