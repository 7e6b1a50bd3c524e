"""Crash points: the daemon is killed right before each call that changes a file or talks to the target.

One run over a few files makes some 400 such calls, from the making of the ledger to the last report. A
point is a call on a file and which time it is made, because the order of threads varies. Of a row of the
same calls (the pages of one transaction) the first and the last are hit, or each of them with
TORTURE_POINTS=all; then the daemon runs again to the end. TORTURE_STRIDE=10 takes every tenth.
"""

import json
import os
import platform
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingestd import samples
from tests.acceptance.place import ROOT, Place, SandboxProcess
from tests.torture import tracer
from tests.torture.conftest import dial
from tests.torture.drops import Dropped, Kind
from tests.torture.judge import Verdict, judge

ALL = os.environ.get("TORTURE_POINTS") == "all"
STRIDE = dial("STRIDE", 1)

Point = tuple[str, int]
"""A call with its file, and which time."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What the tracer saw: the calls up to the last, and the exit code (negative: the signal)."""

    calls: list[str]
    code: int


@dataclass(frozen=True, slots=True)
class Struck:
    """What came of one point; `hit` is False when the run ended before it came."""

    point: Point
    hit: bool
    verdict: Verdict


@pytest.mark.timeout(3600)
def test_a_crash_before_any_call_loses_nothing_and_uploads_nothing_twice(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    if not tracer.KNOWN:
        pytest.skip(f"could not do it here: no table of system calls for {platform.machine()}")
    counted = _trace(_place(tmp_path, sandbox, 0), ("", 0))
    if counted.code not in (0, 3):
        pytest.skip(f"could not do it here: a process can't be traced (exit code {counted.code})")
    points = _points(counted.calls)[::STRIDE]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        struck = list(
            pool.map(lambda n: _strike(tmp_path, sandbox, n, points[n - 1]), range(1, len(points) + 1))
        )

    hits = Counter(each.point[0].partition(" ")[0] for each in struck if each.hit)
    print(f"{len(counted.calls)} calls, {len(points)} points, {hits.total()} hit: {dict(hits.most_common())}")
    print(f"unconfirmed: {sum(each.verdict.unconfirmed for each in struck)}")
    wrong = [f"before {each.point}: {problem}" for each in struck for problem in each.verdict.problems]
    assert not wrong, "\n".join(wrong[:50])
    assert hits.total() >= 0.9 * len(points), [each.point for each in struck if not each.hit]
    if STRIDE == 1:
        assert {"fsync", "fdatasync", "pwrite64", "unlinkat", "connect", "sendto", "recvfrom"} <= hits.keys()


def _points(calls: list[str]) -> list[Point]:
    around = [None, *calls, None]
    times: Counter[str] = Counter()
    points = []
    for at, call in enumerate(calls, 1):
        times[call] += 1
        if ALL or not around[at - 1] == call == around[at + 1]:
            points.append((call, times[call]))
    return points


def _strike(directory: Path, sandbox: SandboxProcess, number: int, point: Point) -> Struck:
    place = _place(directory, sandbox, number)
    hit = _trace(place, point).code < 0
    again = place.ingestd("run", "--until-idle", expect=None)
    if again.returncode not in (0, 3):
        return Struck(
            point, hit, Verdict(wrong=[f"the next run ends with {again.returncode}: {again.stderr}"])
        )
    files = _files(number)
    ours = {dropped.image[1] for dropped in files}
    images: list[dict[str, Any]] = [image for image in sandbox.images() if image["sha256"] in ours]
    return Struck(point, hit, judge(place, images, files))


def _place(directory: Path, sandbox: SandboxProcess, number: int) -> Place:
    place = Place(directory / f"point{number}", sandbox.url)
    for dropped in _files(number):
        place.drop(dropped.path, dropped.content)
    return place


def _files(number: int) -> list[Dropped]:
    """Bytes of their own for each point, for all points share one sandbox."""
    bad = samples.small_png(2 * number)
    return [
        Dropped("one.jpg", samples.small_jpeg(number), Kind.GOOD, "receipt"),
        Dropped("reports/R1/two.png", samples.small_png(2 * number + 1), Kind.GOOD, "report/R1"),
        Dropped("bad.png", bad[:300] + bad[-60:], Kind.BAD, "receipt"),
    ]


def _trace(place: Place, point: Point) -> Traced:
    call, at = point
    command = [sys.executable, "-I", "-S", tracer.__file__, call, str(at), str(place.directory)]
    done = subprocess.run(
        [*command, *place.command("run", "--until-idle")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    begin = done.stdout.rfind('{"calls": ')
    if begin < 0:
        return Traced([], done.returncode or 1)
    seen = json.loads(done.stdout[begin:])
    return Traced(seen["calls"], seen["code"])
