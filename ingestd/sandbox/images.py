"""Image v1.0 itself: POST an image to a slot, GET its short-lived URL (the file behind it: files.py).

POST decides and stores without a pause in between, so of two images racing for one entry exactly one wins.
"""

from collections.abc import Sequence

from aiohttp import web

from ingestd.sandbox import acts, answers, checks, files
from ingestd.sandbox.answers import NoAnswer, Refused
from ingestd.sandbox.faults import Fault
from ingestd.sandbox.limits import service_seconds
from ingestd.sandbox.slots import KINDS, RECEIPT, Slot
from ingestd.sandbox.state import EXCHANGE, SANDBOX, Sandbox
from ingestd.sandbox.store import Image
from ingestd.sandbox.switches import pace

_BASE = "/api/image/v1.0"


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_post(f"{_BASE}/{{kind:{RECEIPT}}}", upload)
    others = "|".join(kind for kind in KINDS if kind != RECEIPT)
    router.add_post(f"{_BASE}/{{kind:{others}}}/{{identifier}}", upload)
    router.add_get(f"{_BASE}/{{kind:{'|'.join(KINDS)}}}/{{identifier}}", look_up, allow_head=False)


async def upload(request: web.Request) -> web.StreamResponse:
    """201 with the image ID; everything else is a Refused, a limit or a fault of the plan."""
    sandbox, slot = request.app[SANDBOX], _slot(request)
    switches, account = sandbox.switches, checks.account(request)
    limited = _limited(sandbox, account, request)
    if limited is not None:
        return limited
    checks.known(slot, switches)
    fault = _pick(sandbox, slot, request)
    broken = await acts.before_body(fault, request)
    if broken is not None:
        return broken
    checks.framing(request, switches)
    seconds = service_seconds(request[EXCHANGE].under_way.enter_context(sandbox.limits.upload()), switches)
    if seconds is None:
        sandbox.limits.refused["capacity"] += 1
        return answers.too_many(request, answers.retry_after(switches, switches.capacity_seconds))
    content = await checks.body(request)
    if content is None:
        return NoAnswer()
    spoilt = acts.instead(fault, slot.kind, request)
    if spoilt is not None:
        return spoilt
    await checks.content(request.content_type, content)
    await sandbox.sleep(seconds, request)
    # No await from here until the image is stored: the slot can't be taken in between.
    return await acts.on_answer(fault, request, _stored(sandbox, slot, content, account, request))


async def look_up(request: web.Request) -> web.StreamResponse:
    """200 with a URL that needs no Authorization; 404 for a slot without an image."""
    sandbox, slot = request.app[SANDBOX], _slot(request)
    switches, account = sandbox.switches, checks.account(request)
    limited = _limited(sandbox, account, request)
    if limited is not None:
        return limited
    checks.known(slot, switches)
    fault = _pick(sandbox, slot, request)
    spoilt = await acts.before_body(fault, request) or acts.instead(fault, slot.kind, request)
    if spoilt is not None:
        return spoilt
    attached = sandbox.images.attached(slot)
    ready = _processed(sandbox, attached)
    if not attached or (not ready and switches.processing == "404"):
        raise Refused(404, f"No image found for this {slot.kind}.")
    assert slot.identifier is not None
    url = files.signed_url(slot, request, fault) if ready else ""
    return await acts.on_answer(fault, request, answers.image(request, 200, slot.identifier, url))


def _slot(request: web.Request) -> Slot:
    return Slot(request.match_info["kind"], request.match_info.get("identifier"))


def _limited(sandbox: Sandbox, account: str, request: web.Request) -> web.Response | None:
    """The answer to one request too many; None: admitted."""
    switches = sandbox.switches
    if switches.rate is None:
        return None
    allowed = pace(switches.rate)
    assert allowed is not None
    wait = sandbox.limits.wait("rate", account if switches.rate_per == "token" else "", allowed)
    if wait is None:
        return None
    if switches.rate_status == 400:
        raise Refused(400, acts.LIMIT_WORDS)
    return answers.too_many(request, answers.retry_after(switches, wait))


def _pick(sandbox: Sandbox, slot: Slot, request: web.Request) -> Fault | None:
    fault = sandbox.pick(str(slot), request.method, [slot.identifier or ""])
    request[EXCHANGE].fault = None if fault is None else str(fault)
    return fault


def _stored(
    sandbox: Sandbox, slot: Slot, content: bytearray, account: str, request: web.Request
) -> web.Response:
    switches, held = sandbox.switches, sandbox.images.attached(slot)
    if not checks.free(slot, len(held), switches):
        return answers.image(request, switches.slot_taken, held[0].image_id)
    image = sandbox.images.put(
        slot,
        content,
        content_type=request.content_type,
        account=account,
        correlation_id=request[EXCHANGE].correlation_id,
    )
    return answers.image(request, 201, image.image_id)


def _processed(sandbox: Sandbox, images: Sequence[Image]) -> Sequence[Image]:
    """Those that were taken long enough ago to be shown."""
    delay = sandbox.switches.processing_seconds
    if not delay:
        return images
    return [image for image in images if image.at.timestamp() + delay <= sandbox.now()]
