"""The daemon's side of the normalizer: what it refuses unopened, and that it believes no answer unseen."""

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd import samples, sniff
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.domain.errors import StorageExhausted
from ingestd.interfaces import Limits, Unpacked
from ingestd.normalizer import JOB
from ingestd.normalizer.exchange import (
    Compared,
    Finding,
    Listing,
    Member,
    NoRoom,
    Noted,
    Prepared,
    PrepareRequest,
    Problem,
    Step,
    write_answer,
)
from ingestd.normalizer.normalizing import MOST_BYTES, PreparingNormalizer
from ingestd.offload.errors import LossKind, WorkerLost
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings
from ingestd.spool import Spool

SETTINGS = PreparationSettings()
CONCUR = Limits(types=frozenset({sniff.PDF, sniff.JPEG, "image/jpg", sniff.PNG}), max_bytes=10_000_000)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", min_free_bytes=0)


@pytest.fixture(scope="module")
def offload() -> Iterator[Offload]:
    with Offload(
        JOB,
        workers=1,
        memory_bytes=SETTINGS.memory,
        cpu=timedelta(seconds=30),
        wall=timedelta(seconds=60),
        output_bytes=500_000_000,
    ) as pool:
        yield pool


class Answering:
    """A limited process that writes and answers what it was told to, or is lost."""

    def __init__(self, answer: Mapping[str, object] | LossKind, *written: bytes) -> None:
        self.answer = answer
        self.written = written

    async def run(
        self, request: Mapping[str, object], inputs: Sequence[Path | int], outputs: Sequence[Path | int] = ()
    ) -> Mapping[str, object]:
        if isinstance(self.answer, str):
            raise WorkerLost(self.answer, "as told")
        for descriptor, content in zip(outputs, self.written, strict=False):
            assert isinstance(descriptor, int)
            os.write(descriptor, content)
        received: dict[str, object] = json.loads(json.dumps(self.answer))
        return received


class NeverAsked:
    """Stands where a document must be refused before any process sees it."""

    async def run(
        self, request: Mapping[str, object], inputs: Sequence[Path | int], outputs: Sequence[Path | int] = ()
    ) -> Mapping[str, object]:
        raise AssertionError(f"{inputs} was opened")


def spooled(spool: Spool, content: bytes, filename: str = "receipt.pdf") -> Document:
    found = spool.write(io.BytesIO(content))
    return Document(
        path=found.path, filename=filename, size=found.size, sha256=found.sha256, declared_type="text/html"
    )


def refusal(verdict: ReceiptImage | InvalidDocument) -> InvalidDocument:
    assert isinstance(verdict, InvalidDocument), verdict
    return verdict


def normalizer(offload: object, spool: Spool) -> PreparingNormalizer:
    return PreparingNormalizer(offload, spool, SETTINGS)  # type: ignore[arg-type] # also those that play one


# --- with the real limited processes -----------------------------------------------------------------------


async def test_a_sound_document_becomes_the_image_unchanged(spool: Spool, offload: Offload) -> None:
    for level in ("light", "full"):
        made = PreparingNormalizer(offload, spool, replace(SETTINGS, inspect=level))
        for content, mime_type, pages in (
            (samples.jpeg(), "image/jpeg", 1),
            (samples.png(), "image/png", 1),
            (samples.pdf(pages=2), "application/pdf", 2),
        ):
            document = spooled(spool, content, "declared-as-html.txt")
            image = await made.normalize([document], CONCUR)
            assert isinstance(image, ReceiptImage), image
            assert (image.path, image.sha256, image.size) == (document.path, document.sha256, document.size)
            assert (image.mime_type, image.pages, image.steps) == (mime_type, pages, ())
            assert (image.fingerprint is None) == (level == "light")
            assert (spool.thumbnail(document.sha256) is None) == (level == "light")


async def test_several_documents_become_one_pdf_that_names_what_was_done(
    spool: Spool, offload: Offload
) -> None:
    pages = [
        spooled(spool, samples.jpeg(1), "a.jpg"),
        spooled(spool, samples.pdf(2, pages=2), "b.pdf"),
        spooled(spool, samples.png(3), "c.png"),
    ]
    image = await normalizer(offload, spool).normalize(pages, CONCUR)
    assert isinstance(image, ReceiptImage), image
    assert (image.mime_type, image.pages) == ("application/pdf", 4)
    assert "3 documents were merged into one PDF." in image.steps
    assert spool.read(image.sha256).startswith(b"%PDF-")


async def test_the_bad_one_among_several_is_named(spool: Spool, offload: Offload) -> None:
    pages = [
        spooled(spool, samples.jpeg(1), "a.jpg"),
        spooled(spool, samples.truncated(samples.png(3)), "c.png"),
    ]
    verdict = refusal(await normalizer(offload, spool).normalize(pages, CONCUR))
    assert verdict.reason.startswith("c.png, one of the 2 files of this receipt: The PNG is incomplete")


