"""The table: every format and every way to get it wrong, and what must become of it.

A Ready case says what the pages must look like; a Refused case which words its reason must have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from ingestd import samples, sniff
from ingestd.interfaces import Limits
from ingestd.normalizer.exchange import Caution, Step
from tests.traps import archives, pdfs, pictures
from tests.traps.workbench import LIMITS

Make = Callable[[], bytes]
PICTURE = frozenset({sniff.JPEG, sniff.PNG})
UNTOLD = None
"""For the looks of a page: not compared."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """`looks`: a picture of each page, upright; `tolerance` in levels of 0 to 255 (readers.difference)."""

    types: frozenset[str]
    as_is: bool = False
    steps: frozenset[Step] = frozenset()
    warnings: frozenset[Caution] = frozenset()
    looks: Sequence[Callable[[], Image.Image] | None]
    tolerance: float = 4.0
    gone: Sequence[bytes] = ()
    """Bytes that no part of the result may hold, packed or not."""
    text: str = ""
    """What can be marked and copied from the PDF."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    words: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    documents: Sequence[Make]
    expected: Ready | Refused
    limits: Limits = LIMITS
    passwords: Sequence[str] = ()


def colours(seed: int = 1) -> Image.Image:
    return pictures.upright(seed=seed)


def grey(seed: int = 1) -> Image.Image:
    return pictures.upright(seed=seed).convert("L")


def black_and_white(seed: int = 1) -> Image.Image:
    return pictures.scan(seed)


def on_white() -> Image.Image:
    """What the ink on glass is when laid on white paper."""
    page = Image.new("RGB", pictures.SIZE, "white")
    page.paste(pictures.upright(), mask=pictures.upright().convert("L").point([255] * 200 + [0] * 56))
    return page


def _untouched(name: str, make: Make, mime_type: str, *looks: Callable[[], Image.Image] | None) -> Case:
    ready = Ready(types=frozenset({mime_type}), as_is=True, looks=looks or (colours,))
    return Case(name=name, documents=(make,), expected=ready)


def _changed(
    name: str,
    make: Make,
    steps: set[Step],
    *looks: Callable[[], Image.Image] | None,
    types: frozenset[str] = PICTURE,
    warnings: frozenset[Caution] = frozenset(),
    tolerance: float = 4.0,
    gone: Sequence[bytes] = (),
) -> Case:
    ready = Ready(
        types=types,
        steps=frozenset(steps),
        looks=looks or (colours,),
        warnings=warnings,
        tolerance=tolerance,
        gone=gone,
    )
    return Case(name=name, documents=(make,), expected=ready)


def _refused(name: str, make: Make, *words: str) -> Case:
    return Case(name=name, documents=(make,), expected=Refused(words=words))


def _pages(seeds: int, look: Callable[[int], Image.Image] = colours) -> list[Callable[[], Image.Image]]:
    return [partial(look, seed) for seed in range(1, seeds + 1)]


JPEG = frozenset({sniff.JPEG})
PNG = frozenset({sniff.PNG})
PDF = frozenset({sniff.PDF})
MARKS = pictures.PERSONAL_MARKS
ONE_OF_MANY = frozenset({Caution.SECOND_PICTURE_LEFT_OUT})

