"""PDF documents prepared: what stays byte for byte, what is taken out, and several made one."""

import zlib
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageFilter, ImageStat

from ingestd import samples, sniff
from ingestd.normalizer import documents
from ingestd.normalizer.exchange import Caution, Finding, Found, Level, Problem, Step
from ingestd.normalizer.look import look_at
from ingestd.normalizer.sheets import Draft
from tests.unit.normalizer.pdf_making import (
    CATALOG,
    ONE_PAGE,
    PAGE,
    assert_sound,
    bounds,
    drawn,
    packed_noise,
    page_with,
    pdf,
    picture,
    prepared,
    stream,
    text_of,
)

LEVELS: tuple[Level, ...] = ("light", "full")
BOTH = pytest.mark.parametrize("level", LEVELS)


def steps_of(draft: Draft) -> list[str]:
    return [str(step.what) for step in draft.steps]


# --- as it came ---------------------------------------------------------------------------------------------


@BOTH
def test_a_sound_document_passes_byte_for_byte(level: Level) -> None:
    draft = documents.prepare_pdf(samples.pdf(1, pages=5), bounds(level))
    assert (draft.data, draft.pages, draft.steps, draft.cautions) == (None, 5, [], [])
    assert len(draft.views) == (3 if level == "full" else 0)


def test_views_show_enough_to_judge() -> None:
    (view,) = documents.prepare_pdf(samples.pdf(1), bounds()).views
    assert view.mode == "RGB"
    assert min(view.size) == 750
    assert look_at([view]).cautions == []


def test_a_scan_that_nobody_can_read_is_told_from_its_view() -> None:
    for sigma, expected in ((0.8, []), (6.0, [Caution.BLURRED])):
        buffer = BytesIO()
        samples.picture(1).filter(ImageFilter.GaussianBlur(sigma)).save(buffer, "PDF", resolution=90)
        views = documents.prepare_pdf(buffer.getvalue(), bounds()).views
        assert [caution.what for caution in look_at(views).cautions] == expected


def test_one_line_of_small_print_is_seen_on_a_page_of_a4() -> None:
    line = stream(b"BT 0.4 g /F1 6 Tf 100 500 Td (Paid 7.10 EUR) Tj ET")
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 "
    page += b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
    draft = documents.prepare_pdf(pdf(CATALOG, ONE_PAGE, page, line), bounds())
    assert not look_at(draft.views).blank


def test_too_many_pages_are_refused_with_the_numbers() -> None:
    with pytest.raises(Found) as found:
        documents.prepare_pdf(samples.pdf(1, pages=3), bounds(max_pages=2))
    assert found.value.finding == Finding(problem=Problem.TOO_MANY_PAGES, numbers={"pages": 3, "limit": 2})


# --- active content -----------------------------------------------------------------------------------------


def with_catalog(entries: bytes, *more: bytes, page: bytes = b"") -> bytes:
    """`more` are objects 5, 6 …"""
    content = stream(b"0 g 0 0 50 50 re f")
    return pdf(b"<< /Type /Catalog /Pages 2 0 R %b >>" % entries, ONE_PAGE, PAGE % page, content, *more)


