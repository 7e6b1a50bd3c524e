"""Spoiled documents of every format: each becomes an image or is refused, and nothing else ever happens.

    make fuzz                                         20,000 cases, with progress
    make fuzz FUZZ_CASES=500 FUZZ_SEED=7              others, and fewer
    FUZZ_ONLY=1234 make fuzz FUZZ_CASES=1             one of them again

`make test` runs a small slice. A case is a number: it picks the sample and how it is spoiled.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator

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
AT_ONCE = 8
OPENED_ELSEWHERE = 20
"""One in so many images is opened by an independent reader."""
LARGEST_SAMPLE_BYTES = 400_000


@pytest.mark.timeout(0)
def test_a_spoiled_document_becomes_an_image_or_is_refused_and_leaves_nothing_behind(
    bench: Workbench,
) -> None:
    corpus = _corpus()
    counts: Counter[str] = Counter()
    open_before = bench.open_files()
    started = time.monotonic()
    for batch in _batches():
        cases = [(case, mutated(corpus[case % len(corpus)], case, corpus)) for case in batch]
        for (case, document), result in zip(cases, _prepared(bench, cases), strict=True):
            counts[_judged(case, document, result)] += 1
        assert bench.leftovers() == []
        bench.empty_spool()
        _tell_now_and_then(counts, started)
    counts.update(f"lost: {lost}" for lost in bench.offload.losses)
    print(f"{CASES / (time.monotonic() - started):.1f} cases/s, {dict(counts)}")
    assert bench.worker_count() <= bench.settings.workers
    assert bench.open_files() <= open_before + 4 * bench.settings.workers


def _corpus() -> list[bytes]:
    """Every sample of the table that is not large, and the archives; each once."""
    made = [make() for case in LIGHT for make in case.documents]
    documents = dict.fromkeys((*made, archives.plain(), archives.nested(2)))
    return [document for document in documents if 0 < len(document) <= LARGEST_SAMPLE_BYTES]


def _batches() -> Iterator[range]:
    if ONLY is not None:
        yield range(int(ONLY), int(ONLY) + 1)
        return
    first = SEED * 1_000_000
    for start in range(first, first + CASES, AT_ONCE):
        yield range(start, min(start + AT_ONCE, first + CASES))


def _prepared(bench: Workbench, cases: list[tuple[int, bytes]]) -> list[ReceiptImage | InvalidDocument]:
    """With the number of the case in any exception, so that it can be run alone."""
    try:
        return bench.prepare_each([document for _, document in cases])
    except BaseException as error:
        error.add_note(f"one of the cases {cases[0][0]} to {cases[-1][0]} (FUZZ_ONLY)")
        raise


def _judged(case: int, document: bytes, result: ReceiptImage | InvalidDocument) -> str:
    """One word for the count. `case` is the number of the case."""
    if isinstance(result, InvalidDocument):
        assert result.reason and result.fix, case
        return "refused"
    content = result.path.read_bytes()
    assert 0 < len(content) <= LIMITS.max_bytes and result.mime_type in LIMITS.types, case
    assert sniff.sniff(content, content[-sniff.TAIL_BYTES :]) == result.mime_type, case
    as_it_came = content == document
    if case % OPENED_ELSEWHERE == 0:
        _open_elsewhere(case, content, result, as_it_came=as_it_came)
    return "ready as it came" if as_it_came else "ready"


def _open_elsewhere(case: int, content: bytes, image: ReceiptImage, *, as_it_came: bool) -> None:
    try:
        pages = readers.pages_of(content, image.mime_type, strict=False)
    except readers.Unreadable as unreadable:
        raise AssertionError(f"case {case}, as it came: {as_it_came}") from unreadable
    assert len(pages) == image.pages, case


def _tell_now_and_then(counts: Counter[str], started: float) -> None:
    done = counts.total()
    if done % (AT_ONCE * 25) == 0:
        print(f"{done}/{CASES} after {time.monotonic() - started:.0f} s: {dict(counts)}", flush=True)