_JPEGS = [
    _untouched("jpeg baseline", pictures.jpeg, sniff.JPEG),
    _untouched("jpeg progressive", partial(pictures.jpeg, progressive=True), sniff.JPEG),
    _untouched("jpeg grey", partial(pictures.jpeg, "L"), sniff.JPEG, grey),
    _untouched("jpeg orientation 1", partial(pictures.turned_jpeg, 1, personal=False), sniff.JPEG),
    _changed("jpeg cmyk", partial(pictures.jpeg, "CMYK"), {Step.COLOURS}, types=JPEG, tolerance=6),
    _changed("jpeg ycck", pictures.ycck_jpeg, {Step.COLOURS}, types=JPEG, tolerance=6),
    _refused("jpeg 12 bit", pictures.twelve_bit_jpeg, "jpeg", "rare kind"),
    _changed("jpeg personal", pictures.personal_jpeg, {Step.LOCATION}, types=JPEG, gone=MARKS, tolerance=1.5),
    *(
        _changed(
            f"jpeg orientation {value}", partial(pictures.turned_jpeg, value), steps, types=JPEG, gone=MARKS
        )
        for value, steps in (
            (2, {Step.MIRRORED, Step.LOCATION}),
            (3, {Step.TURNED, Step.LOCATION}),
            (4, {Step.MIRRORED, Step.LOCATION}),
            (5, {Step.MIRRORED, Step.LOCATION}),
            (6, {Step.TURNED, Step.LOCATION}),
            (7, {Step.MIRRORED, Step.LOCATION}),
            (8, {Step.TURNED, Step.LOCATION}),
        )
    ),
    _changed("mpo turned", partial(pictures.mpo, 6), {Step.TURNED}, types=JPEG),
    _refused("jpeg cut off", lambda: samples.truncated(pictures.jpeg()), "incomplete"),
]

_PNGS = [
    _untouched("png", pictures.png, sniff.PNG),
    _untouched("png grey", partial(pictures.png, "L"), sniff.PNG, grey),
    _untouched("png palette", partial(pictures.png, "P"), sniff.PNG),
    _untouched("png bilevel", partial(pictures.png, "1"), sniff.PNG, black_and_white),
    _untouched("png interlaced", pictures.interlaced_png, sniff.PNG),
    _changed("png alpha", partial(pictures.png, "RGBA"), {Step.ON_WHITE}, on_white),
    _changed("png grey alpha", partial(pictures.png, "LA"), {Step.ON_WHITE}, lambda: on_white().convert("L")),
    _changed("png tRNS", pictures.transparent_palette_png, {Step.ON_WHITE}, on_white, types=PNG),
    _changed("png 16 bit", partial(pictures.png, "I;16"), {Step.COLOURS}, grey),
    _changed("png 16 bit rgb", pictures.sixteen_bit_rgb_png, {Step.COLOURS}),
    _changed("png personal", pictures.personal_png, {Step.LOCATION}, types=PNG, gone=MARKS, tolerance=0.1),
    _changed(
        "png turned", partial(pictures.personal_png, 6), {Step.TURNED, Step.LOCATION}, types=PNG, gone=MARKS
    ),
    _changed("apng", pictures.animated_png, {Step.STILL}, warnings=ONE_OF_MANY),
    _refused("png cut off", lambda: samples.truncated(pictures.png()), "incomplete"),
]

_PHOTOS = [
    _changed("heic", pictures.heic, {Step.CONVERTED}, gone=MARKS),
    _changed("heic lying", partial(pictures.heic, 6), {Step.CONVERTED}, gone=MARKS),
    _changed("heic upside down", partial(pictures.heic, 3), {Step.CONVERTED}, gone=MARKS),
    _changed("heic mirrored", partial(pictures.heic, 5), {Step.CONVERTED}, gone=MARKS),
    _changed("heic lying, unknown to exif", partial(pictures.heic, 8, in_exif=False), {Step.CONVERTED}),
    _changed(
        "heic of two",
        pictures.heic_of_two,
        {Step.CONVERTED},
        warnings=ONE_OF_MANY,
    ),
    _changed("avif", pictures.avif, {Step.CONVERTED}, gone=MARKS),
    _changed("webp", pictures.webp, {Step.CONVERTED}),
    _changed("webp lossless", partial(pictures.webp, lossless=True), {Step.CONVERTED}),
    _changed("webp alpha", partial(pictures.webp, "RGBA"), {Step.CONVERTED, Step.ON_WHITE}, on_white),
    _changed("webp turned", partial(pictures.webp, orientation=6), {Step.CONVERTED}, gone=MARKS),
    _changed("webp animated", pictures.animated_webp, {Step.CONVERTED, Step.STILL}, warnings=ONE_OF_MANY),
    _changed("gif", pictures.gif, {Step.CONVERTED}),
    _changed("gif animated", partial(pictures.gif, 3), {Step.CONVERTED, Step.STILL}, warnings=ONE_OF_MANY),
    _changed("bmp", pictures.bmp, {Step.CONVERTED}),
    _changed("bmp bilevel", partial(pictures.bmp, "1"), {Step.CONVERTED}, black_and_white, types=PNG),
    _changed("jpeg 2000", pictures.jpeg2000, {Step.CONVERTED}),
    _changed("jpeg 2000 codestream", partial(pictures.jpeg2000, codestream=True), {Step.CONVERTED}),
    _refused("heic cut off", lambda: samples.truncated(pictures.heic()), "heic photo is damaged"),
    _refused("webp cut off", lambda: samples.truncated(pictures.webp()), "webp picture is damaged"),
]

