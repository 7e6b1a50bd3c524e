from typing import Any

import pytest

from ingestd.sandbox import plan, switches
from ingestd.sandbox.slots import Slot
from ingestd.sandbox.switches import Switches
from tests.unit.sandbox.client import Client

RECEIPT = Slot("receipt")


async def statuses(client: Client, slot: str, count: int) -> list[int]:
    return [(await client.post(slot)).status for _ in range(count)]


async def test_a_rule_fires_after_some_requests_and_a_number_of_times(client: Client) -> None:
    await client.plan({"match": "receipt", "fault": "fail-503", "after": 1, "times": 2})
    assert await statuses(client, "receipt", 5) == [201, 503, 503, 201, 201]
    [rule] = (await client.own("GET", "faults"))["faults"]
    assert (rule["seen"], rule["fired"]) == (5, 2)


async def test_a_rule_meets_only_the_slots_it_matches(client: Client) -> None:
    await client.plan({"match": "report/2026-*", "fault": "fail-500"})
    assert await statuses(client, "report/2026-1", 1) == [500]
    assert await statuses(client, "report/1-2026-1", 1) == [201]
    assert await statuses(client, "receipt", 1) == [201]


async def test_the_first_rule_that_fires_wins_and_rules_come_before_ids(client: Client) -> None:
    await client.plan(
        {"match": "report/*", "fault": "fail-500", "times": 1},
        {"match": "*", "fault": "throttle", "times": 1},
    )
    assert await statuses(client, "report/fail-503", 3) == [500, 429, 503]


async def test_a_put_replaces_the_whole_plan_and_delete_ends_it(client: Client) -> None:
    await client.plan({"fault": "fail-500"}, latency_seconds=0.01, switches={"bad_token": 401})
    await client.plan({"fault": "fail-502"})
    shown = await client.own("GET", "faults")
    assert [rule["fault"] for rule in shown["faults"]] == ["fail-502"]
    assert shown["latency_seconds"] == 0
    assert shown["switches"]["bad_token"] == 403
    assert shown["choices"]["slot_taken"] == [400, 409, 200, 201]
    await client.own("DELETE", "faults")
    assert (await client.own("GET", "faults"))["faults"] == []
    assert await statuses(client, "receipt", 1) == [201]


async def test_latency_delays_every_answer(client: Client) -> None:
    await client.plan(latency_seconds=0.2)
    await client.post("receipt")
    await client.post("receipt", authorization=None)
    assert all(each["seconds"] >= 0.2 for each in (await client.own("GET", "requests"))["requests"])


def fired(seed: int | None) -> list[bool]:
    text = {"faults": [{"fault": "fail-500", "probability": 0.5, "seed": seed}]}
    script = plan.parse(text)
    return [script.pick(RECEIPT, "POST") is not None for _ in range(200)]


def test_probability_repeats_with_its_seed() -> None:
    assert fired(7) == fired(7)
    assert fired(7) != fired(8)
    assert 60 < sum(fired(7)) < 140


def test_a_rule_can_meet_both_methods_and_url_faults_meet_get() -> None:
    both = plan.parse({"faults": [{"fault": "fail-500", "method": "*"}]})
    assert both.pick(RECEIPT, "POST") is not None
    assert both.pick(RECEIPT, "GET") is not None
    url = plan.parse({"faults": [{"fault": "no-url"}]})
    assert url.pick(RECEIPT, "POST") is None
    assert url.pick(Slot("receipt", "1"), "GET") is not None


def test_a_rule_can_match_several_places() -> None:
    script = plan.parse({"faults": [{"match": ["receipt", "report/*"], "fault": "fail-500"}]})
    assert script.as_json()["faults"][0]["match"] == ["receipt", "report/*"]
    met = [script.pick(slot, "POST") for slot in (RECEIPT, Slot("report", "1"), Slot("invoice", "1"))]
    assert [fault is not None for fault in met] == [True, True, False]


def test_every_switch_shows_what_it_takes_and_its_default() -> None:
    shown, defaults = Switches.choices(), Switches().as_json()
    assert shown.keys() == defaults.keys()
    for name, each in shown.items():
        assert isinstance(each, str) or each[0] == defaults[name], name
    assert switches.read(defaults) == defaults


