"""Pages drawn by PDFium."""

import pytest
from PIL import ImageChops

from ingestd import samples
from ingestd.normalizer import rendering
from ingestd.normalizer.exchange import Found, Problem
from tests.unit.normalizer.pdf_making import CATALOG, ONE_PAGE, drawn, pdf, stream

rendering.warm_up()


def page(entries: bytes, content: bytes = b"0 g 0 0 50 50 re f") -> bytes:
    return pdf(
        CATALOG, ONE_PAGE, b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R %b >>" % entries, stream(content)
    )


def test_a_page_looks_as_in_another_renderer() -> None:
    document = samples.pdf(1)
    other = drawn(document)
    ours = rendering.render_page(document, 0, long_side=max(other.size), max_pixels=10_000_000).convert("L")
    assert ours.size == other.size
    assert not any(ImageChops.difference(ours.reduce(8), other.reduce(8)).histogram()[30:])


def test_the_longer_side_is_as_long_as_was_asked() -> None:
    for long_side in (500, 1000, 1777):
        picture = rendering.render_page(samples.small_pdf(1), 0, long_side=long_side, max_pixels=10_000_000)
        assert picture.mode == "RGB"
        assert max(picture.size) == long_side


def test_there_are_never_more_pixels_than_allowed() -> None:
    picture = rendering.render_page(samples.small_pdf(1), 0, long_side=5000, max_pixels=100_000)
    assert picture.width * picture.height < 102_000


def test_a_turned_page_is_drawn_as_viewers_turn_it() -> None:
    upright = rendering.render_page(
        page(b"/MediaBox [0 0 100 200] /Rotate 90"), 0, long_side=200, max_pixels=10**6
    )
    assert upright.size == (200, 100)
    assert upright.getpixel((10, 10)) == (0, 0, 0)  # the lower left corner is now the upper left one
    assert upright.getpixel((190, 90)) == (255, 255, 255)


def test_the_dots_of_an_inch_are_counted_on_paper() -> None:
    document = page(b"/MediaBox [0 0 144 72]")
    assert rendering.page_inches(document, 0) == (2.0, 1.0)
    assert rendering.render_at(document, 0, dpi=150, max_pixels=10**6).size == (300, 150)


def test_views_have_the_shorter_side_that_was_asked() -> None:
    views = rendering.render_pages(samples.pdf(1, pages=3), 2, short_side=300, max_pixels=10**7)
    assert [view.size for view in views] == [(300, 450), (300, 450)]


def test_a_page_without_size_is_damaged_or_gets_the_usual_one() -> None:
    try:
        views = rendering.render_pages(page(b"/MediaBox [0 0 0 0]"), 1, short_side=100, max_pixels=10**6)
    except Found as found:
        assert found.finding.problem is Problem.DAMAGED_PAGE
    else:
        assert min(views[0].size) == 100


def test_what_is_no_pdf_is_corrupt() -> None:
    with pytest.raises(Found) as found:
        rendering.page_count(samples.text())
    assert found.value.finding.problem is Problem.CORRUPT