_ONE_PAGE = PICTURE | PDF
_TIFFS = [
    *(
        _changed(
            f"tiff {compression}", partial(pictures.tiff, compression), {Step.CONVERTED}, types=_ONE_PAGE
        )
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    ),
    *(
        _changed(
            f"tiff {fax}",
            partial(pictures.tiff, fax, mode="1"),
            {Step.CONVERTED},
            black_and_white,
            types=_ONE_PAGE,
        )
        for fax in ("group3", "group4")
    ),
    _changed("tiff inverted", pictures.inverted_tiff, {Step.CONVERTED}, black_and_white, types=_ONE_PAGE),
    _changed("tiff 16 bit", partial(pictures.tiff, mode="I;16"), {Step.CONVERTED}, grey, types=_ONE_PAGE),
    _changed(
        "tiff cmyk", partial(pictures.tiff, mode="CMYK"), {Step.CONVERTED}, types=_ONE_PAGE, tolerance=6
    ),
    _changed(
        "tiff palette", partial(pictures.tiff, mode="P"), {Step.CONVERTED}, types=_ONE_PAGE, tolerance=12
    ),
    _changed("tiff alpha", partial(pictures.tiff, mode="RGBA"), {Step.CONVERTED}, types=_ONE_PAGE),
    _changed("tiff turned", pictures.turned_tiff, {Step.CONVERTED}, types=_ONE_PAGE),
    _changed("tiff personal", pictures.personal_tiff, {Step.CONVERTED}, types=_ONE_PAGE, gone=MARKS),
    _changed("tiff of 3 pages", partial(pictures.tiff, pages=3), {Step.FRAMES}, *_pages(3), types=PDF),
    _changed(
        "fax of 4 pages",
        partial(pictures.tiff, "group4", mode="1", pages=4),
        {Step.FRAMES},
        *_pages(4, black_and_white),
        types=PDF,
    ),
    _changed(
        "tiff of many kinds",
        pictures.tiff_of_many_kinds,
        {Step.FRAMES},
        partial(black_and_white, 1),
        partial(colours, 2),
        partial(grey, 3),
        types=PDF,
    ),
    _refused("tiff cut off", lambda: samples.truncated(pictures.tiff("raw")), "tiff is incomplete"),
]

