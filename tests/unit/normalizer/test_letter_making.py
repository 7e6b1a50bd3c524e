"""From a message in the spool to the receipt image, through the real limited processes."""

import io
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd import samples, sniff
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.interfaces import Limits
from ingestd.normalizer import JOB
from ingestd.normalizer.exchange import Finding, NoRoom, Problem, write_answer
from ingestd.normalizer.letter_exchange import Lettered
from ingestd.normalizer.letter_making import MADE
from ingestd.normalizer.letter_work import readable
from ingestd.normalizer.normalizing import PreparingNormalizer
from ingestd.offload.errors import LossKind, WorkerLost
from ingestd.offload.lockdown import LAYERS
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings
from ingestd.spool import Spool
from tests.unit.normalizer.letters import RED, facts_of, has_colour, mail, pages_of, picture, text_of
from tests.unit.normalizer.test_letter_rendering import hostile
from tests.unit.offload.test_escapes import BY_SYSTEM_CALLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = PreparationSettings()
CONCUR = Limits(types=frozenset({sniff.PDF, sniff.JPEG, "image/jpg", sniff.PNG}), max_bytes=10_000_000)
LAYOUT_LOST = "The layout of the mail could not be kept; only its words are shown, without its pictures."


def started(job: str, *, cpu: float = 30, memory_bytes: int = SETTINGS.memory) -> Offload:
    pool = Offload(
        job,
        workers=1,
        memory_bytes=memory_bytes,
        cpu=timedelta(seconds=cpu),
        wall=timedelta(seconds=90),
        output_bytes=500_000_000,
    )
    pool.start()
    return pool


@pytest.fixture(scope="module", name="pools")
def running() -> Iterator[tuple[Offload, Offload]]:
    """Documents, letters."""
    documents, letters = started(JOB), started("tests.unit.normalizer.letter_job:job")
    yield documents, letters
    documents.close()
    letters.close()


@pytest.fixture(scope="module")
def hurried() -> Iterator[Offload]:
    """Letters with little time and memory."""
    pool = started("ingestd.normalizer.letter_work:letter", cpu=4, memory_bytes=600_000_000)
    yield pool
    pool.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", min_free_bytes=0)


def spooled(spool: Spool, message: bytes, *, filename: str = "Your booking.eml") -> Document:
    blob = spool.write(io.BytesIO(message))
    return Document(
        path=blob.path, filename=filename, size=blob.size, sha256=blob.sha256, declared_type=MESSAGE_TYPE
    )


def image_of(result: ReceiptImage | InvalidDocument) -> ReceiptImage:
    assert isinstance(result, ReceiptImage), result
    return result


def refusal_of(result: ReceiptImage | InvalidDocument) -> InvalidDocument:
    assert isinstance(result, InvalidDocument), result
    return result


# --- what comes out ----------------------------------------------------------------------------------------


async def test_a_mail_becomes_a_pdf_that_looks_like_it(
    pools: tuple[Offload, Offload], spool: Spool, tmp_path: Path
) -> None:
    message = mail("<p>Total <b>€ 5</b></p><img src='cid:a'>", pictures={"a": picture(RED)})
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, pools[1])
    image = image_of(await normalizer.normalize([spooled(spool, message)], CONCUR))
    pdf = image.path.read_bytes()
    assert "Total € 5" in text_of(pdf)
    assert facts_of(pdf)["Page size"].endswith("(A4)")
    assert has_colour(pages_of(pdf, tmp_path)[0], RED)
    assert (image.mime_type, image.pages, image.steps, image.warnings) == (sniff.PDF, 1, (MADE,), ())


async def test_the_same_mail_gives_the_same_image_whatever_came_before(
    pools: tuple[Offload, Offload], spool: Spool
) -> None:
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, pools[1])
    message = spooled(spool, mail("<table width=900 border=1><tr><td>日本 <i>Total</i> 5</table>"))
    first = image_of(await normalizer.normalize([message], CONCUR))
    await normalizer.normalize([spooled(spool, mail("<p style='font: 9px serif'>αβγ <b>x"))], CONCUR)
    assert image_of(await normalizer.normalize([message], CONCUR)).sha256 == first.sha256


