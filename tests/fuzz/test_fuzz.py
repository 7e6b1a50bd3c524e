"""Spoiled documents of every format: each becomes an image or is refused, and nothing else ever happens.

    make fuzz                                         20,000 cases, with progress
    make fuzz FUZZ_CASES=500 FUZZ_SEED=7              others, and fewer
    FUZZ_ONLY=1234 make fuzz                          one of them again

`make test` runs a small slice. A case is a number: it picks the sample and how it is spoiled.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from ingestd import sniff
from ingestd.domain.document import InvalidDocument, ReceiptImage
from tests.fuzz.mutations import mutated
from tests.traps import archives, readers
from tests.traps.workbench import LIMITS, Workbench
from tests.unit.normalizer.table.catalogue import LIGHT

CASES = int(os.environ.get("FUZZ_CASES", "150"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
ONLY = os.environ.get("FUZZ_ONLY")
ROUND = 200
"""After so many cases all are waited for: what one of them left behind is then seen."""
DRAWN_ELSEWHERE = 20
"""One in so many images is drawn by an independent reader. Every PDF that was changed is checked by one."""
LARGEST_SAMPLE_BYTES = 400_000
MOST_COMPLAINTS = 50


@pytest.mark.timeout(0)
def test_a_spoiled_document_becomes_an_image_or_is_refused_and_leaves_nothing_behind(
    bench: Workbench,
) -> None:
    corpus = _corpus()
    judge = _Judge()
    open_before = bench.open_files()
    started = time.monotonic()
    for cases in _rounds():
        bench.prepare_each(_spoiled(cases, corpus), judge)
        assert bench.leftovers() == [], f"after the cases {cases[0]} to {cases[-1]}"
        bench.empty_spool()
        print(f"{judge.counts.total()} after {time.monotonic() - started:.0f} s: {judge.told()}", flush=True)
        if len(judge.complaints) >= MOST_COMPLAINTS:
            break
    speed = judge.counts.total() / (time.monotonic() - started)
    lost = Counter(loss.kind for loss in bench.offload.losses)
    print(f"{speed:.1f} cases/s; limited processes lost: {dict(lost)}")
    assert bench.worker_count() <= bench.settings.workers
    assert bench.open_files() <= open_before + 4 * bench.settings.workers
    # A limit that stops a document is what it is for; a reader that breaks down over one is a mistake.
    crashes = [f"{loss}, {loss.__notes__}" for loss in bench.offload.losses if loss.kind == "crash"]
    assert not judge.complaints + crashes, "\n".join(judge.complaints + crashes)


class _Judge:
    """Called from several threads. `complaints`: a line each, with the case to be run alone by FUZZ_ONLY."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []

    def __call__(self, case: int, document: bytes, result: ReceiptImage | InvalidDocument) -> None:
        try:
            self.counts[_judged(case, document, result)] += 1
        except AssertionError as wrong:
            self.counts["wrong"] += 1
            self.complaints.append(f"FUZZ_ONLY={case}: {wrong}")

    def told(self) -> str:
        return ", ".join(f"{word} {count}" for word, count in sorted(self.counts.items()))


def _judged(case: int, document: bytes, result: ReceiptImage | InvalidDocument) -> str:
    """One word for the count."""
    if isinstance(result, InvalidDocument):
        assert result.reason and result.fix, "refused without a reason or a way out"
        return "refused"
    content = result.path.read_bytes()
    assert 0 < len(content) <= LIMITS.max_bytes, f"{len(content)} bytes"
    assert result.mime_type in LIMITS.types, result.mime_type
    assert sniff.sniff(content, content[-sniff.TAIL_BYTES :]) == result.mime_type, "other bytes than it says"
    as_it_came = content == document
    if result.mime_type == sniff.PDF and not as_it_came:
        pages = readers.checked_pdf(content, made_of=document)
        assert pages == result.pages, f"{pages} pages, and {result.pages} are told"
    if case % DRAWN_ELSEWHERE == 0:
        drawn = len(readers.pages_of(content, result.mime_type, strict=False))
        assert drawn == result.pages, f"{drawn} pages are drawn, and {result.pages} are told"
    return "as it came" if as_it_came else "changed"


def _corpus() -> list[bytes]:
    """Every sample of the table that is not large, and the archives; each once."""
    made = [make() for case in LIGHT for make in case.documents]
    documents = dict.fromkeys((*made, archives.plain(), archives.nested(2)))
    return [document for document in documents if 0 < len(document) <= LARGEST_SAMPLE_BYTES]


def _rounds() -> Iterator[range]:
    if ONLY is not None:
        yield range(int(ONLY), int(ONLY) + 1)
        return
    first = SEED * 1_000_000
    for start in range(first, first + CASES, ROUND):
        yield range(start, min(start + ROUND, first + CASES))


def _spoiled(cases: Iterable[int], corpus: list[bytes]) -> Iterator[tuple[int, bytes]]:
    for case in cases:
        yield case, mutated(corpus[case % len(corpus)], case, corpus)