_PDFS = [
    _untouched("pdf", pdfs.pages, sniff.PDF),
    _untouched("pdf of 3 pages", partial(pdfs.pages, 3), sniff.PDF, *_pages(3)),
    _untouched("pdf fax", partial(pdfs.fax, 2), sniff.PDF, *_pages(2, black_and_white)),
    _untouched("pdf with object streams", pdfs.with_object_streams, sniff.PDF, UNTOLD),
    _untouched("pdf rotated pages", pdfs.rotated, sniff.PDF, *_pages(4)),
    _untouched("pdf updated", pdfs.updated, sniff.PDF),
    *(
        _changed(
            f"pdf for its owner, {how}",
            partial(pdfs.owner_locked, how),
            {Step.DECRYPTED},
            *_pages(2),
            types=PDF,
        )
        for how in pdfs.ALGORITHMS
    ),
    *(
        _refused(
            f"pdf with a password, {how}",
            partial(pdfs.user_locked, how),
            "protected by a password",
            "remove the password",
        )
        for how in pdfs.ALGORITHMS
    ),
    *(
        replace(
            _changed(
                f"pdf with a known password, {how}",
                partial(pdfs.user_locked, how),
                {Step.OPENED},
                *_pages(2),
                types=PDF,
            ),
            passwords=("wrong", pdfs.PASSWORD, "later"),
        )
        for how in pdfs.ALGORITHMS
    ),
    replace(
        _changed(
            "pdf with a known unicode password",
            partial(pdfs.user_locked, password=pdfs.UNICODE_PASSWORD),
            {Step.OPENED},
            *_pages(2),
            types=PDF,
        ),
        passwords=("wrong", pdfs.UNICODE_PASSWORD),
    ),
    replace(
        _refused(
            "pdf with none of the known passwords",
            pdfs.user_locked,
            "none of the 2 known passwords",
            "remove the password",
        ),
        passwords=("wrong", "also wrong"),
    ),
    Case(
        name="pdf form",
        documents=(pdfs.form,),
        expected=Ready(
            types=PDF,
            steps=frozenset({Step.FORM_FLATTENED}),
            looks=(UNTOLD,),
            text=pdfs.FORM_VALUE,
            gone=(b"/AcroForm",),
        ),
    ),
    Case(
        name="pdf static xfa form",
        documents=(pdfs.static_xfa,),
        expected=Ready(
            types=PDF,
            steps=frozenset({Step.FORM_FLATTENED}),
            looks=(UNTOLD,),
            text=pdfs.FORM_VALUE,
            gone=(b"/XFA",),
        ),
    ),
    _refused("pdf dynamic xfa form", pdfs.dynamic_xfa, "form"),
    _changed(
        "pdf portfolio",
        pdfs.portfolio_of_pages,
        {Step.PORTFOLIO_OPENED},
        *_pages(3),
        types=PDF,
        gone=(b"/Collection",),
    ),
    _refused("pdf portfolio with office file", pdfs.portfolio_with_office_file, "expenses.docx"),
    _changed(
        "pdf active",
        pdfs.active,
        {Step.ACTIVE_REMOVED},
        *_pages(2),
        types=PDF,
        gone=(b"MALICE", b"/JavaScript", b"/Launch", b"/EmbeddedFile"),
    ),
    _changed("pdf wrong startxref", pdfs.wrong_startxref, {Step.REPAIRED}, *_pages(2), types=PDF),
    _changed("pdf no xref", pdfs.no_xref, {Step.REPAIRED}, *_pages(2), types=PDF),
    Case(name="pdf shifted xref", documents=(pdfs.shifted_xref,), expected=Ready(types=PDF, looks=_pages(2))),
    _refused("pdf missing page", pdfs.missing_page, "pages"),
    _refused("pdf without pages", samples.pageless_pdf, "no pages"),
    _refused("pdf blank", pdfs.blank, "blank"),
    replace(
        _untouched("pdf with a blank back side", pdfs.with_blank_page, sniff.PDF, colours, UNTOLD),
        expected=Ready(
            types=PDF, as_is=True, looks=(colours, UNTOLD), warnings=frozenset({Caution.BLANK_PAGE})
        ),
    ),
    replace(
        _refused("pdf with a page too many", partial(pdfs.pages, 3), "3 pages", "at most 2"),
        limits=replace(LIMITS, max_pages=2),
    ),
    replace(
        _refused("tiff with a page too many", partial(pictures.tiff, pages=3), "3 pages", "at most 2"),
        limits=replace(LIMITS, max_pages=2),
    ),
    _refused("pdf cut off", lambda: samples.truncated(pdfs.pages(2)), "incomplete"),
]