async def test_a_mail_is_merged_with_what_else_came(pools: tuple[Offload, Offload], spool: Spool) -> None:
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, pools[1])
    photo = spooled(spool, samples.small_jpeg(1), filename="taxi.jpg")
    letter = spooled(spool, mail("<p>Total 5</p>"))
    image = image_of(await normalizer.normalize([photo, letter], CONCUR))
    assert image.pages == 2
    assert f"Your booking.eml: {MADE}" in image.steps


async def test_what_is_not_shown_is_told(pools: tuple[Offload, Offload], spool: Spool) -> None:
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, pools[1])
    html = "<p>Total 5 <img src='http://x.example/a.png'><img src='cid:none'>"
    html += "<table width=9000 border=1><td>x"
    image = image_of(await normalizer.normalize([spooled(spool, mail(html))], CONCUR))
    assert [warning.split("(")[0].strip() for warning in image.warnings[:2]] == [
        "Pictures that the mail only refers to",
        "Pictures in the mail can't be shown",
    ]
    assert image.warnings[-1] == "The mail is much wider than a page, and its right side is cut off."


async def test_a_message_from_elsewhere_is_refused_as_before(
    pools: tuple[Offload, Offload], spool: Spool
) -> None:
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, pools[1])
    from_a_folder = replace(spooled(spool, mail("<p>Total 5</p>")), declared_type=None)
    refused = refusal_of(await normalizer.normalize([from_a_folder], CONCUR))
    assert refused.reason.startswith("This is an e-mail message.")


async def test_a_hostile_mail_reaches_nobody(pools: tuple[Offload, Offload], spool: Spool) -> None:
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, pools[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        image = image_of(await normalizer.normalize([spooled(spool, mail(hostile(address)))], CONCUR))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert LAYOUT_LOST not in image.warnings  # what is refused costs nothing else
    assert "Total 5" in text_of(image.path.read_bytes())


# --- limits


@pytest.mark.parametrize(
    "html",
    [
        pytest.param("<div>" * 3_000 + "Total 5", id="deep nesting"),
        pytest.param("<table>" + ("<tr>" + "<td>1" * 100) * 1_000 + "</table>Total 5", id="100,000 cells"),
        pytest.param(
            "<style>" + "".join(f".a{n} p:nth-child({n}){{}}" for n in range(60_000)) + "</style>Total 5",
            id="huge style sheet",
        ),
        pytest.param("<i>" * 2_000 + "Total 5" + "<p>" * 20_000, id="misnested"),
    ],
)
async def test_a_layout_beyond_the_limits_costs_the_layout_only(
    pools: tuple[Offload, Offload], hurried: Offload, spool: Spool, html: str
) -> None:
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, hurried)
    image = image_of(await normalizer.normalize([spooled(spool, mail(html))], CONCUR))
    assert "Total 5" in text_of(image.path.read_bytes())
    assert image.warnings == (LAYOUT_LOST,)


async def test_five_megabytes_of_text_are_refused_with_a_reason(
    pools: tuple[Offload, Offload], hurried: Offload, spool: Spool
) -> None:
    normalizer = PreparingNormalizer(pools[0], spool, SETTINGS, hurried)
    html = "<p>word word word word</p>" * 200_000
    refused = refusal_of(await normalizer.normalize([spooled(spool, mail(html))], CONCUR))
    assert "pages" in refused.reason
    good = image_of(await normalizer.normalize([spooled(spool, mail("<p>Total 5"))], CONCUR))
    assert good.warnings == ()


# --- confinement


@pytest.mark.parametrize(
    ("attempt", "refusal"), (BY_SYSTEM_CALLS | {"open": "EACCES", "read environ": "EACCES"}).items()
)
async def test_a_layout_engine_that_was_taken_over_is_refused(
    pools: tuple[Offload, Offload], tmp_path: Path, attempt: str, refusal: str
) -> None:
    letters = pools[1]
    assert letters.confinement == set(LAYERS), letters.notices
    path = tmp_path / "precious"
    path.write_text("still here", encoding="ascii")
    path.chmod(0o666)
    answer = await letters.run({"do": attempt, "path": str(path), "pid": os.getpid()}, [])
    assert answer == {"refused": refusal}
    assert path.read_text(encoding="ascii") == "still here"


