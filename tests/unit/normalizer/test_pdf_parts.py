"""Odd but sound documents written anew: a page looks as it did, in two readers, whatever else was changed."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from pypdf import PdfReader

from ingestd import samples, sniff
from ingestd.normalizer import documents, rendering
from ingestd.normalizer.pdf_assembling import Repacked
from ingestd.normalizer.pdf_parts import part_of, written
from ingestd.normalizer.pdf_placing import pictures_of
from tests.unit.normalizer.pdf_making import (
    MAX_PIXELS,
    assert_sound,
    bounds,
    drawn,
    packed_noise,
    pdf,
    picture,
    stream,
)

SIZE = b"/MediaBox [0 0 200 100]"
FONTS = b"/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
FONT = b"/Resources << %b >>" % FONTS
LINE = b"BT /F 24 Tf 20 40 Td (Total 42.50) Tj ET 1 0 0 rg 5 5 12 7 re f"
ON_LAYER = b"/OC /L BDC 0 0 1 rg 60 60 40 40 re f EMC " + LINE
LAYERED = SIZE + b"/Resources << /Properties << /L 5 0 R >> %b >>" % FONTS
LAYER = b"<< /Type /OCG /Name (remarks) %b >>"
LAYERS = b"/OCProperties << /OCGs [5 0 R] /D << %b >> >>"
STAMP = b"<< /Type /Annot /Subtype /Stamp /Rect [100 60 140 80] /F %d /AP << /N 6 0 R >> >>"
FIELD = (
    b"<< /Type /Annot /Subtype /Widget /FT /Btn /T (a) /V /On /AS /On /Rect [100 60 140 80] /F %d "
    b"/AP << /N << /On 6 0 R >> >> >>"
)
BLUE = stream(b"0 0 1 rg 0 0 40 20 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 40 20]")
FORM = b"/AcroForm << /Fields [5 0 R] >>"
NOTES = b"/Annots [5 0 R]"


def document(
    page: bytes, *more: bytes, catalog: bytes = b"", tree: bytes = b"", content: bytes = LINE
) -> bytes:
    """One page, and a script, so that the document is written anew. `more` are objects 5, 6 …"""
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS (1) >> %b >>" % catalog,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 %b >>" % tree,
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R %b >>" % page,
        stream(content),
        *more,
    )


ODD: Mapping[str, bytes] = {
    "turned by its tree": document(FONT, tree=SIZE + b"/Rotate 90"),
    "turned the other way": document(SIZE + FONT + b"/Rotate -90"),
    "with the fonts of its tree": document(SIZE, tree=FONT),
    "cropped": document(SIZE + FONT + b"/CropBox [15 20 180 90]"),
    "off its origin": document(FONT + b"/MediaBox [-50 -20 150 80]"),
    "in units of its own": document(SIZE + FONT + b"/UserUnit 2"),
    "with a layer off": document(LAYERED, LAYER % b"", catalog=LAYERS % b"/OFF [5 0 R]", content=ON_LAYER),
    "with all layers off": document(
        LAYERED, LAYER % b"", catalog=LAYERS % b"/BaseState /OFF", content=ON_LAYER
    ),
    "with one layer on": document(
        LAYERED, LAYER % b"", catalog=LAYERS % b"/BaseState /OFF /ON [5 0 R]", content=ON_LAYER
    ),
    "with what shows while a layer is off": document(
        LAYERED.replace(b"5 0 R", b"6 0 R"),
        LAYER % b"",
        b"<< /Type /OCMD /OCGs [5 0 R] /P /AllOff >>",
        catalog=LAYERS % b"/OFF [5 0 R]",
        content=ON_LAYER,
    ),
    "with a turned page's field": document(
        SIZE + FONT + b"/Rotate 90" + NOTES, FIELD % 4, BLUE, catalog=FORM
    ),
    **{
        f"with {name}, and a field": document(
            SIZE + FONT + NOTES, FIELD % 4, BLUE, catalog=FORM, content=content
        )
        for name, content in {
            "a state left saved": b"q 0.5 0 0 0.5 0 0 cm " + LINE,
            "a state restored too often": LINE + b" Q Q q Q Q",
            "what looks like operators in a string": b"BT /F 24 Tf 20 40 Td (q (q) \\) q <q) Tj ET",
            "what looks like operators in names": b"/q BMC /ID BMC /Q/q MP EMC EMC " + LINE,
            "what looks like operators in a comment": b"q %q q (\n" + LINE,
            "what looks like operators in a picture": (
                b"q 20 0 0 20 100 10 cm BI /W 2 /H 2 /BPC 8 /CS /G ID \x00 q EI Q " + LINE
            ),
            "a clip": b"0 0 50 50 re W n " + LINE,
            "a text left open": b"BT /F 24 Tf 20 40 Td (Total) Tj",
        }.items()
    },
    **{
        f"with a stamp whose flags are {flags}": document(SIZE + FONT + NOTES, STAMP % flags, BLUE)
        for flags in (0, 2, 4, 32, 36)
    },
    **{
        f"with a field whose flags are {flags}": document(
            SIZE + FONT + NOTES, FIELD % flags, BLUE, catalog=FORM
        )
        for flags in (0, 2, 4, 32, 36)
    },
}


def alone(given: bytes) -> bytes | None:
    return documents.prepare_pdf(given, bounds()).data


def merged(given: bytes) -> bytes | None:
    return documents.merge([(sniff.PDF, given), (sniff.PDF, samples.small_pdf(1))], bounds()).data


def packed_well(given: bytes) -> bytes | None:
    return written([part_of(given, bounds())], dense=Repacked())


def seen(given: bytes) -> Image.Image:
    return rendering.render_page(given, 0, long_side=400, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("way", [alone, merged, packed_well])
@pytest.mark.parametrize("given", ODD.values(), ids=ODD.keys())
def test_a_page_looks_as_it_did(given: bytes, way: Callable[[bytes], bytes | None]) -> None:
    result = way(given)
    assert result is not None
    assert_sound(result)
    assert ImageChops.difference(seen(given), seen(result)).getbbox() is None
    assert ImageChops.difference(drawn(given), drawn(result)).getbbox() is None


def test_a_layer_that_is_for_print_alone_is_printed_after_a_merge() -> None:
    usage = b"/Usage << /Print << /PrintState /ON >> /View << /ViewState /OFF >> >>"
    switched = b"/OFF [5 0 R] /AS [<< /Event /Print /Category [/Print] /OCGs [5 0 R] >>]"
    result = merged(document(LAYERED, LAYER % usage, catalog=LAYERS % switched, content=ON_LAYER))
    assert result is not None
    assert b"/Event /Print" in result
    assert b"/PrintState /ON" in result


@pytest.mark.parametrize(("unit", "dpi"), [(b"", 144), (b"/UserUnit 2", 72)])
def test_a_picture_is_as_large_on_paper_as_the_page_s_units_say(
    tmp_path: Path, unit: bytes, dpi: float
) -> None:
    noise = picture(
        packed_noise(200, 200), width=200, height=200, packing=b"/FlateDecode", space=b"/DeviceRGB"
    )
    page = SIZE + b"/Resources << /XObject << /Im 5 0 R >> >>" + unit
    path = tmp_path / "units.pdf"
    path.write_bytes(document(page, noise, content=b"100 0 0 100 0 0 cm /Im Do"))
    (found,) = pictures_of(list(PdfReader(path).pages))
    assert found.dpi == pytest.approx(dpi)
