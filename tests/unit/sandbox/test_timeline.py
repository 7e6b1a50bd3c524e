import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from ingestd.sandbox import Sandbox, faults, storm, timeline
from ingestd.sandbox.fields import InvalidPlan
from ingestd.sandbox.timeline import Timeline
from tests.unit.sandbox.client import Client
from tests.unit.sandbox.test_limits import Clock

EVERYTHING = ["*", "token", "file"]
FORM = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}


@pytest.fixture
def clock(state: Sandbox) -> Clock:
    clock = Clock()
    state.clock = clock
    return clock


async def play(client: Client, *periods: dict[str, Any]) -> None:
    await client.own("PUT", "timeline", list(periods))


async def status(client: Client, slot: str = "receipt") -> int:
    return (await client.post(slot)).status


async def test_a_period_begins_and_ends_by_the_clock(client: Client, clock: Clock) -> None:
    clock.seconds = 5000.0
    await play(client, {"at": 10, "for": 5, "fault": "fail-503"})
    seen = []
    for moment in (0, 9.9, 10, 14.9, 15):
        clock.seconds = 5000.0 + moment
        seen.append(await status(client))
    assert seen == [201, 201, 503, 503, 201]


async def test_each_period_counts_what_came_in_it(client: Client, clock: Clock) -> None:
    await play(
        client,
        {"at": 0, "for": 10, "fault": "fail-503", "times": 1, "name": "outage"},
        {"at": 5, "for": 10, "fault": "fail-500"},
    )
    for moment in (1, 2, 6, 20, 21):
        clock.seconds = 1000.0 + moment
        await status(client)
    shown = await client.own("GET", "timeline")
    first, second = shown["periods"]
    assert first["requests"] == {"total": 3, "by_status": {"201": 1, "500": 1, "503": 1}}
    assert second["requests"] == {"total": 1, "by_status": {"500": 1}}
    assert shown["outside"] == {"total": 2, "by_status": {"201": 2}}
    assert (shown["elapsed_seconds"], shown["ends_after_seconds"]) == (21.0, 15.0)
    listed = (await client.own("GET", "requests"))["periods"]
    assert [(each["name"], each["total"]) for each in listed] == [("outage", 3), ("fail-500", 1)]


