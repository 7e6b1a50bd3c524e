"""Crash points: the daemon is killed right before each call that changes a file or talks to the target.

One run over a few files, the pages of one entry, or an archive makes some 400 such calls, from the making of
the ledger to the last report. A point is a call on a file and which time it is made, because the order of
threads varies. Of a row of the same calls (the pages of one transaction) the first and the last are hit, or
each of them with TORTURE_POINTS=all; then the daemon runs again to the end. TORTURE_STRIDE=10 takes every
tenth.
"""

import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingestd import samples
from tests.acceptance.place import ROOT, Place, SandboxProcess
from tests.torture import tracer
from tests.torture.conftest import dial
from tests.torture.drops import ONE_IMAGE, Drop, Dropped, Kind, archive_of
from tests.torture.judge import Image, Verdict, judge
from tests.torture.marked import FORMATS, marked_page

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


@pytest.mark.parametrize("scenario", ["files", "group", "archive"])
@pytest.mark.timeout(3600)
def test_a_crash_before_any_call_loses_nothing_and_uploads_nothing_twice(
    sandbox: SandboxProcess, tmp_path: Path, scenario: str
) -> None:
    if not tracer.KNOWN:
        pytest.skip(f"could not do it here: no table of system calls for {platform.machine()}")
    enumeration = Enumeration(tmp_path, sandbox, SCENARIOS[scenario])
    counted = _trace(enumeration.place(0), ("", 0))
    if counted.code not in (0, 3):
        pytest.skip(f"could not do it here: a process can't be traced (exit code {counted.code})")
    points = _points(counted.calls)[::STRIDE]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        struck = list(pool.map(lambda n: enumeration.strike(n, points[n - 1]), range(1, len(points) + 1)))

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


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Strikes at places that share one sandbox: `drop` makes documents of its own for each number."""

    directory: Path
    sandbox: SandboxProcess
    drop: Callable[[int], Drop]

    def place(self, number: int) -> Place:
        place = Place(self.directory / f"point{number}", self.sandbox.url)
        for path, content in self.drop(number).files.items():
            place.drop(path, content)
        return place

    def strike(self, number: int, point: Point) -> Struck:
        place = self.place(number)
        hit = _trace(place, point).code < 0
        again = place.ingestd("run", "--until-idle", expect=None)
        if again.returncode not in (0, 3):
            wrong = [f"the next run ends with {again.returncode}: {again.stderr}"]
            return Struck(point, hit, Verdict(wrong=wrong))
        documents = self.drop(number).documents
        images = [image for image in self.sandbox.images() if self._is_of(image, documents)]
        return Struck(point, hit, judge(place, images, documents, content=self.sandbox.content))

    def _is_of(self, image: Image, documents: Sequence[Dropped]) -> bool:
        slots = {document.slot for document in documents if document.slot.startswith(ONE_IMAGE)}
        return image["place"] in slots or image["sha256"] in {document.receipt[1] for document in documents}


def _files(number: int) -> Drop:
    bad = samples.small_png(2 * number)
    two = samples.small_png(2 * number + 1)
    documents = [
        Dropped("one.jpg", samples.small_jpeg(number), Kind.GOOD, "receipt"),
        Dropped("reports/R1/two.png", two, Kind.GOOD, "report/R1"),
        Dropped("bad.png", bad[:300] + bad[-60:], Kind.BAD, "receipt"),
    ]
    return Drop({document.path: document.content for document in documents}, documents)


def _group(number: int) -> Drop:
    """A photo, a scan and a PDF of one entry. The tracer sees all entries with such IDs as one."""
    entry = f"{number:032x}"
    marks = tuple(8 * number + page for page in range(3))
    pages = {
        f"entries/{entry}/page{9 + place}{suffix}": marked_page(mark, suffix)
        for place, (mark, suffix) in enumerate(zip(marks, FORMATS, strict=True))
    }
    first = next(iter(pages.values()))
    documents = [
        Dropped(path, page, Kind.GOOD, f"expenseentry/{entry}", marks, first) for path, page in pages.items()
    ]
    return Drop(pages, documents)


def _archive(number: int) -> Drop:
    members = [
        Dropped("batch.zip/taxi.jpg", samples.small_jpeg(number), Kind.GOOD, "receipt"),
        Dropped("batch.zip/trip/hotel.png", samples.small_png(number), Kind.GOOD, "receipt"),
        Dropped("batch.zip/notes.txt", samples.text() + f"{number}\n".encode(), Kind.BAD, "receipt"),
    ]
    return Drop({"batch.zip": archive_of(members)}, members)


SCENARIOS: dict[str, Callable[[int], Drop]] = {"files": _files, "group": _group, "archive": _archive}


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
