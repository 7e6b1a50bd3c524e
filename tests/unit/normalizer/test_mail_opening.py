"""Messages in real limited processes: nothing is imported there, and what stalls others ends."""

import asyncio
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd import samples as documents
from ingestd.domain.document import Document, InvalidDocument
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.interfaces import OpenedMessage
from ingestd.normalizer import JOB
from ingestd.normalizer.exchange_mail import Excuse
from ingestd.normalizer.mail_bounds import MOST_MESSAGE_BYTES
from ingestd.normalizer.mail_opening import LimitedMailOpener
from ingestd.normalizer.message_reasons import EXCUSES
from ingestd.offload.errors import LossKind, WorkerLost
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings
from ingestd.spool import Spool
from tests.mail import samples
from tests.unit.normalizer.test_message_signed import ANN

CPU = timedelta(seconds=5)
"""A sixth of what is allowed outside of tests: each of these messages takes less than one."""


class Opener:
    """The real one, with a limited process, to be used from tests that are not asynchronous."""

    def __init__(self, offload: Offload, spool: Spool, runner: asyncio.Runner) -> None:
        self.offload = offload
        self.spool = spool
        self._opener = LimitedMailOpener(offload, spool)
        self._runner = runner

    def open(self, raw: bytes) -> OpenedMessage | InvalidDocument:
        return self._runner.run(self._opener.open_message(spooled(self.spool, raw)))

    def opened(self, raw: bytes) -> OpenedMessage:
        result = self.open(raw)
        assert isinstance(result, OpenedMessage), result
        return result

    def signed_by(self, raw: bytes, keys: Mapping[tuple[str, str], bytes]) -> frozenset[str]:
        return self._runner.run(self._opener.signed_by(spooled(self.spool, raw), keys))