async def test_a_request_without_an_answer_is_counted_too(client: Client, clock: Clock) -> None:
    await play(client, {"at": 0, "for": 10, "fault": "drop-before"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await status(client)
    [period] = (await client.own("GET", "timeline"))["periods"]
    assert period["requests"] == {"total": 1, "by_status": {"no answer": 1}}


async def test_it_shows_what_is_in_force_and_delete_ends_it(client: Client, clock: Clock) -> None:
    assert await client.own("GET", "timeline") == {"in_force": [], "periods": []}
    await play(
        client,
        {"at": 0, "for": 10, "fault": "fail-503", "name": "outage"},
        {"at": 5, "for": 10, "latency_seconds": 0.1},
    )
    clock.seconds += 6
    shown = await client.own("GET", "timeline")
    assert shown["in_force"] == ["outage", "latency"]
    assert [each["in_force"] for each in shown["periods"]] == [True, True]
    assert shown["periods"][0]["faults"][0]["fault"] == "fail-503"
    clock.seconds += 6
    assert (await client.own("GET", "timeline"))["in_force"] == ["latency"]
    await client.own("DELETE", "timeline")
    assert (await client.own("GET", "timeline"))["periods"] == []
    assert await status(client) == 201


async def test_a_period_comes_before_the_plan_and_the_plan_before_the_id(
    client: Client, clock: Clock
) -> None:
    await client.plan({"match": "report/*", "fault": "fail-500"})
    await play(client, {"at": 0, "for": 10, "match": "report/*", "fault": "fail-502", "times": 1})
    assert [await status(client, "report/fail-503") for _ in range(2)] == [502, 500]
    clock.seconds += 10
    assert await status(client, "expenseentry/fail-503") == 503


async def test_a_period_brings_switches_and_latency_and_takes_them_away(client: Client, clock: Clock) -> None:
    await client.plan(switches={"bad_token": 401, "too_large": 413})
    await play(
        client,
        {"at": 0, "for": 10, "switches": {"bad_token": 403, "rate": "1/100"}, "latency_seconds": 0.2},
        {"at": 0, "for": 20, "switches": {"bad_token": 401, "unknown_id": 400}},
    )

    async def answers() -> list[int]:
        bad = await client.post("receipt", authorization="Bearer bad-1")
        return [bad.status, await status(client, "report/unknown-1"), await status(client)]

    assert await answers() == [403, 400, 429]
    assert all(each["seconds"] >= 0.2 for each in (await client.own("GET", "requests"))["requests"])
    clock.seconds += 10
    assert await answers() == [401, 400, 201]
    clock.seconds += 10
    assert await answers() == [401, 404, 201]


async def test_an_outage_can_take_everything_down(client: Client, clock: Clock, state: Sandbox) -> None:
    await client.post("report/1")
    url = (await client.get("report/1")).url
    everything = {"match": EVERYTHING, "method": "*", "fault": "fail-503"}
    await play(client, {"at": 0, "for": 10, **everything})
    assert [await status(client), (await client.get("report/1")).status] == [503, 503]
    assert (await client.fetch(url)).status == 503
    async with client.session.post(f"{client.base}/oauth2/v0/token", data=FORM) as response:
        assert response.status == 503
    clock.seconds += 10
    assert (await client.fetch(url)).status == 200


async def test_star_spares_the_token_endpoint_and_the_files(client: Client, clock: Clock) -> None:
    await client.post("report/1")
    url = (await client.get("report/1")).url
    await play(client, {"at": 0, "for": 10, "match": "*", "method": "*", "fault": "fail-503"})
    assert (await client.fetch(url)).status == 200
    async with client.session.post(f"{client.base}/oauth2/v0/token", data=FORM) as response:
        assert response.status == 200


async def test_a_bad_timeline_is_400_and_leaves_the_old_one_in_force(client: Client) -> None:
    await play(client, {"at": 0, "for": 100, "fault": "fail-503"})
    async with client.session.put(f"{client.base}/_sandbox/timeline", json=[{"at": 0}]) as response:
        assert response.status == 400
        assert '"for" must be a number' in (await response.json())["error"]
    assert await status(client) == 503


async def test_a_reset_ends_the_timeline(client: Client) -> None:
    await play(client, {"at": 0, "for": 100, "fault": "fail-503"})
    await client.own("POST", "reset")
    assert await status(client) == 201


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("storm", "must be a list of up to 10000 periods"),
        ([1], "[0] must be a JSON object"),
        ([{"for": 1, "fault": "timeout"}], '[0]: "at" must be a number'),
        ([{"at": 0, "for": 0, "fault": "timeout"}], '[0]: "for" must be a number from 0.001'),
        ([{"at": 0, "for": 1}], "[0]: nothing happens in it"),
        ([{"at": 0, "for": 1, "match": "*"}], '[0]: "fault" is None'),
        ([{"at": 0, "for": 1, "fault": "x"}], "[0]: \"fault\" is 'x'"),
        ([{"at": 0, "for": 1, "faults": [{"fault": "x"}]}], "[0].faults[0]: \"fault\" is 'x'"),
        ([{"at": 0, "for": 1, "switches": {"rate": "x"}}], '[0].switches: "rate" must be null or "REQ'),
        ([{"at": 0, "for": 1, "fault": "timeout", "name": 1}], '[0]: "name" must be a text'),
        ([{"at": 0, "for": 1, "fault": "timeout", "match": []}], '[0]: "match" must be a slot'),
        ([{"at": 0, "for": 1, "till": 2}], "[0]: unknown key 'till'"),
        ([{"at": 0, "for": 1, "fault": "timeout"}] * 10_001, "up to 10000 periods"),
        ({"seconds": 60}, '"seed" must be a whole number'),
        ({"seed": 1}, '"seconds" must be a number from 1'),
        ({"seed": 1, "seconds": 60, "calm": 1}, '"calm" must be a number from 0 to 0.99'),
        ({"seed": 1, "seconds": 60, "faults": "some"}, '"faults" must be "all" or a list'),
        ({"seed": 1, "seconds": 60, "faults": []}, '"faults" must be "all" or a list'),
        ({"seed": 1, "seconds": 60, "faults": ["nonsense"]}, "\"faults\" has 'nonsense'; it takes"),
        ({"seed": 1, "seconds": 60, "loops": 2}, "the timeline: unknown key 'loops'"),
    ],
)
def test_a_timeline_that_can_not_be_followed_names_the_key(text: Any, words: str) -> None:
    with pytest.raises(InvalidPlan) as caught:
        timeline.parse(text, Clock())
    assert words in str(caught.value)


