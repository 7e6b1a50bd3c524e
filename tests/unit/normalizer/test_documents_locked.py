"""PDF documents in real limited processes: nothing needs a file, and no bomb gets far."""

import asyncio
import zlib
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from ingestd import samples
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings
from tests.unit.normalizer.pdf_making import (
    CATALOG,
    ONE_PAGE,
    PAGE,
    assert_sound,
    packed_noise,
    page_with,
    pdf,
    picture,
    stream,
    text_of,
)

JOB = "tests.unit.normalizer.pdf_job:work"


class Processes:
    """Limited processes, and the event loop they are asked in."""

    def __init__(self, offload: Offload, runner: asyncio.Runner, folder: Path) -> None:
        self._offload = offload
        self._runner = runner
        self._folder = folder

    def made(self, *given: bytes, max_bytes: int = 10_000_000) -> tuple[dict[str, object], bytes]:
        inputs = []
        for number, data in enumerate(given):
            inputs.append(self._folder / f"in-{number}")
            inputs[-1].write_bytes(data)
        output = self._folder / "out"
        answer = self._runner.run(self._offload.run({"max_bytes": max_bytes}, inputs, [output]))
        return answer, output.read_bytes()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    offload = Offload(
        JOB,
        workers=1,
        memory_bytes=PreparationSettings().memory,
        cpu=timedelta(seconds=30),
        wall=timedelta(seconds=90),
        output_bytes=50_000_000,
    )
    offload.start()
    with asyncio.Runner() as runner:
        yield Processes(offload, runner, tmp_path_factory.mktemp("documents"))
        runner.run(offload.aclose())


FORM = pdf(
    b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R] /NeedAppearances true >> >>",
    ONE_PAGE,
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R /Annots [5 0 R] >>",
    stream(b""),
    b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (t) /V (42.50) /Rect [20 40 180 60] /DA (/Helv 12 Tf) >>",
)


@pytest.mark.parametrize(
    ("document", "step"),
    [
        (samples.encrypted_pdf(), "decrypted"),
        (samples.encrypted_pdf(password="secret"), "opened"),
        (samples.encrypted_pdf(password="secret", algorithm="RC4-128"), "opened"),
        (samples.small_pdf(1).replace(b"startxref\n", b"startxref\n1"), "repaired"),
        (FORM, "form_flattened"),
    ],
)
def test_each_way_works_where_no_file_can_be_opened(processes: Processes, document: bytes, step: str) -> None:
    answer, result = processes.made(document)
    assert answer == {"pages": 1, "steps": [step], "views": 1}
    assert_sound(result)
    assert text_of(result).strip() in ("Receipt 0", "Receipt 1", "42.50")


LIKE_UTF_16 = b"<54007900700069006e006700200061002000700061007300730077006f0072006400>"


@pytest.mark.parametrize("text", [LIKE_UTF_16, b"<FEFF00410042>", b"<FFFE41004200>", b"<EFBBBF41>"])
def test_strings_in_every_encoding_are_read_where_no_codec_can_be_imported(
    processes: Processes, text: bytes
) -> None:
    whole = pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(b"0 0 9 9 re f"), trailer=b"/ID [%b %b]" % (text, text))
    annotated = pdf(
        CATALOG,
        ONE_PAGE,
        PAGE % b"/Annots [<< /Subtype /Text /Rect [0 0 9 9] /Contents %b >>] /AA << >>" % text,
        stream(b"0 0 9 9 re f"),
    )
    for document, steps in ((whole, []), (annotated, ["active_removed"])):
        answer, _ = processes.made(document)
        assert answer == {"pages": 1, "steps": steps, "views": 1}


def test_documents_are_merged_and_made_to_fit_there(processes: Processes) -> None:
    noise = page_with(
        picture(
            packed_noise(1000, 1500), width=1000, height=1500, packing=b"/FlateDecode", space=b"/DeviceRGB"
        )
    )
    answer, result = processes.made(noise, samples.jpeg(), FORM, max_bytes=1_400_000)
    assert answer["pages"] == 3
    assert "merged" in str(answer["steps"]) and "recompressed" in str(answer["steps"])
    assert len(result) <= 1_400_000
    assert_sound(result)


def test_pictures_in_every_packing_are_made_lighter_there(processes: Processes) -> None:
    noise = Image.effect_noise((900, 1200), 80)
    colours = Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))
    for image, kind, packing, space in (
        (colours.convert("CMYK"), "JPEG", b"/DCTDecode", b"/DeviceCMYK"),
        (colours, "JPEG2000", b"/JPXDecode", b"/DeviceRGB"),
    ):
        buffer = BytesIO()
        image.save(buffer, kind)
        xobject = picture(buffer.getvalue(), width=900, height=1200, packing=packing, space=space)
        document = page_with(xobject)
        answer, result = processes.made(document, max_bytes=len(document) * 9 // 10)
        assert "recompressed" in str(answer["steps"])
        assert len(result) <= len(document) * 9 // 10
        assert_sound(result)


def test_pages_are_drawn_there_as_a_last_resort(processes: Processes) -> None:
    lines = b"".join(b"%d %d m %d %d l S\n" % (n % 99, n % 97, n % 89, n % 83) for n in range(60_000))
    document = pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(lines))
    answer, result = processes.made(document, max_bytes=50_000)
    assert answer["steps"] == ["rasterised"]
    assert_sound(result)


def bomb(layers: int) -> bytes:
    """A gigabyte of zeros within 1 MB, or the same packed once more."""
    packer = zlib.compressobj(9)
    chunk = bytes(1 << 20)
    packed = b"".join([*(packer.compress(chunk) for _ in range(1000)), packer.flush()])
    for _ in range(layers - 1):
        packed = zlib.compress(packed, 9)
    return packed


ONCE, TWICE = bomb(1), bomb(2)
BOMBS = {
    "content": pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(ONCE, b"/Filter /FlateDecode")),
    "content, ten times": pdf(
        CATALOG,
        ONE_PAGE,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents [%b] >>" % (b"4 0 R " * 10),
        stream(ONCE, b"/Filter /FlateDecode"),
    ),
    "packed twice": pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(TWICE, b"/Filter [/FlateDecode /FlateDecode]")),
    "a form": page_with(stream(ONCE, b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Filter /FlateDecode")),
    "a colour profile": page_with(
        picture(
            zlib.compress(bytes(300)),
            packing=b"/FlateDecode",
            space=b"[/ICCBased 6 0 R]",
        ),
        stream(ONCE, b"/N 3 /Filter /FlateDecode"),
    ),
    "a mask": page_with(
        picture(zlib.compress(bytes(100)), packing=b"/FlateDecode", more=b"/SMask 6 0 R"),
        picture(ONCE, width=50_000, height=50_000, packing=b"/FlateDecode"),
    ),
    "a deep page tree": pdf(
        CATALOG, *(b"<< /Type /Pages /Kids [%d 0 R] >>" % (n + 3) for n in range(100_000)), PAGE % b""
    ),
    "a million kids": pdf(
        CATALOG, b"<< /Type /Pages /Kids [%b] /Count 1000000 >>" % (b"3 0 R " * 1_000_000), PAGE % b""
    ),
}


@pytest.mark.parametrize("document", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_found_before_it_goes_off(processes: Processes, document: bytes) -> None:
    answer, _ = processes.made(document)
    assert answer["found"] in ("too_complex", "corrupt", "damaged_page", "too_many_pixels")


def test_after_all_that_a_sound_document_still_passes(processes: Processes) -> None:
    answer, result = processes.made(samples.small_pdf(5))
    assert (answer["pages"], answer["steps"], result) == (1, [], b"")