@pytest.fixture(name="opener", scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    offload = Offload(
        JOB, workers=1, memory_bytes=PreparationSettings().memory, cpu=CPU, wall=timedelta(seconds=90),
        output_bytes=512_000_000,
    )  # fmt: skip
    offload.start()
    spool = Spool(tmp_path_factory.mktemp("mail") / "spool", min_free_bytes=0)
    with asyncio.Runner() as runner:
        yield Opener(offload, spool, runner)
        runner.run(offload.aclose())


def spooled(spool: Spool, raw: bytes) -> Document:
    found = spool.write(io.BytesIO(raw))
    return Document(
        path=found.path, filename="message.eml", size=found.size, sha256=found.sha256, declared_type=None
    )


def test_leaves_are_spooled_and_the_rest_is_told_in_sentences(opener: Opener) -> None:
    opened = opener.opened(samples.outlook())
    photo, bill = opened.leaves
    assert (photo.document.filename, photo.inline, bill.document.filename) == (
        "image002.png",
        True,
        "Bill.pdf",
    )
    assert bill.document.path.read_bytes() == documents.small_pdf(2)
    assert bill.document.path == opener.spool.path(bill.document.sha256)
    assert [(one.filename, one.reason) for one in opened.refused] == [("image001.png", EXCUSES[Excuse.LOGO])]
    assert opened.letter.senders == ("ann@example.com",)
    assert opened.letter.unanswerable is None


def test_the_text_of_a_message_is_the_message_itself_in_the_spool(opener: Opener) -> None:
    (leaf,) = opener.opened(samples.only_html()).leaves
    assert leaf.text
    assert (leaf.document.filename, leaf.document.declared_type) == ("Your Thursday trip.eml", MESSAGE_TYPE)
    assert leaf.document.path.read_bytes() == samples.only_html()


def test_the_text_of_an_attached_message_is_a_document_of_its_own(opener: Opener) -> None:
    leaf = opener.opened(samples.forwarded_as_attachment()).leaves[-1]
    assert (leaf.text, leaf.document.filename, leaf.document.declared_type) == (
        True,
        "Taxi.eml",
        MESSAGE_TYPE,
    )
    assert leaf.document.path.read_bytes() == samples.only_text()


def test_a_bounce_is_told_not_to_be_answered(opener: Opener) -> None:
    assert opener.opened(samples.a_bounce()).letter.unanswerable == "it is a report of the mail system"


def test_every_sample_is_opened_where_nothing_can_be_imported(opener: Opener) -> None:
    for raw in samples.everything():
        assert isinstance(opener.open(raw), OpenedMessage)


@pytest.mark.parametrize(
    "charset",
    [
        "utf-7",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "iso-2022-jp",
        "euc-jp",
        "euc-kr",
        "ks_c_5601-1987",
        *(
            "koi8-r",
            "koi8-u",
            "windows-1250",
            "windows-1251",
            "windows-1258",
            "iso-8859-15",
            "tis-620",
            "utf-16",
        ),
        *("x-nonsense", "zlib_codec", "unicode_escape", "../../x", "rot13", "undefined"),
    ],
)
def test_text_in_any_charset_is_read_there(opener: Opener, charset: str) -> None:
    head = samples.fields(subject=f"=?{charset}?b?xOO6ww==?=")
    raw = head + b"Content-Type: text/html; charset=" + charset.encode() + b"\r\n\r\n<p>Total \xc4\xe3 +AOQ-"
    (leaf,) = opener.opened(raw).leaves
    assert leaf.text


def test_an_international_domain_is_written_in_ascii_there(opener: Opener) -> None:
    raw = samples.fields(**{"from": "Ann <ann@bücher.example>"}) + b"\r\nTotal 1"
    assert opener.opened(raw).letter.senders == ("ann@xn--bcher-kva.example",)


def test_the_longest_header_with_the_longest_names_fits_an_answer(opener: Opener) -> None:
    results = b"".join(b"Authentication-Results: " + b"\xe9" * 7_900 + b"\r\n" for _ in range(12))
    part = samples.attached(samples.tracker(), "\U0001f9fe" * 1_000 + ".gif")
    opened = opener.opened(results + samples.message(samples.several(*[part] * 490, samples.text("1"))))
    assert (len(opened.refused), len(opened.letter.authentication)) == (490, 12)
    assert opened.refused[0].filename.endswith(".gif")


STALLS: dict[str, Callable[[], bytes]] = {
    "200 KB of semicolons": samples.semicolons,
    "20,000 parameters": samples.many_parameters,
    "20,000 senders": samples.many_addresses,
    "20,000 recipients": lambda: samples.many_addresses(field=b"To"),
    "20,000 encoded words": samples.encoded_words,
    "100,000 parentheses": samples.parentheses,
    "200,000 header fields": samples.many_fields,
    "multiparts, 900 deep": lambda: samples.deep(900),
    "multiparts, 3,000 deep": samples.deep,
    "messages, 2,000 deep": samples.messages_within_messages,
    "1,000 parts": lambda: samples.many_parts(1_000),
    "100,000 parts": samples.many_parts,
    "lines that look like boundaries": samples.many_near_boundaries,
}


@pytest.mark.parametrize("make", STALLS.values(), ids=STALLS.keys())
def test_what_stalls_other_parsers_is_refused_with_a_reason(
    opener: Opener, make: Callable[[], bytes]
) -> None:
    result = opener.open(make())
    assert isinstance(result, InvalidDocument)
    assert result.reason and result.fix
    assert "broke down" not in result.reason and "too long;" not in result.reason


def test_a_large_message_is_opened_within_the_same_limits(opener: Opener) -> None:
    (leaf,) = opener.opened(samples.heavy()).leaves
    assert leaf.document.size > 14_000_000


def test_after_all_that_the_same_process_opens_a_sound_message(opener: Opener) -> None:
    assert len(opener.opened(samples.with_pdf()).leaves) == 1
    assert opener.offload.confinement


def test_the_same_message_gives_the_same_documents(opener: Opener) -> None:
    assert opener.open(samples.outlook()) == opener.open(samples.outlook())


def test_signatures_are_verified_with_the_keys_that_are_handed_over(opener: Opener) -> None:
    signed = ANN.sign(samples.with_pdf())
    record = ANN.record.record.encode()
    # Signed now: `signed_by` looks at the clock.
    assert opener.signed_by(signed, {("example.com", "sel"): record}) == {"example.com"}
    assert opener.signed_by(signed.replace(b"Lyon", b"Rome"), {("example.com", "sel"): record}) == frozenset()
    assert opener.signed_by(signed, {("example.com", "other"): record}) == frozenset()
    assert opener.signed_by(signed, {("example.com", "sel"): b"\xff" * 20_000}) == frozenset()
    assert opener.signed_by(signed, {}) == frozenset()
    # The library alone would take minutes for these blanks, which the signature allows.
    spread = signed.replace(b"Please find", b"Please" + b" " * 300_000 + b"find")
    assert opener.signed_by(spread, {("example.com", "sel"): record}) == {"example.com"}


# --- processes that can't be believed ----------------------------------------------------------------------


class Liar:
    """A limited process that was taken over, or lost."""

    def __init__(self, answer: Mapping[str, object] | LossKind, output: bytes = b"") -> None:
        self._answer = answer
        self._output = output

    async def run(
        self, request: Mapping[str, object], inputs: Sequence[Path | int], outputs: Sequence[Path | int] = ()
    ) -> Mapping[str, object]:
        if isinstance(self._answer, str):
            raise WorkerLost(self._answer, "gone")
        for output in outputs:
            assert isinstance(output, int)
            os.write(output, self._output)
        return self._answer


@pytest.fixture(name="spool")
def a_spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", min_free_bytes=0)


async def told_by(liar: Liar, spool: Spool) -> OpenedMessage | InvalidDocument:
    return await LimitedMailOpener(liar, spool).open_message(spooled(spool, b"From: a@b.c\r\n\r\nx"))


@pytest.mark.parametrize("kind", ["wall", "cpu", "memory", "crash"])
async def test_a_process_that_is_lost_costs_one_message_only(kind: LossKind, spool: Spool) -> None:
    result = await told_by(Liar(kind), spool)
    assert isinstance(result, InvalidDocument)
    keys = {("example.com", "sel"): b"p="}
    opener = LimitedMailOpener(Liar(kind), spool)
    assert await opener.signed_by(spooled(spool, b"x"), keys) == frozenset()


LETTER: Mapping[str, object] = {
    "senders": [], "reply_to": [], "recipients": [], "subject": "", "message_id": "", "references": [],
    "return_path": None, "authentication": [], "signatures": [], "unanswerable": None, "trace": 0,
}  # fmt: skip
LEAF: Mapping[str, object] = {
    "name": "a.pdf", "declared_type": "", "offset": 0, "size": 10,
    "inline": False, "text": False, "whole": False,
}  # fmt: skip
ANSWER: Mapping[str, object] = {
    "answer": "Opened",
    "letter": LETTER,
    "automatic": None,
    "leaves": [LEAF],
    "left_out": [],
}


async def test_what_a_process_says_is_checked_against_what_it_wrote(spool: Spool) -> None:
    result = await told_by(Liar(ANSWER, b"0123456789"), spool)
    assert isinstance(result, OpenedMessage)
    assert result.leaves[0].document.path.read_bytes() == b"0123456789"
    for liar in (
        Liar(ANSWER, b"012345678"),
        Liar({}),
        Liar({**ANSWER, "automatic": "buy this"}, b"0123456789"),
    ):
        assert isinstance(await told_by(liar, spool), InvalidDocument)


async def test_a_domain_that_nobody_asked_about_is_not_believed(spool: Spool) -> None:
    liar = LimitedMailOpener(Liar({"answer": "Verified", "domains": ["bank.example"]}), spool)
    assert await liar.signed_by(spooled(spool, b"x"), {("example.com", "sel"): b"p="}) == frozenset()


async def test_a_full_disk_is_no_fault_of_the_message(spool: Spool) -> None:
    with pytest.raises(StorageExhausted):
        await told_by(Liar({"answer": "NoRoom"}), spool)


async def test_a_message_that_is_too_large_is_refused_unread(spool: Spool) -> None:
    message = Document(
        path=Path("/nowhere"), filename="m", size=MOST_MESSAGE_BYTES + 1, sha256="", declared_type=None
    )
    result = await LimitedMailOpener(Liar("crash"), spool).open_message(message)
    assert isinstance(result, InvalidDocument) and "at most 150 MB" in result.reason