_LARGE = [
    Case(
        name="png of 12 MB", documents=(samples.grainy_scan,), expected=Ready(types=PICTURE, looks=(UNTOLD,))
    ),
    _changed("pdf of 13 MB", pdfs.heavy_scan, {Step.RECOMPRESSED}, *_pages(5, pdfs.grainy), types=PDF),
    _changed(
        "tiff of 12 MB",
        lambda: pictures.encoded(pdfs.grainy(1), "TIFF", dpi=(200, 200)),
        {Step.CONVERTED},
        partial(pdfs.grainy, 1),
        types=_ONE_PAGE,
    ),
    replace(
        _refused("what can't fit", samples.grainy_scan, "12.2 mb", "still be read has"),
        limits=replace(LIMITS, max_bytes=50_000),
    ),
    replace(
        _changed("png to a pdf-only target", pictures.png, {Step.CONVERTED}, types=PDF),
        limits=replace(LIMITS, types=frozenset({sniff.PDF})),
    ),
]

_LOOKS = [
    _refused("blank photo", pictures.blank, "blank"),
    _refused("blank png", partial(pictures.blank, "PNG"), "blank"),
    _refused("icon", pictures.tiny, "24 x 36"),
    replace(
        _untouched("blurred photo", pictures.blurred, sniff.JPEG, UNTOLD),
        expected=Ready(types=JPEG, as_is=True, looks=(UNTOLD,), warnings=frozenset({Caution.BLURRED})),
    ),
]

_OTHERS = [
    _refused("text", samples.text, "plain text"),
    _refused("html", samples.html, "web page"),
    _refused("word", samples.docx, "word"),
    _refused("nothing", lambda: b"", "empty"),
    _refused("zeros", lambda: bytes(5000), "zeros"),
    _refused("zip with a password", archives.with_password, "password"),
    _refused("broken zip", archives.broken, "damaged"),
    _refused("empty zip", archives.empty, "empty"),
    _refused("zip too deep", partial(archives.nested, 5), "archives within archives"),
]

_MERGED = [
    Case(
        name="photo, pdf and fax for one slot",
        documents=(
            partial(pictures.turned_jpeg, 6),
            partial(pdfs.pages, 2),
            partial(pictures.tiff, "group4", mode="1", pages=2),
        ),
        expected=Ready(
            types=PDF,
            steps=frozenset({Step.MERGED}),
            gone=MARKS,
            looks=[colours, *_pages(2), *_pages(2, black_and_white)],
        ),
    ),
    Case(
        name="heic, png with alpha and a pdf with a known password for one slot",
        documents=(partial(pictures.heic, 6), partial(pictures.png, "RGBA"), pdfs.user_locked),
        passwords=(pdfs.PASSWORD,),
        expected=Ready(
            types=PDF, steps=frozenset({Step.MERGED}), gone=MARKS, looks=[colours, on_white, *_pages(2)]
        ),
    ),
    Case(
        name="one broken of two for one slot",
        documents=(pictures.jpeg, lambda: samples.truncated(pictures.png())),
        expected=Refused(words=("document1", "incomplete")),
    ),
    Case(
        name="five large scans for one slot",
        documents=tuple(
            partial(lambda n: pictures.encoded(pdfs.grainy(n), "JPEG", quality=98), n) for n in range(1, 6)
        ),
        expected=Ready(types=PDF, steps=frozenset({Step.MERGED}), looks=_pages(5, pdfs.grainy)),
    ),
    replace(
        _refused("more merged pages than the limit", lambda: pdfs.pages(2), "pages", "at most 3"),
        documents=(lambda: pdfs.pages(2), lambda: pdfs.pages(2)),
        limits=replace(LIMITS, max_pages=3),
    ),
]

LIGHT = (*_JPEGS, *_PNGS, *_PHOTOS, *_TIFFS, *_PDFS, *_LOOKS, *_OTHERS)
"""Those that are made in no time."""
TABLE = (*LIGHT, *_LARGE, *_MERGED)