def test_x2_in_the_name_counts_in_a_rule_too() -> None:
    script = plan.parse({"faults": [{"fault": "fail-500-x2"}]})
    assert [script.pick(RECEIPT, "POST") is not None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ([], "the plan must be a JSON object"),
        ({"fault": []}, "unknown key 'fault'"),
        ({"faults": {}}, '"faults" must be a list'),
        ({"faults": ["fail-500"]}, "faults[0] must be a JSON object"),
        ({"faults": [{"fault": "fail-500", "time": 3}]}, "faults[0]: unknown key 'time'"),
        ({"faults": [{}]}, 'faults[0]: "fault" is None; it must be one of: drop-before'),
        ({"faults": [{"fault": "fail-500"}, {"fault": "nonsense"}]}, "faults[1]: \"fault\" is 'nonsense'"),
        ({"faults": [{"fault": "fail-500", "match": 1}]}, '"match" must be a slot'),
        ({"faults": [{"fault": "fail-500", "method": "PUT"}]}, '"method" must be one of POST, GET, *'),
        ({"faults": [{"fault": "fail-500", "times": -1}]}, '"times" must be a whole number'),
        ({"faults": [{"fault": "fail-500", "after": True}]}, '"after" must be a whole number'),
        ({"faults": [{"fault": "fail-500", "probability": 2}]}, '"probability" must be a number from 0 to 1'),
        ({"latency_seconds": "1"}, '"latency_seconds" must be a number from 0 to 600'),
        ({"switches": {"too_large": 500}}, '"too_large" must be 400 or 413, not 500'),
        ({"switches": {"nonsense": 1}}, "switches: unknown key 'nonsense'"),
        ({"switches": {"bad_token": 403.0}}, '"bad_token" must be 403 or 401, not 403.0'),
        ({"switches": {"rotation": 1}}, '"rotation" must be true or false, not 1'),
        ({"switches": {"rate": "fast"}}, '"rate" must be null or "REQUESTS/SECONDS", not \'fast\''),
        ({"switches": {"rate": 5}}, '"rate" must be null or "REQUESTS/SECONDS", not 5'),
        ({"switches": {"retry_after": "soon"}}, '"retry_after" must be absent or honest or a whole number'),
        ({"switches": {"retry_after": 1.5}}, '"retry_after" must be absent or honest or a whole number'),
        ({"switches": {"retry_after": None}}, '"retry_after" must be absent or honest or a whole number'),
        ({"switches": {"capacity": 0}}, '"capacity" must be null or a whole number from 1 to 10000, not 0'),
        ({"switches": {"capacity": True}}, '"capacity" must be null or a whole number'),
        ({"switches": {"token_seconds": -1}}, '"token_seconds" must be a number from 0 to'),
        (
            {"switches": {"geolocation": "ftp://x"}},
            '"geolocation" must be own, none, path, foreign or the base',
        ),
        ({"switches": {"geolocation": "http://x/path"}}, '"geolocation" must be own, none'),
        ({"switches": {"converts": "gif"}}, '"converts" must be no or pdf or recompressed'),
        ({"faults": [{"fault": "code-7"}]}, "faults[0]: \"fault\" is 'code-7'"),
        ({"faults": [{"fault": "code"}]}, "faults[0]: \"fault\" is 'code'"),
        ({"faults": [{"fault": "timeout", "match": ["report/*", 1]}]}, '"match" must be a slot'),
    ],
)
def test_a_plan_that_can_not_be_followed_names_the_key(text: Any, words: str) -> None:
    with pytest.raises(plan.InvalidPlan) as caught:
        plan.parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b" " * 5_000_000, b'{"faults": 1}'])
async def test_a_bad_plan_is_400_and_leaves_the_old_one_in_force(client: Client, body: bytes) -> None:
    await client.plan({"fault": "fail-500"})
    async with client.session.put(f"{client.base}/_sandbox/faults", data=iter_of(body)) as response:
        assert response.status == 400
        assert "plan" in (await response.json())["error"] or "faults" in (await response.text())
    assert await statuses(client, "receipt", 1) == [500]


async def iter_of(body: bytes) -> Any:
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]
