"""Every crash point: the daemon is killed right before each of its calls that change a file or talk to the target.

One run over a few files makes some 400 such calls, from the making of the ledger to the last report. Each is hit
once, then the daemon runs again to the end. The order of threads varies a little from run to run, so the list of
points is what one run showed, not a proof. TORTURE_STRIDE=10 takes every tenth.
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

STRIDE = dial("STRIDE", 1)
SPARE_POINTS = 10
"""A run may make a few calls more than the one that was counted."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What the tracer saw: the calls up to the last, and the exit code (negative: the signal)."""

    calls: list[str]
    code: int


@dataclass(frozen=True, slots=True)
class Struck:
    """One crash point: the call that was not executed any more, None when the run ended before it came."""

    call: str | None
    verdict: Verdict


@pytest.mark.timeout(3600)
def test_a_crash_before_any_call_loses_nothing_and_uploads_nothing_twice(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    if platform.machine() not in tracer._NUMBERS:
        pytest.skip(f"could not do it here: no table of system calls for {platform.machine()}")
    counted = _trace(_place(tmp_path, sandbox, 0), at=0)
    if counted.code not in (0, 3):
        pytest.skip(f"could not do it here: a process can't be traced (exit code {counted.code})")
    points = range(1, len(counted.calls) + SPARE_POINTS, STRIDE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        struck = list(pool.map(lambda at: _strike(tmp_path, sandbox, at), points))

    hit = Counter(each.call.partition(" ")[0] for each in struck if each.call)
    print(f"{hit.total()} crash points of {len(counted.calls)} calls: {dict(hit.most_common())}")
    print(f"unconfirmed: {sum(each.verdict.unconfirmed for each in struck)}")
    wrong = [
        f"before {each.call}: {problem}" for each in struck for problem in each.verdict.problems
    ]
    assert not wrong, "\n".join(wrong[:50])
    assert hit.total() >= len(points) - SPARE_POINTS - len(points) // 10
    for one in ("fsync", "fdatasync", "pwrite64", "connect", "sendto", "recvfrom"):
        assert hit[one] or STRIDE > 1, f"no crash before {one}"


def _strike(directory: Path, sandbox: SandboxProcess, at: int) -> Struck:
    place = _place(directory, sandbox, at)
    traced = _trace(place, at)
    call = traced.calls[-1] if traced.code < 0 else None
    again = place.ingestd("run", "--until-idle", expect=None)
    if again.returncode not in (0, 3):
        return Struck(call, Verdict(wrong=[f"the next run ends with {again.returncode}: {again.stderr}"]))
    files = _files(at)
    ours = {dropped.image[1] for dropped in files}
    images: list[dict[str, Any]] = [image for image in sandbox.images() if image["sha256"] in ours]
    return Struck(call, judge(place, images, files))


def _place(directory: Path, sandbox: SandboxProcess, at: int) -> Place:
    place = Place(directory / f"point{at}", sandbox.url)
    for dropped in _files(at):
        place.drop(dropped.path, dropped.content)
    return place


def _files(at: int) -> list[Dropped]:
    """Bytes of their own for each point, for all points share one sandbox."""
    first = at * 10
    return [
        Dropped("one.jpg", samples.small_jpeg(first), Kind.GOOD, "receipt"),
        Dropped(f"entries/E{at}/two.png", samples.small_png(first), Kind.GOOD, f"expenseentry/E{at}"),
        Dropped("bad.png", samples.small_png(first + 1)[:200] + samples.small_png(1)[-12:], Kind.BAD, "receipt"),
    ]


def _trace(place: Place, at: int) -> Traced:
    command = [sys.executable, "-I", "-S", tracer.__file__, str(at), str(place.directory)]
    done = subprocess.run(
        [*command, *place.command("run", "--until-idle")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    begin = done.stdout.rfind('{"calls": ')
    if begin < 0:
        return Traced([], done.returncode or 1)
    seen = json.loads(done.stdout[begin:])
    return Traced(seen["calls"], seen["code"])