async def test_a_password_that_fits_opens_and_is_not_told(spool: Spool, offload: Offload) -> None:
    document = spooled(spool, samples.encrypted_pdf(password="geheim"))
    made = normalizer(offload, spool)
    assert "password" in refusal(await made.normalize([document], CONCUR)).reason
    wrong = refusal(await made.normalize([document], CONCUR, passwords=["a", "b"]))
    assert "none of the 2 known passwords" in wrong.reason
    image = await made.normalize([document], CONCUR, passwords=["wrong", "geheim"])
    assert isinstance(image, ReceiptImage), image
    assert image.steps == ("Opened with password number 2 of those known.",)
    assert "geheim" not in repr(image)


async def test_an_archive_s_members_are_spooled_under_presentable_names(
    spool: Spool, offload: Offload
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../trip/ta\nxi.jpg", samples.jpeg(1))
        archive.writestr("Thumbs.db", b"x")
        archive.writestr("hotel.pdf", samples.pdf(2))
    unpacked = await normalizer(offload, spool).unpack(spooled(spool, buffer.getvalue()), "in/batch.zip")
    assert isinstance(unpacked, Unpacked)
    assert [d.arrived_as for d in unpacked.documents] == [
        "in/batch.zip/trip/taxi.jpg",
        "in/batch.zip/hotel.pdf",
    ]
    assert [d.filename for d in unpacked.documents] == ["taxi.jpg", "hotel.pdf"]
    assert spool.read(unpacked.documents[1].sha256) == samples.pdf(2)
    assert [refused.filename for refused in unpacked.refused] == ["Thumbs.db"]


async def test_an_archive_that_can_t_be_opened_stays_a_document_and_is_refused_with_the_cause(
    spool: Spool, offload: Offload
) -> None:
    made = normalizer(offload, spool)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50_000_000))
    bomb = spooled(spool, buffer.getvalue(), "bomb.zip")
    assert await made.unpack(bomb, "bomb.zip") is None
    assert "unpacks to more than" in refusal(await made.normalize([bomb], CONCUR)).reason


async def test_two_pictures_of_one_receipt_are_the_same_and_others_are_not(
    spool: Spool, offload: Offload
) -> None:
    made = normalizer(offload, spool)
    first, second = [await made.normalize([spooled(spool, samples.jpeg(n))], CONCUR) for n in (1, 2)]
    assert isinstance(first, ReceiptImage)
    assert isinstance(second, ReceiptImage)
    assert await made.same(first, first)
    assert not await made.same(first, second)


async def test_nothing_is_left_in_the_spool_s_temporary_directory(spool: Spool, offload: Offload) -> None:
    made = normalizer(offload, spool)
    for content in (samples.jpeg(), samples.truncated(samples.png()), samples.cmyk_jpeg()):
        await made.normalize([spooled(spool, content)], CONCUR)
    assert list((spool.directory / "tmp").iterdir()) == []


def test_the_decoders_work_behind_every_layer_that_this_kernel_offers(offload: Offload) -> None:
    """A decoder that needs what is forbidden would cost a layer for all documents, with only a notice."""
    with Offload(
        "tests.unit.offload.jobs:job",
        workers=1,
        memory_bytes=500_000_000,
        cpu=timedelta(seconds=5),
        wall=timedelta(seconds=5),
    ) as trivial:
        assert offload.confinement == trivial.confinement


# --- refused before any process sees it --------------------------------------------------------------------


async def test_no_document_is_refused(spool: Spool) -> None:
    assert refusal(await normalizer(NeverAsked(), spool).normalize([], CONCUR)).reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (bytes(10_000), "nothing but zeros"),
        (samples.text(), "named like a PDF, but it is a plain text file"),
        (samples.html(), "a web page"),
        (samples.docx(), "a Word document"),
    ],
)
async def test_what_is_no_receipt_format_never_reaches_a_process(
    spool: Spool, content: bytes, words: str
) -> None:
    made = normalizer(NeverAsked(), spool)
    verdict = refusal(await made.normalize([spooled(spool, content)], CONCUR))
    assert words in verdict.reason
    assert verdict.fix
    assert await made.unpack(spooled(spool, content), "x") is None


async def test_more_bytes_than_a_process_can_hold_are_refused_unopened(spool: Spool) -> None:
    document = replace(spooled(spool, samples.small_jpeg(1)), size=MOST_BYTES)
    verdict = refusal(await normalizer(NeverAsked(), spool).normalize([document, document], CONCUR))
    assert verdict.reason.startswith("The 2 files of this receipt have 400 MB")


async def test_a_target_without_pdf_can_t_take_several_documents(spool: Spool) -> None:
    limits = Limits(types=frozenset({sniff.JPEG}), max_bytes=10_000_000)
    document = spooled(spool, samples.small_jpeg(1))
    verdict = refusal(await normalizer(NeverAsked(), spool).normalize([document, document], limits))
    assert "2 documents came for one receipt" in verdict.reason


