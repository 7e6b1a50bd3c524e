"""The sandbox's own side, below /_sandbox/: what it holds, what was asked, who logged in, and the faults.

JSON in and out, no Authorization: it listens on loopback and holds nothing but test data.
"""

import json
from typing import Any

from aiohttp import web

from ingestd.sandbox import faults, plan, timeline
from ingestd.sandbox.fields import InvalidPlan
from ingestd.sandbox.slots import compile_pattern
from ingestd.sandbox.state import SANDBOX
from ingestd.sandbox.switches import Switches

_PREFIX = "/_sandbox"
_MAX_PLAN_BYTES = 4 * 2**20
_REQUESTS_SHOWN = 100


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_get(f"{_PREFIX}/images", list_images)
    router.add_get(f"{_PREFIX}/images/{{number:[0-9]{{1,12}}}}/content", image_content)
    router.add_get(f"{_PREFIX}/requests", list_requests)
    router.add_get(f"{_PREFIX}/faults", show_plan)
    router.add_put(f"{_PREFIX}/faults", replace_plan)
    router.add_delete(f"{_PREFIX}/faults", clear_plan)
    router.add_get(f"{_PREFIX}/timeline", show_timeline)
    router.add_put(f"{_PREFIX}/timeline", begin_timeline)
    router.add_delete(f"{_PREFIX}/timeline", end_timeline)
    router.add_get(f"{_PREFIX}/logins", list_logins)
    router.add_post(f"{_PREFIX}/reset", reset)


async def list_images(request: web.Request) -> web.Response:
    """{"images": [...], "requests": {...}}; ?slot=report/* selects, ?after=N leaves out the first N."""
    sandbox = request.app[SANDBOX]
    pattern = compile_pattern(request.query.get("slot", "*"))
    after = _whole_number(request, "after", 0)
    images = [image.as_json() for image in sandbox.images.since(after) if pattern.fullmatch(image.place)]
    return web.json_response({"images": images, "requests": sandbox.journal.counts()})


async def image_content(request: web.Request) -> web.Response:
    """The bytes as they were uploaded."""
    sandbox = request.app[SANDBOX]
    image = sandbox.images.numbered(int(request.match_info["number"]))
    if image is None:
        raise web.HTTPNotFound(text="There is no image with this number.\n")
    content = sandbox.images.content(image)
    if content is None:
        raise web.HTTPGone(text="Only the hash of this image was kept.\n")
    return web.Response(body=content, content_type=image.content_type)


async def list_requests(request: web.Request) -> web.Response:
    """{"total", "by_status", "leaks", "limits", "periods", "requests": the last ?limit=, oldest first}.

    `leaks`: how often a token came where none belongs. `periods`: the counts of each of the timeline.
    """
    sandbox = request.app[SANDBOX]
    limit = _whole_number(request, "limit", _REQUESTS_SHOWN)
    periods = () if sandbox.timeline is None else sandbox.timeline.periods
    return web.json_response(
        {
            **sandbox.journal.counts(),
            "leaks": sandbox.journal.leaks,
            "limits": sandbox.limits.as_json(),
            "periods": [{"name": each.name, **each.requests.as_json()} for each in periods],
            "requests": sandbox.journal.last(limit),
        }
    )


async def list_logins(request: web.Request) -> web.Response:
    """{"clients": [...], "logins": [...]}: what the token endpoint was asked and gave, without secrets."""
    return web.json_response(request.app[SANDBOX].logins.as_json())


async def show_plan(request: web.Request) -> web.Response:
    """The plan in force with its counts, the choices of each switch, and the names of all faults."""
    return web.json_response(
        {
            **request.app[SANDBOX].plan.as_json(),
            "choices": Switches.choices(),
            "meanings": Switches.meanings(),
            "names": {entry.example: entry.effect for entry in faults.CATALOGUE.values()},
        }
    )


async def replace_plan(request: web.Request) -> web.Response:
    """Puts a whole plan in force, with all counts at 0; 400 with the reason when it can't be followed."""
    try:
        new = plan.parse(await _json_body(request))
    except InvalidPlan as error:
        return web.json_response({"error": str(error)}, status=400)
    request.app[SANDBOX].plan = new
    return web.json_response(new.as_json())


async def clear_plan(request: web.Request) -> web.Response:
    request.app[SANDBOX].plan = plan.Plan()
    return web.Response(status=204)


async def show_timeline(request: web.Request) -> web.Response:
    """What is planned, what is in force, and what each period met."""
    running = request.app[SANDBOX].timeline
    return web.json_response({"in_force": [], "periods": []} if running is None else running.as_json())


async def begin_timeline(request: web.Request) -> web.Response:
    """Begins a timeline now, in place of any other; 400 with the reason when it can't be followed."""
    sandbox = request.app[SANDBOX]
    try:
        new = timeline.parse(await _json_body(request), sandbox.clock)
    except InvalidPlan as error:
        return web.json_response({"error": str(error)}, status=400)
    sandbox.timeline = new
    return web.json_response(new.as_json())


async def end_timeline(request: web.Request) -> web.Response:
    request.app[SANDBOX].timeline = None
    return web.Response(status=204)


async def reset(request: web.Request) -> web.Response:
    """Everything as after the start."""
    request.app[SANDBOX].reset()
    return web.Response(status=204)


async def _json_body(request: web.Request) -> Any:
    body = await request.content.read(_MAX_PLAN_BYTES)
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > _MAX_PLAN_BYTES:
            raise InvalidPlan("the plan is larger than 4 MiB")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidPlan(f"the plan is not JSON: {error}") from error


def _whole_number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else default
