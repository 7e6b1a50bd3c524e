"""Spoiled messages: each is opened or refused with a reason, in a limited process that survives it. And
letters: each becomes a PDF or is refused with a reason; only limits of time and memory may end its process.

    make fuzz                                         20,000 messages and 1,000 letters, with progress
    FUZZ_ONLY=1234 make fuzz                          one of them again

A third of the messages is made up at random (`mails`); the others are sound ones with bytes spoiled as in the
other fuzz test, and lines as mail servers and attackers spoil them.
"""

import asyncio
import io
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.assembly import LARGEST_OUTPUT_BYTES, LETTERS_OF_A_WORKER
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.interfaces import OpenedMessage
from ingestd.normalizer.exchange_mail import Unopenable
from ingestd.normalizer.letter_making import JOB, MADE
from ingestd.normalizer.mail_bounds import MOST_LEAVES
from ingestd.normalizer.mail_opening import LimitedMailOpener
from ingestd.normalizer.message_text import texts_of
from ingestd.normalizer.normalizing import PreparingNormalizer
from ingestd.offload.errors import LossKind, WorkerLost
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings
from tests.fuzz import mails
from tests.fuzz.mutations import mutated
from tests.mail import samples
from tests.traps.workbench import LIMITS, Workbench

CASES = int(os.environ.get("FUZZ_CASES", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
ONLY = os.environ.get("FUZZ_ONLY")
ROUND = 500
LETTERS = max(1, CASES // 20)
"""A layout costs a hundred times as much as taking a message apart."""
_TOKENS = (
    b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: message/rfc822", b"--b", b"--b--", b"",
    b"Content-Type: multipart/alternative", b"Content-Transfer-Encoding: base64", b" folded", b"\t;;;",
    b"Content-Type: text/html; charset=utf-7", b"Content-Type: application/ms-tnef; name*0*=x''%ff",
    b"Content-Disposition: inline; filename=a.pdf", b"Content-ID: <a>", b"From: x@y.z, (", b"\xff\xfe\x00",
    b"Content-Type: text/plain; charset=unicode_escape; format=flowed", b"Subject: =?hz?b?fn4=?= =?",
    b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=from:subject:date; bh=AA==; b=AA==",
    b"Content-Type: multipart/encrypted; boundary=b", b"Content-Type: multipart/report; boundary=b",
)  # fmt: skip
_KEYS = {("example.com", "s"): b"v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMpcVEGaMMQ0ac2V"}


class Letters(Offload):
    """The limited processes of letters with a sixth of the time; it is told how each was lost."""

    def __init__(self) -> None:
        super().__init__(
            JOB, workers=2, memory_bytes=PreparationSettings().memory, cpu=timedelta(seconds=5),
            wall=timedelta(seconds=120), jobs_per_worker=LETTERS_OF_A_WORKER,
            output_bytes=LARGEST_OUTPUT_BYTES,
        )  # fmt: skip
        self.losses: Counter[LossKind] = Counter()

    async def run(
        self, request: Mapping[str, object], inputs: Sequence[Path | int], outputs: Sequence[Path | int] = ()
    ) -> dict[str, object]:
        try:
            return await super().run(request, inputs, outputs)
        except WorkerLost as lost:
            self.losses[lost.kind] += 1
            raise


@pytest.fixture(name="letters")
def letter_room() -> Iterator[Letters]:
    letters = Letters()
    letters.start()
    yield letters
    letters.close()


@pytest.mark.timeout(0)
def test_a_letter_becomes_a_pdf_or_is_refused_and_breaks_nothing(bench: Workbench, letters: Letters) -> None:
    normalizer = PreparingNormalizer(bench.offload, bench.spool, bench.settings, letters)
    counts: Counter[str] = Counter()
    started = time.monotonic()
    for case in range(SEED * 1_000_000, SEED * 1_000_000 + LETTERS) if ONLY is None else (int(ONLY),):
        document = replace(_spooled(bench, mails.letter(random.Random(case))), declared_type=MESSAGE_TYPE)
        try:
            result = bench._runner.run(normalizer.normalize([document], LIMITS))
            assert not letters.losses["crash"], "the process broke down"
        except Exception as error:
            error.add_note(f"FUZZ_ONLY={case}")
            raise
        counts[_kind_of(result)] += 1
        if counts.total() % 100 == 0:
            assert bench.leftovers() == [], f"after letter {case}"
            bench.empty_spool()
            print(
                f"{counts.total()} letters after {time.monotonic() - started:.0f} s: {dict(counts)}",
                flush=True,
            )
    print(f"processes of letters that were ended: {dict(letters.losses)}")
    assert ONLY or counts["laid out"] > counts.total() / 2, counts


def _kind_of(result: ReceiptImage | InvalidDocument) -> str:
    if isinstance(result, InvalidDocument):
        assert result.reason and result.fix, "refused without a reason or a way out"
        return "refused"
    assert MADE in result.steps
    return "words only" if any("layout" in warning for warning in result.warnings) else "laid out"


@pytest.mark.timeout(0)
def test_a_spoiled_message_is_opened_or_refused_and_hurts_nobody(bench: Workbench) -> None:
    corpus = [sample for sample in samples.everything() if len(sample) < 400_000]
    opener = LimitedMailOpener(bench.offload, bench.spool)
    lost_before = len(bench.offload.losses)
    counts: Counter[str] = Counter()
    started = time.monotonic()
    for cases in _rounds():
        for case in cases:
            raw = _spoiled(case, corpus)
            try:
                counts[bench._runner.run(_judged(opener, bench, raw))] += 1
            except Exception as error:
                error.add_note(f"FUZZ_ONLY={case}")
                raise
        assert bench.leftovers() == [], f"after the cases {cases[0]} to {cases[-1]}"
        bench.empty_spool()
        print(f"{counts.total()} after {time.monotonic() - started:.0f} s: {dict(counts)}", flush=True)
    losses = bench.offload.losses[lost_before:]
    assert not losses, losses  # no message of this size comes near a limit


async def _judged(opener: LimitedMailOpener, bench: Workbench, raw: bytes) -> str:
    message = await asyncio.to_thread(_spooled, bench, raw)
    assert await opener.signed_by(message, _KEYS) == frozenset()
    result = await opener.open_message(message)
    if isinstance(result, InvalidDocument):
        assert result.reason and result.fix, "refused without a reason or a way out"
        return "refused"
    assert isinstance(result, OpenedMessage)
    assert result.leaves or result.refused, "nothing came of it, and nothing is said"
    assert len(result.leaves) <= MOST_LEAVES
    for leaf in result.leaves:
        assert leaf.document.path.stat().st_size == leaf.document.size
        assert not leaf.text or leaf.document.declared_type == MESSAGE_TYPE
        if leaf.text:
            _has_text(leaf.document.path.read_bytes())
    return "opened"


def _has_text(raw: bytes) -> None:
    """What is to become a page later must have something to show."""
    try:
        text = texts_of(raw)
    except Unopenable:
        return
    assert text.html or text.text, "a text without a text"


def _spooled(bench: Workbench, raw: bytes) -> Document:
    spooled = bench.spool.write(io.BytesIO(raw))
    return Document(
        path=spooled.path, filename="m.eml", size=spooled.size, sha256=spooled.sha256, declared_type=None
    )


def _rounds() -> Iterator[range]:
    if ONLY is not None:
        yield range(int(ONLY), int(ONLY) + 1)
        return
    first = SEED * 1_000_000
    for start in range(first, first + CASES, ROUND):
        yield range(start, min(start + ROUND, first + CASES))


def _spoiled(case: int, corpus: Sequence[bytes]) -> bytes:
    """A third is made up. Of all, most by lines, most by bytes, some by both."""
    chance = random.Random(case)
    raw = mails.composed(chance) if case % 3 == 0 else corpus[case % len(corpus)]
    if chance.random() < 0.6:
        lines = raw.split(b"\r\n")
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            chance.choice(_BY_LINES)(lines, chance)
        raw = chance.choice((b"\r\n", b"\r\n", b"\n")).join(lines)
    return mutated(raw, case, corpus) if chance.random() < 0.6 else raw


def _insert(lines: list[bytes], chance: random.Random) -> None:
    lines.insert(_place(lines, chance), chance.choice(_TOKENS))


def _repeat(lines: list[bytes], chance: random.Random) -> None:
    at = _place(lines, chance)
    lines[at:at] = lines[at : at + chance.choice((1, 3, 20))] * chance.choice((1, 2, 50))


def _remove(lines: list[bytes], chance: random.Random) -> None:
    at = _place(lines, chance)
    del lines[at : at + chance.choice((1, 1, 5))]


def _swap(lines: list[bytes], chance: random.Random) -> None:
    if lines:
        first, second = (chance.randrange(len(lines)) for _ in range(2))
        lines[first], lines[second] = lines[second], lines[first]


def _place(lines: Sequence[bytes], chance: random.Random) -> int:
    """Where headers and boundaries are: lines of base64 are many and all alike."""
    places = [n for n, line in enumerate(lines) if len(line) < 60 or b":" in line] or [0]
    return chance.choice(places)


_BY_LINES: tuple[Callable[[list[bytes], random.Random], None], ...] = (
    _insert,
    _insert,
    _repeat,
    _remove,
    _swap,
)