SCRIPT = b"<< /S /JavaScript /JS (app.alert\\(1\\)) >>"
FILE = b"<< /Type /Filespec /F (evil.exe) /EF << /F 6 0 R >> >>"
EMBEDDED = stream(b"MZ evil", b"/Type /EmbeddedFile")
ACTIVE = {
    "a script at opening": with_catalog(b"/OpenAction " + SCRIPT),
    "scripts by name": with_catalog(b"/Names << /JavaScript << /Names [(a) %b] >> >>" % SCRIPT),
    "a script at closing": with_catalog(b"/AA << /WC %b >>" % SCRIPT),
    "a script on a page": with_catalog(b"", page=b"/AA << /O %b >>" % SCRIPT),
    "a program started by a link": with_catalog(
        b"", page=b"/Annots [<< /Subtype /Link /Rect [0 0 9 9] /A << /S /Launch /F (evil.exe) >> >>]"
    ),
    "another document opened": with_catalog(b"/OpenAction << /S /GoToR /F (other.pdf) /D [0 /Fit] >>"),
    "a script behind a harmless action": with_catalog(
        b"/OpenAction << /S /GoTo /D [3 0 R /Fit] /Next [%b] >>" % SCRIPT
    ),
    "a script in the outline": with_catalog(
        b"/Outlines 5 0 R",
        b"<< /First 6 0 R /Last 6 0 R >>",
        b"<< /Title (a) /Parent 5 0 R /A %b >>" % SCRIPT,
    ),
    "an embedded file": with_catalog(b"/Names << /EmbeddedFiles << /Names [(a) 5 0 R] >> >>", FILE, EMBEDDED),
    "an invoice in XML": with_catalog(
        b"/AF [5 0 R] /Names << /EmbeddedFiles << /Names [(a) 5 0 R] >> >>",
        FILE.replace(b"evil.exe", b"factur-x.xml"),
        stream(b"<?xml version='1.0'?><a/>", b"/Type /EmbeddedFile"),
    ),
    "a file pinned to a page": with_catalog(
        b"",
        FILE,
        EMBEDDED,
        page=b"/Annots [<< /Subtype /FileAttachment /Rect [0 0 9 9] /FS 5 0 R >>]",
    ),
    "a film": with_catalog(b"", page=b"/Annots [<< /Subtype /RichMedia /Rect [0 0 9 9] >>]"),
}


def test_a_name_that_no_name_can_be_does_not_reach_the_new_document() -> None:
    damaged = with_catalog(b"/Pa\0ge /Pa\0ge /OpenAction " + SCRIPT)
    _, result = prepared(damaged)
    assert_sound(result)  # qpdf warns of the null character
    assert b"#00" not in result


@BOTH
@pytest.mark.parametrize("document", ACTIVE.values(), ids=ACTIVE.keys())
def test_active_content_is_taken_out_and_the_page_stays(document: bytes, level: Level) -> None:
    draft, result = prepared(document, bounds(level))
    assert steps_of(draft) == ["active_removed"]
    for trace in (b"JavaScript", b"/Launch", b"/GoToR", b"EmbeddedFile", b"evil", b"RichMedia", b"<?xml"):
        assert trace not in result
    shown = (30, 0, 99, 70)  # without the pin of a file
    assert drawn(result).crop(shown).tobytes() == drawn(document).crop(shown).tobytes()


HARMLESS = {
    "the page to open at": with_catalog(b"/OpenAction [3 0 R /Fit]"),
    "an action to open at a page": with_catalog(b"/OpenAction << /S /GoTo /D [3 0 R /Fit] >>"),
    "a link": with_catalog(
        b"", page=b"/Annots [<< /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://a.example) >> >>]"
    ),
    "a note": with_catalog(b"", page=b"/Annots [<< /Subtype /Text /Rect [0 0 9 9] /Contents (paid) >>]"),
}


