"""How much of what a target bears is used, and what it costs in refusals; and whether a single one must wait.

TORTURE_PACED receipts go to a target that bears TORTURE_BEARS of them a second; TORTURE_CROWD wait before one
of another folder.
"""

from datetime import datetime
from pathlib import Path

import pytest

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import SandboxProcess, wait_until
from tests.torture.conftest import dial
from tests.torture.outage import receipts, span
from tests.torture.storm import drop_whole, settle

PACED = dial("PACED", 2_000)
CROWD = dial("CROWD", 10_000)
WORKERS = 32
LIGHT = 'inspect = "light"\nnear_duplicates = "off"'
BEARS_PER_SECOND = dial("BEARS", 20)

OTHER_FOLDER = """
[[folders]]
name = "other"
path = "{path}"
settle = "200ms"
rescan = "2s"
"""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "limit",
    [
        {"capacity": BEARS_PER_SECOND // 2, "capacity_seconds": 0.5},
        {"rate": f"{BEARS_PER_SECOND}/1"},
        {"rate": f"{BEARS_PER_SECOND}/1", "retry_after": "honest"},
    ],
    ids=["capacity", "rate", "rate with Retry-After"],
)
def test_an_adaptive_pace_uses_most_of_what_a_target_bears_and_is_refused_less(
    make_place: MakePlace, sandbox: SandboxProcess, limit: dict[str, object]
) -> None:
    refused = {}
    for adaptive in (True, False):
        sandbox.forget()
        sandbox.faults(switches=limit)
        place = make_place(
            preparation=LIGHT,
            workers=str(WORKERS),
            retry=f"[targets.concur.gate]\nadaptive = {str(adaptive).lower()}",
        )
        for each in receipts(PACED):
            drop_whole(place.inbox, each)
        settle(place)
        images = sandbox.images()
        assert len(images) == PACED
        first, last = span(images)
        share = PACED / (last - first) / BEARS_PER_SECOND
        refused[adaptive] = sandbox.requests()["by_status"].get("429", 0)
        print(f"{limit}, adaptive {adaptive}: {share:.0%} of what it bears, {refused[adaptive]} times 429")
    assert refused[True] <= refused[False]


@pytest.mark.timeout(3600)
def test_a_single_receipt_does_not_wait_for_the_crowd_of_another_sender(
    make_place: MakePlace, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    place = make_place(preparation=LIGHT, folder=OTHER_FOLDER.format(path=other))
    sandbox.faults(faults=[{"fault": "fail-503", "match": "*", "method": "*"}])
    with place.daemon():
        for each in receipts(CROWD):
            drop_whole(place.inbox, each)
        wait_until(
            lambda: place.balance()["ready"] >= CROWD - 8, "the crowd waits", place.log, 1800, every_seconds=2
        )
        sandbox.faults()
        wait_until(lambda: len(sandbox.images()) > 20, "the crowd drains", place.log)
        (other / "single.jpg").write_bytes(samples.small_jpeg(10_000_000))
        uploaded = other / "uploaded" / "single.jpg"
        wait_until(uploaded.exists, "the single one is uploaded", place.log, 600)
    (single,) = (receipt for receipt in place.receipts() if receipt["source"] == "other")
    images = sandbox.images()
    numbers = [each["number"] for each in images if each["sha256"] == single["sha256"]]
    came = datetime.fromisoformat(single["received_at"])
    before = [
        each for each in images if datetime.fromisoformat(each["at"]) > came and each["number"] < numbers[0]
    ]
    print(f"{len(before)} of {CROWD} before the single one, from when it was taken in; {len(images)} in all")
    assert len(numbers) == 1
    assert len(before) < 100 < CROWD