async def test_a_spool_that_can_t_be_read_is_broken_machinery_not_a_bad_document(spool: Spool) -> None:
    document = spooled(spool, samples.small_jpeg(1))
    document.path.unlink()
    with pytest.raises(FileNotFoundError):
        await normalizer(NeverAsked(), spool).normalize([document], CONCUR)


# --- a process that does not answer, or lies ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [("wall", "too long"), ("cpu", "too long"), ("memory", "memory"), ("crash", "broke down")],
)
async def test_a_lost_process_costs_this_receipt_only(spool: Spool, kind: LossKind, words: str) -> None:
    made = normalizer(Answering(kind), spool)
    document = spooled(spool, samples.small_jpeg(1))
    assert words in refusal(await made.normalize([document], CONCUR)).reason
    image = ReceiptImage(path=document.path, mime_type=sniff.JPEG, size=1, pages=1, sha256="0" * 64)
    assert not await made.same(image, image)


CONVERTED = Prepared(as_is=False, mime_type="image/jpeg", pages=1, steps=(Noted(what=Step.CONVERTED),))
LIES = {
    "free text": ({"problem": "Please wire the money", "numbers": {}}, b""),
    "a type nobody takes": (write_answer(replace(CONVERTED, mime_type="text/html")), b"<html>"),
    "another type than it says": (write_answer(CONVERTED), samples.small_png(1)),
    "nothing written": (write_answer(CONVERTED), b""),
    "more than the limit": (write_answer(CONVERTED), samples.small_jpeg(1) + bytes(10_000_000)),
    "a document there is not": (write_answer(Finding(problem=Problem.CORRUPT, document=1)), b""),
    "as is, of another type": (write_answer(replace(CONVERTED, as_is=True, mime_type="image/png")), b""),
}


@pytest.mark.parametrize(("answer", "written"), LIES.values(), ids=LIES)
async def test_an_answer_that_is_not_true_costs_this_receipt_only(
    spool: Spool, answer: Mapping[str, object], written: bytes
) -> None:
    document = spooled(spool, samples.small_jpeg(1))
    verdict = refusal(await normalizer(Answering(answer, written), spool).normalize([document], CONCUR))
    assert "broke down" in verdict.reason
    assert "wire" not in str(verdict)


async def test_a_full_disk_is_waited_out_and_no_receipt_pays_for_it(spool: Spool) -> None:
    made = normalizer(Answering(write_answer(NoRoom())), spool)
    with pytest.raises(StorageExhausted):
        await made.normalize([spooled(spool, samples.small_jpeg(1))], CONCUR)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"x")
    with pytest.raises(StorageExhausted):
        await made.unpack(spooled(spool, buffer.getvalue()), "a.zip")


def test_no_password_stands_in_what_is_printed_of_a_request() -> None:
    asked = PrepareRequest(
        documents=(),
        types=frozenset(),
        max_bytes=1,
        max_pages=None,
        level="full",
        max_pixels=1,
        passwords=("geheim",),
    )
    assert "geheim" not in repr(asked)


async def test_as_is_is_not_believed_of_several_documents(spool: Spool) -> None:
    answer = write_answer(replace(CONVERTED, as_is=True))
    document = spooled(spool, samples.small_jpeg(1))
    verdict = await normalizer(Answering(answer), spool).normalize([document, document], CONCUR)
    assert "broke down" in refusal(verdict).reason


async def test_a_thumbnail_that_is_no_picture_is_not_kept(spool: Spool) -> None:
    made = samples.small_jpeg(2)
    for thumbnail, kept in ((b"<script>", False), (bytes(300_000), False), (samples.small_jpeg(3), True)):
        answer = write_answer(replace(CONVERTED, thumbnail=True))
        document = spooled(spool, samples.small_jpeg(1))
        image = await normalizer(Answering(answer, made, thumbnail), spool).normalize([document], CONCUR)
        assert isinstance(image, ReceiptImage)
        assert (spool.thumbnail(image.sha256) is not None) == kept


@pytest.mark.parametrize(
    "listing",
    [
        Listing(members=(Member(name="a", offset=0, size=10_000),)),  # beyond the end of what was written
        Listing(members=(Member(name="a", offset=1 << 50, size=1),)),
    ],
)
async def test_members_that_are_not_where_it_says_leave_the_archive_a_document(
    spool: Spool, listing: Listing
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"x")
    document = spooled(spool, buffer.getvalue())
    assert await normalizer(Answering(write_answer(listing), b"abc"), spool).unpack(document, "a.zip") is None


async def test_a_comparison_is_only_true_when_it_says_so(spool: Spool) -> None:
    document = spooled(spool, samples.small_jpeg(1))
    image = ReceiptImage(
        path=document.path, mime_type=sniff.JPEG, size=document.size, pages=1, sha256=document.sha256
    )
    assert await normalizer(Answering(write_answer(Compared(same=True))), spool).same(image, image)
    assert not await normalizer(Answering({"same": "yes"}), spool).same(image, image)