@pytest.mark.parametrize("document", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_only_leads_somewhere_is_no_reason_for_a_change(document: bytes) -> None:
    assert documents.prepare_pdf(document, bounds()).data is None


# --- portfolios ---------------------------------------------------------------------------------------------


def portfolio(*members: tuple[bytes, bytes]) -> bytes:
    """Files with their names, behind a cover page."""
    objects, names = [], b""
    for index, (name, data) in enumerate(members):
        number = 5 + 2 * index
        names += b"(%d) %d 0 R " % (index, number)
        objects.append(
            b"<< /Type /Filespec /F (%b) /UF (%b) /EF << /F %d 0 R >> >>" % (name, name, number + 1)
        )
        objects.append(stream(zlib.compress(data), b"/Type /EmbeddedFile /Filter /FlateDecode"))
    catalog = b"/Collection << /View /D >> /Names << /EmbeddedFiles << /Names [%b] >> >>" % names
    return with_catalog(catalog, *objects)


def test_the_members_of_a_portfolio_become_its_pages_in_natural_order() -> None:
    document = portfolio(
        (b"bill_10.pdf", samples.small_pdf(10)),
        (b"bill_2.pdf", samples.small_pdf(2)),
        (b"photo.jpg", samples.jpeg()),
    )
    draft, result = prepared(document)
    assert draft.pages == 3
    assert draft.steps[0].what is Step.PORTFOLIO_OPENED
    assert draft.steps[0].numbers == {"members": 3}
    assert text_of(result).replace("\f", "").split() == ["Receipt", "2", "Receipt", "10"]
    assert samples.jpeg() in result
    assert b"/Collection" not in result


def test_a_portfolio_with_something_else_is_refused_by_name() -> None:
    document = portfolio((b"bill.pdf", samples.small_pdf(1)), (b"list.docx", samples.docx()))
    with pytest.raises(Found) as found:
        documents.prepare_pdf(document, bounds("light"))
    assert found.value.finding == Finding(problem=Problem.PORTFOLIO, names=("list.docx",))


def test_a_portfolio_in_a_portfolio_is_opened_but_not_for_ever() -> None:
    nested = portfolio((b"bill.pdf", samples.small_pdf(7)))
    draft, result = prepared(portfolio((b"inner.pdf", nested)))
    assert draft.pages == 1
    assert text_of(result).strip() == "Receipt 7"
    for _ in range(4):
        nested = portfolio((b"inner.pdf", nested))
    with pytest.raises(Found) as found:
        documents.prepare_pdf(nested, bounds())
    assert found.value.finding.problem is Problem.NESTED_TOO_DEEP


def test_a_portfolio_has_an_end() -> None:
    members = [(b"%d.pdf" % number, samples.small_pdf(1)) for number in range(101)]
    with pytest.raises(Found) as found:
        documents.prepare_pdf(portfolio(*members), bounds())
    assert found.value.finding == Finding(problem=Problem.TOO_MANY_MEMBERS, numbers={"limit": 100})


# --- merged -------------------------------------------------------------------------------------------------


def test_documents_are_merged_in_order_and_keep_their_quality() -> None:
    given = [
        (sniff.PDF, samples.pdf(1, pages=2)),
        (sniff.JPEG, samples.jpeg()),
        (sniff.PDF, samples.encrypted_pdf(password="secret")),
    ]
    draft = documents.merge(given, bounds(passwords=("secret",)))
    assert draft.data is not None
    assert_sound(draft.data)
    assert draft.pages == 4
    assert samples.jpeg() in draft.data
    assert text_of(draft.data).replace("\f", "").strip() == "Receipt 0"
    for page in (1, 2):
        assert drawn(draft.data, page=page).tobytes() == drawn(given[0][1], page=page).tobytes()
    assert [(str(step.what), step.document) for step in draft.steps] == [("merged", None), ("opened", 2)]


def test_the_same_documents_give_the_same_bytes() -> None:
    given = [(sniff.PDF, samples.pdf(1, pages=2)), (sniff.PNG, samples.png())]
    assert documents.merge(given, bounds()).data == documents.merge(given, bounds()).data


def test_a_problem_names_the_document_it_is_about() -> None:
    given = [(sniff.JPEG, samples.jpeg()), (sniff.PDF, samples.pageless_pdf())]
    with pytest.raises(Found) as found:
        documents.merge(given, bounds())
    assert found.value.finding == Finding(problem=Problem.NO_PAGES, document=1)


def test_the_page_limit_counts_for_all_documents_together() -> None:
    given = [(sniff.PDF, samples.pdf(1, pages=2)), (sniff.JPEG, samples.jpeg())]
    with pytest.raises(Found) as found:
        documents.merge(given, bounds(max_pages=2))
    assert found.value.finding.numbers == {"pages": 3, "limit": 2}


# --- made to fit --------------------------------------------------------------------------------------------


def scan(width: int, height: int, *, quality: int = 95) -> bytes:
    """One A4 page, a noisy photo of text all over it."""
    with Image.open(BytesIO(samples.jpeg())) as image:
        paper = image.convert("RGB").resize((width, height))
    noise = Image.merge("RGB", [Image.effect_noise((width, height), 40) for _ in range(3)])
    buffer = BytesIO()
    ImageChops.add(paper, noise, 1, -128).save(buffer, "JPEG", quality=quality)
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        ONE_PAGE,
        (PAGE % b"/Resources << /XObject << /Im 5 0 R >> >>").replace(b"99 99", b"595 842"),
        stream(b"595 0 0 842 0 0 cm /Im Do"),
        picture(buffer.getvalue(), width=width, height=height, packing=b"/DCTDecode", space=b"/DeviceRGB"),
    )


