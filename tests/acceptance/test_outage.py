"""The target is down for seconds while hundreds wait. tests/torture has minutes, and thousands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.place import Place, SandboxProcess
from tests.torture.line import Line
from tests.torture.outage import Down, Pauses, survive

WAITING = 200
SECONDS = 20.0
WORKERS = 8
PAUSES = Pauses(first=0.2, ceiling=4.0, unavailable=3.0, timeout=2.0)


@pytest.fixture
def line(sandbox: SandboxProcess) -> Iterator[Line]:
    line = Line(sandbox.url)
    yield line
    line.end()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["refused", "black hole"])
def test_a_target_that_is_down_is_left_alone_and_all_that_waits_drains_afterwards(
    sandbox: SandboxProcess, line: Line, way: Down, tmp_path: Path
) -> None:
    place = Place(tmp_path / "place", line.url, **PAUSES.parts)
    try:
        outage = survive(way, place, line, sandbox, WAITING, SECONDS)
        books = place.balance()
    finally:
        place.end()
    print(outage)
    assert books["closed"] and books["uploaded"] + books["unconfirmed"] == WAITING
    images = sandbox.images()
    assert len({image["sha256"] for image in images}) == len(images) == books["uploaded"]
    assert outage.requests <= PAUSES.handful(SECONDS, WORKERS)
    assert outage.unconfirmed <= (outage.requests if way == "black hole" else 0)
