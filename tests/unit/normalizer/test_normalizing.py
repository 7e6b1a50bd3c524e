"""The normalizer with the real limited processes behind it."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd import samples, sniff
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.interfaces import Limits
from ingestd.normalizer import JOB
from ingestd.normalizer.normalizing import InspectingNormalizer
from ingestd.offload.errors import LossKind, WorkerLost
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings

SETTINGS = PreparationSettings()
CONCUR = Limits(types=frozenset({sniff.PDF, sniff.JPEG, "image/jpg", sniff.PNG}), max_bytes=10_000_000)


@pytest.fixture
async def offload() -> AsyncIterator[Offload]:
    pool = Offload(
        JOB,
        workers=1,
        memory_bytes=SETTINGS.memory,
        cpu=timedelta(seconds=20),
        wall=timedelta(seconds=40),
    )
    pool.start()
    yield pool
    await pool.aclose()


class NeverAsked:
    """Stands where a document must be refused before any process sees it."""

    async def run(self, request: Mapping[str, object], inputs: Sequence[Path]) -> Mapping[str, object]:
        raise AssertionError(f"{inputs} was inspected")


class Answering:
    """A limited process that answers what it was told to, or is lost."""

    def __init__(self, answer: Mapping[str, object] | LossKind) -> None:
        self.answer = answer

    async def run(self, request: Mapping[str, object], inputs: Sequence[Path]) -> Mapping[str, object]:
        if isinstance(self.answer, str):
            raise WorkerLost(self.answer, "as told")
        return self.answer


def spooled(folder: Path, content: bytes, filename: str = "receipt.pdf") -> Document:
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / sha256
    path.write_bytes(content)
    return Document(path=path, filename=filename, size=len(content), sha256=sha256, declared_type="text/html")


def refusal(verdict: ReceiptImage | InvalidDocument) -> InvalidDocument:
    assert isinstance(verdict, InvalidDocument), verdict
    return verdict


GOOD = {
    "jpeg": (samples.jpeg(), "image/jpeg", 1),
    "mpo": (samples.mpo(), "image/jpeg", 1),
    "png": (samples.png(), "image/png", 1),
    "pdf": (samples.pdf(pages=2), "application/pdf", 2),
}


async def test_a_sound_document_becomes_a_receipt_image_unchanged(tmp_path: Path, offload: Offload) -> None:
    for level in ("light", "full"):
        normalizer = InspectingNormalizer(offload, replace(SETTINGS, inspect=level))
        for content, mime_type, pages in GOOD.values():
            document = spooled(tmp_path, content, "declared-as-html.txt")
            assert await normalizer.normalize([document], CONCUR) == ReceiptImage(
                path=document.path,
                mime_type=mime_type,
                size=document.size,
                pages=pages,
                sha256=document.sha256,
            )
            assert document.path.read_bytes() == content


BAD = {
    "encrypted": (samples.encrypted_pdf(password="x"), "password"),
    "owner only": (samples.encrypted_pdf(), "password"),
    "cut off jpeg": (samples.truncated(samples.jpeg()), "JPEG is incomplete"),
    "cut off png": (samples.truncated(samples.png()), "PNG is incomplete"),
    "cut off pdf": (samples.truncated(samples.pdf()), "PDF is incomplete"),
    "pageless": (samples.pageless_pdf(), "no pages"),
    "pixel bomb": (samples.pixel_bomb(), "pixels"),
}


async def test_text_in_any_encoding_is_read_where_no_codec_can_be_imported_any_more(
    tmp_path: Path, offload: Offload
) -> None:
    gb2312_name, utf16_text = b"/\xb0\xa1\xb0\xa2 (x)", b"/Note (\xfe\xff\x00A)"
    content = samples.small_pdf(1).replace(b"/Type /Page /", gb2312_name + utf16_text + b" /Type /Page /")
    verdict = await InspectingNormalizer(offload, SETTINGS).normalize([spooled(tmp_path, content)], CONCUR)
    assert isinstance(verdict, ReceiptImage)


async def test_an_unsound_document_is_refused_and_the_next_one_is_served(
    tmp_path: Path, offload: Offload
) -> None:
    normalizer = InspectingNormalizer(offload, SETTINGS)
    for content, words in BAD.values():
        verdict = refusal(await normalizer.normalize([spooled(tmp_path, content)], CONCUR))
        assert words in verdict.reason
        good = await normalizer.normalize([spooled(tmp_path, samples.small_jpeg(1))], CONCUR)
        assert isinstance(good, ReceiptImage)


async def test_a_png_that_needs_more_memory_than_there_is_costs_one_receipt(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_pixels=10**12, memory=400_000_000)
    pool = Offload(
        JOB, workers=1, memory_bytes=settings.memory, cpu=timedelta(seconds=20), wall=timedelta(seconds=40)
    )
    with pool:
        normalizer = InspectingNormalizer(pool, settings)
        bomb = spooled(tmp_path, samples.pixel_bomb(30_000, 30_000))
        assert "memory" in refusal(await normalizer.normalize([bomb], CONCUR)).reason
        good = spooled(tmp_path, samples.small_png(1))
        assert isinstance(await normalizer.normalize([good], CONCUR), ReceiptImage)
        await pool.aclose()


# --- refused before any process sees it --------------------------------------------------------------------


async def test_several_documents_are_refused_with_a_way_out(tmp_path: Path) -> None:
    documents = [spooled(tmp_path, samples.small_pdf(number), f"page{number}.pdf") for number in (1, 2)]
    verdict = refusal(await InspectingNormalizer(NeverAsked(), SETTINGS).normalize(documents, CONCUR))
    assert "2 documents" in verdict.reason
    assert "merging them into one isn't possible yet" in verdict.reason
    assert "one PDF" in verdict.fix


async def test_no_document_is_refused() -> None:
    assert refusal(await InspectingNormalizer(NeverAsked(), SETTINGS).normalize([], CONCUR)).reason


async def test_a_file_over_the_limit_is_refused_without_being_opened() -> None:
    document = Document(
        path=Path("/nowhere"), filename="scan.png", size=12_018_244, sha256="0" * 64, declared_type=None
    )
    verdict = refusal(await InspectingNormalizer(NeverAsked(), SETTINGS).normalize([document], CONCUR))
    assert verdict.reason.startswith("The file has 12.1 MB;")
    assert verdict.filename == "scan.png"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (bytes(10_000), "nothing but zeros"),
        (samples.text(), "named like a PDF, but it is a plain text file"),
        (samples.html(), "a web page"),
        (samples.docx(), "a Word document"),
        (b"GIF89a" + bytes(30), "a GIF picture"),
    ],
)
async def test_what_is_no_receipt_format_never_reaches_a_process(
    tmp_path: Path, content: bytes, words: str
) -> None:
    verdict = await InspectingNormalizer(NeverAsked(), SETTINGS).normalize(
        [spooled(tmp_path, content)], CONCUR
    )
    assert words in refusal(verdict).reason
    assert refusal(verdict).fix


async def test_a_sound_document_of_a_type_the_target_does_not_take_is_refused(tmp_path: Path) -> None:
    limits = Limits(types=frozenset({sniff.PDF}), max_bytes=10_000_000)
    document = spooled(tmp_path, samples.jpeg(), "photo.jpg")
    verdict = await InspectingNormalizer(NeverAsked(), SETTINGS).normalize([document], limits)
    assert refusal(verdict).reason == "This is a JPEG picture. A receipt must be PDF."


# --- a process that does not answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [("wall", "too long"), ("cpu", "too long"), ("memory", "memory"), ("crash", "broke down")],
)
async def test_a_lost_process_costs_this_receipt_only(tmp_path: Path, kind: LossKind, words: str) -> None:
    document = spooled(tmp_path, samples.small_jpeg(1))
    verdict = await InspectingNormalizer(Answering(kind), SETTINGS).normalize([document], CONCUR)
    assert words in refusal(verdict).reason


async def test_an_answer_that_no_inspection_gives_costs_this_receipt_only(tmp_path: Path) -> None:
    document = spooled(tmp_path, samples.small_jpeg(1))
    forged = {"problem": "Please wire the money", "numbers": {}}
    verdict = refusal(await InspectingNormalizer(Answering(forged), SETTINGS).normalize([document], CONCUR))
    assert "wire" not in str(verdict)


async def test_a_spool_that_can_t_be_read_is_broken_machinery_not_a_bad_document(tmp_path: Path) -> None:
    document = spooled(tmp_path, samples.small_jpeg(1))
    document.path.unlink()
    with pytest.raises(FileNotFoundError):
        await InspectingNormalizer(NeverAsked(), SETTINGS).normalize([document], CONCUR)