def test_packing_without_loss_comes_first() -> None:
    text = stream(b"BT ET % a comment that packs well\n" * 3000)
    document = pdf(b"<< /Type /Catalog /Pages 2 0 R >>", ONE_PAGE, PAGE % b"", text)
    draft, result = prepared(document, bounds(max_bytes=20_000))
    assert steps_of(draft) == ["repacked"]
    assert draft.steps[0].numbers == {"size": len(result), "limit": 20_000}
    assert len(result) <= 20_000


def test_a_scan_that_is_too_large_is_compressed_until_it_fits() -> None:
    document = scan(1654, 2339)
    limit = len(document) * 6 // 10
    draft, result = prepared(document, bounds(max_bytes=limit))
    assert len(result) <= limit
    assert steps_of(draft) == ["recompressed"]
    before, after = drawn(document).reduce(6), drawn(result).reduce(6)
    assert not any(ImageChops.difference(before, after).histogram()[16:])


def test_what_can_not_be_made_small_enough_is_refused_with_the_numbers() -> None:
    document = scan(1654, 2339)
    with pytest.raises(Found) as found:
        documents.prepare_pdf(document, bounds(max_bytes=20_000))
    numbers = found.value.finding.numbers
    assert found.value.finding.problem is Problem.TOO_LARGE
    assert numbers["size"] == len(document)
    assert 20_000 < numbers["smallest"] < numbers["size"]


def test_a_picture_with_a_soft_mask_keeps_it() -> None:
    mask = picture(zlib.compress(bytes([0] * 50 + [255] * 50)), packing=b"/FlateDecode")
    noise = picture(
        packed_noise(600, 600),
        width=600,
        height=600,
        packing=b"/FlateDecode",
        space=b"/DeviceRGB",
        more=b"/SMask 6 0 R",
    )
    document = page_with(noise, mask)
    draft, result = prepared(document, bounds(max_bytes=len(document) * 7 // 10))
    assert "rasterised" not in steps_of(draft)
    upper = drawn(result).crop((5, 5, 94, 40))
    assert upper.getextrema() == (255, 255)


# --- a target without PDF -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("mime_type", [sniff.JPEG, sniff.PNG])
def test_one_page_becomes_a_picture_for_a_target_that_takes_no_pdf(mime_type: str, level: Level) -> None:
    target = replace(bounds(level), types=frozenset({mime_type}))
    draft = documents.prepare_pdf(samples.small_pdf(1), target)
    assert draft.data is not None
    assert (draft.mime_type, draft.pages) == (mime_type, 1)
    assert sniff.sniff(draft.data) == mime_type
    assert steps_of(draft) == ["converted", "rasterised"]
    with Image.open(BytesIO(draft.data)) as image:
        shown = image.convert("L")
    page = drawn(samples.small_pdf(1), dpi=300)
    assert shown.size == page.size
    assert ImageStat.Stat(ImageChops.difference(shown, page)).mean[0] < 5
    assert len(draft.views) == (1 if level == "full" else 0)


def test_such_a_picture_fits_the_limit() -> None:
    pixels = packed_noise(400, 400)
    noise = picture(pixels, width=400, height=400, packing=b"/FlateDecode", space=b"/DeviceRGB")
    target = replace(bounds(), types=frozenset({sniff.JPEG}))
    whole = documents.prepare_pdf(page_with(noise), target).data
    assert whole is not None
    limit = len(whole) * 7 // 10
    draft = documents.prepare_pdf(page_with(noise), replace(target, max_bytes=limit))
    assert draft.data is not None and len(draft.data) <= limit


def test_several_pages_are_refused_by_a_target_that_takes_no_pdf() -> None:
    target = replace(bounds(), types=frozenset({sniff.JPEG}))
    expected = Finding(problem=Problem.TOO_MANY_PAGES, numbers={"pages": 2, "limit": 1})
    with pytest.raises(Found) as found:
        documents.prepare_pdf(samples.pdf(1, pages=2), target)
    assert found.value.finding == expected
    with pytest.raises(Found) as found:
        documents.merge([(sniff.JPEG, samples.jpeg())] * 2, target)
    assert found.value.finding == expected
