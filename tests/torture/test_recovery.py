"""The target is down for minutes while thousands wait: it is left alone, memory stays flat, and all drains.

TORTURE_OUTAGE is how long, in seconds, TORTURE_WAITING how many wait. The pauses are those a user has.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.place import Place, SandboxProcess
from tests.torture.conftest import dial
from tests.torture.line import Line
from tests.torture.outage import WAYS, Down, Pauses, drain, survive

SECONDS = dial("OUTAGE", 600)
WAITING = dial("WAITING", 5_000)
WORKERS = 8
PAUSES = Pauses()
FLAT_KB = 200_000
"""A daemon's peak memory, whatever waits: its libraries and SQLite's page cache."""


@pytest.fixture
def line(sandbox: SandboxProcess) -> Iterator[Line]:
    line = Line(sandbox.url)
    yield line
    line.end()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_is_down_is_left_alone_and_all_that_waits_drains_afterwards(
    sandbox: SandboxProcess, line: Line, way: Down, tmp_path: Path
) -> None:
    calm = Place(tmp_path / "calm", line.url, **PAUSES.parts)
    usual_seconds = drain(calm, line, sandbox, WAITING)
    sandbox.forget()
    place = Place(tmp_path / "outage", line.url, **PAUSES.parts)
    outage = survive(way, place, line, sandbox, WAITING, SECONDS)
    print(
        f"{way} for {SECONDS} s, {WAITING} waiting: {outage}; without an outage {usual_seconds:.1f} s: "
        f"{outage.drain_seconds / usual_seconds:.2f} times as long"
    )
    books = place.balance()
    assert books["closed"] and books["uploaded"] + books["unconfirmed"] == WAITING
    assert len({image["sha256"] for image in sandbox.images()}) == len(sandbox.images()) == books["uploaded"]
    assert outage.requests <= PAUSES.handful(SECONDS, WORKERS)
    assert outage.unconfirmed <= (outage.requests if way == "black hole" else 0)
    assert outage.peak_kb < FLAT_KB