async def test_it_reads_fonts_and_nothing_else(pools: tuple[Offload, Offload]) -> None:
    letters = pools[1]
    font = next(path for folder in readable() for path in Path(folder).iterdir() if path.is_file())
    assert "done" in await letters.run({"do": "open", "path": str(font)}, [])
    for path in ("/etc/passwd", "/etc/fonts/fonts.conf", str(Path(__file__).resolve()), "/"):
        assert await letters.run({"do": "open", "path": path}, []) == {"refused": "EACCES"}
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
        answer = await letters.run({"do": "open", "path": str(font), "flags": flags}, [])
        assert answer == {"refused": "EPERM"}


# --- answers that are not believed -------------------------------------------------------------------------


class Answering:
    """A limited process that writes and answers what it was told to, or is lost."""

    def __init__(self, answer: Mapping[str, object] | LossKind, written: bytes = b"") -> None:
        self.answer = answer
        self.written = written
        self.asked: list[object] = []

    async def run(
        self, request: Mapping[str, object], inputs: Sequence[Path | int], outputs: Sequence[Path | int] = ()
    ) -> Mapping[str, object]:
        self.asked.append(request["plain"])
        (output,) = outputs
        assert isinstance(output, int)
        os.write(output, self.written)
        if isinstance(self.answer, str):
            raise WorkerLost(self.answer, "as told")
        received: dict[str, object] = json.loads(json.dumps(self.answer))
        return received


async def normalized(spool: Spool, letters: Answering | None) -> ReceiptImage | InvalidDocument:
    document = spooled(spool, mail("<p>Total 5</p>"))
    never = Answering("crash")
    return await PreparingNormalizer(never, spool, SETTINGS, letters).normalize([document], CONCUR)


async def test_without_weasyprint_a_mail_is_refused_with_what_to_do(spool: Spool) -> None:
    refused = refusal_of(await normalized(spool, None))
    assert "WeasyPrint" in refused.reason
    assert "Attach the receipt" in refused.fix
    assert refused.filename == "Your booking.eml"


@pytest.mark.parametrize("kind", ["wall", "cpu", "memory", "crash"])
async def test_a_process_that_is_lost_twice_costs_this_mail_only(spool: Spool, kind: LossKind) -> None:
    letters = Answering(kind)
    refused = refusal_of(await normalized(spool, letters))
    assert refused.filename == "Your booking.eml"
    assert letters.asked == [False, True]


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        (Lettered(pages=1).write(), b"MZ is no PDF"),
        (Lettered(pages=1).write(), b""),
        (Lettered(pages=0).write(), samples.small_pdf(0)),
        (Lettered(pages=1, unknown=-1).write(), samples.small_pdf(0)),
        ({"answer": "Prepared", "as_is": True}, samples.small_pdf(0)),
        ({"answer": "Lettered"}, samples.small_pdf(0)),
        ({}, b""),
    ],
)
async def test_a_malformed_answer_is_a_crash(
    spool: Spool, answer: Mapping[str, object], written: bytes
) -> None:
    refused = refusal_of(await normalized(spool, Answering(answer, written)))
    assert "could not be read" in refused.reason


async def test_a_finding_is_told_in_words(spool: Spool) -> None:
    finding = Finding(problem=Problem.TOO_MANY_PAGES, numbers={"pages": 500, "limit": 100})
    letters = Answering(write_answer(finding))
    refused = refusal_of(await normalized(spool, letters))
    assert "500" in refused.reason
    assert letters.asked == [False]


async def test_a_full_disk_is_not_the_mails_fault(spool: Spool) -> None:
    with pytest.raises(StorageExhausted):
        await normalized(spool, Answering(write_answer(NoRoom())))
