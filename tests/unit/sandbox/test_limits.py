import asyncio
from typing import Any

import pytest

from ingestd.sandbox import Sandbox
from ingestd.sandbox.limits import Limits, service_seconds
from ingestd.sandbox.switches import Pace, Switches, pace
from tests.unit.sandbox.client import Client


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(state: Sandbox) -> Clock:
    clock = Clock()
    state.clock = clock
    return clock


async def switch(client: Client, **switches: Any) -> None:
    await client.plan(switches=switches)


async def statuses(client: Client, count: int, who: str = "good") -> list[int]:
    return [(await client.post("receipt", authorization=f"Bearer {who}")).status for _ in range(count)]


async def limits(client: Client) -> Any:
    return (await client.own("GET", "requests"))["limits"]


async def test_above_the_rate_the_answer_is_429_until_there_is_room(client: Client, clock: Clock) -> None:
    await switch(client, rate="3/10")
    assert await statuses(client, 2) == [201, 201]
    clock.seconds += 9
    assert await statuses(client, 3) == [201, 429, 429]
    clock.seconds += 1
    assert await statuses(client, 3) == [201, 201, 429]
    assert (await limits(client))["refused"] == {"rate": 3}
    assert len(await client.images()) == 5


async def test_look_ups_count_and_refused_tokens_do_not(client: Client, clock: Clock) -> None:
    await switch(client, rate="2/10")
    assert await statuses(client, 3, "bad-1") == [403, 403, 403]
    assert (await client.get("report/1")).status == 404
    assert await statuses(client, 2) == [201, 429]
    assert (await client.get("report/1", accept="application/xml")).status == 429


async def test_each_token_has_its_own_rate_unless_all_share_one(client: Client, clock: Clock) -> None:
    await switch(client, rate="1/10")
    assert await statuses(client, 2, "ann") + await statuses(client, 2, "bob") == [201, 429, 201, 429]
    await client.own("POST", "reset")
    await switch(client, rate="1/10", rate_per="all")
    assert await statuses(client, 1, "ann") + await statuses(client, 2, "bob") == [201, 429, 429]


@pytest.mark.parametrize(("value", "header"), [("absent", None), (0, "0"), (7200, "7200"), ("honest", "8")])
async def test_retry_after_is_what_the_switch_says(
    client: Client, clock: Clock, value: str | int, header: str | None
) -> None:
    await switch(client, rate="1/10", retry_after=value)
    await client.post("receipt")
    clock.seconds += 2.5
    answer = await client.post("receipt")
    assert answer.headers.get("Retry-After") == header


async def test_a_429_speaks_the_json_of_the_gateway(client: Client, clock: Clock) -> None:
    await switch(client, rate="1/10")
    await client.post("report/1")
    async with client.session.post(
        f"{client.base}/api/image/v1.0/report/1", headers={"Authorization": "Bearer good"}
    ) as response:
        said = await response.json(content_type="application/json")
        assert response.headers["Concur-Correlationid"]
    assert said["httpStatus"] == "429 - Too Many Requests"
    assert said["error"] == {"id": "security.rate.limit.reached", "message": "Too many requests"}
    assert said["path"] == "/api/image/v1.0/report/1"


async def test_the_limit_can_speak_as_a_400(client: Client, clock: Clock) -> None:
    await switch(client, rate="1/10", rate_status=400)
    await client.post("receipt")
    answer = await client.post("receipt")
    assert (answer.status, "exceed the request limit" in answer.message) == (400, True)


async def test_the_token_endpoint_has_a_rate_of_its_own(client: Client, clock: Clock) -> None:
    await switch(client, token_rate="1/10")
    form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}
    for expected in (200, 429):
        async with client.session.post(f"{client.base}/oauth2/v0/token", data=form) as response:
            assert response.status == expected
    assert await statuses(client, 2) == [201, 201]
    assert (await limits(client))["refused"] == {"token_rate": 1}


def test_the_pace_holds_in_every_window() -> None:
    clock = Clock()
    held, allowed, taken = Limits(clock), Pace(5, 2.0), []
    for _ in range(1000):
        clock.seconds += 0.07
        if held.wait("rate", "a", allowed) is None:
            taken.append(clock.seconds)
    assert all(later - earlier >= 2.0 for earlier, later in zip(taken, taken[5:], strict=False))
    assert len(taken) > 0.9 * 1000 * 0.07 * 5 / 2


def test_keys_without_end_cost_no_memory_without_end() -> None:
    held = Limits(Clock())
    for number in range(5000):
        held.wait("rate", str(number), Pace(1, 1.0))
    assert len(held._admitted) == 1000


@pytest.mark.parametrize("text", ["", "5", "5/", "/5", "0/1", "5/0", "-1/1", "5/1/1", "٣/1", "1e3/1"])
def test_a_rate_written_otherwise_is_none(text: str) -> None:
    assert pace(text) is None
    assert pace("120/300") == Pace(120, 300.0)


@pytest.mark.parametrize(
    ("uploads", "seconds"), [(1, 0.5), (4, 0.5), (5, 0.625), (8, 1.0), (9, None), (100, None)]
)
def test_beyond_its_capacity_each_upload_takes_longer_in_proportion(
    uploads: int, seconds: float | None
) -> None:
    assert service_seconds(uploads, Switches(capacity=4, capacity_seconds=0.5)) == seconds
    assert service_seconds(uploads, Switches()) == 0.0


async def test_capacity_slows_uploads_down_and_refuses_beyond_twice_as_many(client: Client) -> None:
    await switch(client, capacity=2, capacity_seconds=0.4, retry_after=3)
    answers = await asyncio.gather(*(client.post("receipt") for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201, 201, 201, 201, 429, 429]
    assert {a.headers.get("Retry-After") for a in answers if a.status == 429} == {"3"}
    shown = await client.own("GET", "requests")
    took = sorted(each["seconds"] for each in shown["requests"] if each["status"] == 201)
    assert took[0] >= 0.4
    assert took[2] >= 0.6
    assert took[3] >= 0.8
    assert (shown["limits"]["refused"], shown["limits"]["uploads_now"]) == ({"capacity": 2}, 0)
    assert shown["limits"]["uploads_most_at_once"] in (
        5,
        6,
    )  # a refused one may be gone before the next comes
    assert (await client.post("receipt")).status == 201


async def test_uploads_at_once_are_counted_through_the_latency_of_their_answers(client: Client) -> None:
    await client.plan(latency_seconds=0.3)
    await asyncio.gather(*(client.post("receipt") for _ in range(3)))
    await client.get("report/1")
    assert (await limits(client))["uploads_most_at_once"] == 3