def recipe(seed: int = 7, **changes: Any) -> dict[str, Any]:
    return {"seed": seed, "seconds": 600, "faults": "all", "calm": 0.4, **changes}


def made(clock: Clock, seed: int = 7, **changes: Any) -> Timeline:
    return timeline.parse(recipe(seed, **changes), clock)


def test_a_storm_repeats_with_its_seed() -> None:
    assert storm.periods(recipe()) == storm.periods(recipe())
    assert storm.periods(recipe()) != storm.periods(recipe(seed=8))


def test_a_storm_of_all_has_every_kind_of_fault_and_condition() -> None:
    names = {each.name for each in made(Clock()).periods}
    assert names == set(storm.ALL)
    known = {fault.kind for fault in map(faults.parse, names) if fault is not None}
    assert known == set(faults.Kind)
    assert set(storm.CONDITIONS) <= names


@pytest.mark.parametrize("calm", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("seconds", [20, 600, 3600])
def test_trouble_has_its_share_of_the_time_and_periods_do_not_overlap(calm: float, seconds: int) -> None:
    periods = made(Clock(), calm=calm, seconds=seconds).periods
    assert sum(each.lasts for each in periods) == pytest.approx(seconds * (1 - calm), abs=0.1)
    edges = [edge for each in periods for edge in (each.at, each.end)]
    assert edges[-1] <= seconds + 0.01
    assert all(earlier <= later + 0.002 for earlier, later in pairwise(edges))


def test_a_long_storm_deals_every_fault_about_as_often() -> None:
    counts = Counter(
        each.name for each in made(Clock(), seconds=36_000, faults=["timeout", "down", "rate"]).periods
    )
    assert set(counts) == {"timeout", "down", "rate"}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert counts.total() > 1000


def test_the_same_requests_meet_the_same_storm() -> None:
    def met(seed: int) -> list[str]:
        clock = Clock()
        running, found = made(clock, seed), []
        for number in range(3000):
            clock.seconds = 1000.0 + number * 0.2
            fault = running.pick(f"report/{number % 7}", "GET" if number % 3 == 0 else "POST")
            found.append(str(fault))
        return found

    assert met(7) == met(7)
    assert met(7) != met(8)
    assert met(7).count("None") < 2700


async def test_a_storm_plays_through_the_api_and_nothing_breaks(client: Client, state: Sandbox) -> None:
    """Every condition and fault meets real requests; whatever happens, an upload said to be stored is."""
    clock = Clock()
    state.clock = clock
    begun = await _put(client, recipe(seconds=500, calm=0.0))
    confirmed: set[str] = set()
    for period in begun["periods"]:
        clock.seconds = 1000.0 + period["at"] + period["for"] / 2
        for number in range(3):
            slot = f"report/{period['number']}-{number}"
            if await _upload_and_read_back(client, slot):
                confirmed.add(slot)
    shown = await client.own("GET", "timeline")
    assert all(each["requests"]["total"] >= 3 for each in shown["periods"])
    fired = {each["name"]: sum(rule["fired"] for rule in each["faults"]) for each in shown["periods"]}
    assert sum(1 for name in fired if name not in storm.CONDITIONS and fired[name]) > 20
    stored = {image.place for image in state.images}
    assert confirmed <= stored
    assert confirmed
    assert len(stored) < 3 * len(begun["periods"])
    assert (await client.own("GET", "requests"))["leaks"] == 0


async def _put(client: Client, document: Any) -> Any:
    async with client.session.put(f"{client.base}/_sandbox/timeline", json=document) as response:
        assert response.status == 200
        return await response.json()


async def _upload_and_read_back(client: Client, slot: str) -> bool:
    """Whether the upload was answered as stored."""
    try:
        answer = await asyncio.wait_for(client.post(slot), 0.5)
        found = await asyncio.wait_for(client.get(slot), 0.5)
        if found.status == 200 and b"<Image" in found.body and found.url:
            await asyncio.wait_for(client.fetch(found.url), 0.5)
    except (TimeoutError, aiohttp.ClientError):
        return False
    return answer.status == 201 and b"<Id>" in answer.body and answer.body.endswith(b"</Image>")
