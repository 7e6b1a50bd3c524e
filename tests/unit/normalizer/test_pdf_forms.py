"""Forms: what a person filled in is part of the page, in every reader."""

import pytest
from PIL import ImageChops

from ingestd import samples, sniff
from ingestd.normalizer import documents
from ingestd.normalizer.exchange import Caution, Finding, Found, Problem, Step
from tests.unit.normalizer.pdf_making import bounds, drawn, ink_in, pdf, prepared, stream, text_of

KIDS = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"


def form(
    *widgets: bytes,
    form_entries: bytes = b"",
    catalog_entries: bytes = b"",
    content: bytes = b"",
    page_entries: bytes = b"",
    more: tuple[bytes, ...] = (),
) -> bytes:
    """Widgets are objects 6, 7 …, then come `more`; object 5 is the form."""
    numbers = b" ".join(b"%d 0 R" % (6 + index) for index in range(len(widgets)))
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm 5 0 R %b >>" % catalog_entries,
        KIDS,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R /Annots [%b] %b >>"
        % (numbers, page_entries),
        stream(content),
        b"<< /Fields [%b] %b >>" % (numbers, form_entries),
        *widgets,
        *more,
    )


def text_field(value: bytes, entries: bytes = b"", *, rectangle: bytes = b"20 40 180 60") -> bytes:
    return (
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (total) /V %b /Rect [%b] /DA (/Helv 12 Tf 0 g) %b >>"
        % (value, rectangle, entries)
    )


FIELD_BOX = (20, 40, 180, 60)  # the same seen from the top: the page is 100 points high
NEED_APPEARANCES = b"/NeedAppearances true"


def assert_flat(document: bytes) -> None:
    assert b"/AcroForm" not in document
    assert b"/Widget" not in document


# --- text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form_entries", [NEED_APPEARANCES, b""], ids=["says so", "says nothing"])
def test_a_value_without_an_appearance_is_visible(form_entries: bytes) -> None:
    draft, result = prepared(form(text_field(b"(42.50 EUR)"), form_entries=form_entries))
    assert [step.what for step in draft.steps] == [Step.FORM_FLATTENED]
    assert_flat(result)
    assert text_of(result).strip() == "42.50 EUR"
    assert ink_in(drawn(result), FIELD_BOX) > 50


def test_an_appearance_of_its_own_is_drawn_where_the_field_is() -> None:
    look = stream(b"0 g 0 0 10 5 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 10 10]")
    _, result = prepared(form(text_field(b"()", b"/AP << /N 7 0 R >>"), more=(look,)))
    page = drawn(result)
    assert ink_in(page, (21, 51, 179, 59)) == 158 * 8  # the lower half
    assert ink_in(page, (20, 40, 180, 49)) == 0


def test_an_appearance_that_is_turned_and_shifted_by_its_matrix_fills_the_field() -> None:
    look = stream(
        b"0 g 0 0 5 10 re f",
        b"/Type /XObject /Subtype /Form /BBox [0 0 10 10] /Matrix [0 1 -1 0 50 7]",
    )
    _, result = prepared(form(text_field(b"()", b"/AP << /N 7 0 R >>"), more=(look,)))
    page = drawn(result)
    assert ink_in(page, (21, 51, 179, 59)) == 158 * 8
    assert ink_in(page, (20, 40, 180, 49)) == 0


def test_an_appearance_that_draws_nothing_does_not_hide_a_value() -> None:
    empty = stream(b"/Tx BMC EMC", b"/Type /XObject /Subtype /Form /BBox [0 0 160 20]")
    _, result = prepared(form(text_field(b"(42.50)", b"/AP << /N 7 0 R >>"), more=(empty,)))
    assert text_of(result).strip() == "42.50"


def test_an_appearance_that_is_out_of_date_gives_way_to_the_value() -> None:
    old = stream(
        b"BT /F 12 Tf 2 5 Td (old) Tj ET",
        b"/Type /XObject /Subtype /Form /BBox [0 0 160 20] "
        b"/Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
    )
    field = text_field(b"(new)", b"/AP << /N 7 0 R >>")
    _, kept = prepared(form(field, more=(old,)))
    _, renewed = prepared(form(field, form_entries=NEED_APPEARANCES, more=(old,)))
    assert text_of(kept).strip() == "old"
    assert text_of(renewed).strip() == "new"


def test_letters_of_all_of_europe_are_shown() -> None:
    text = "Grüße, Łódź, Škoda, Ağrı 5 €"
    value = b"<" + ("\ufeff" + text).encode("utf-16-be").hex().encode() + b">"
    _, result = prepared(form(text_field(value)))
    assert text_of(result).strip() == text


def test_a_value_that_no_standard_font_can_show_is_refused_unless_the_form_shows_it() -> None:
    value = b"<" + "\ufeff領収書".encode("utf-16-be").hex().encode() + b">"
    with pytest.raises(Found) as found:
        prepared(form(text_field(value), form_entries=NEED_APPEARANCES))
    assert found.value.finding == Finding(problem=Problem.FORM, numbers={"page": 1})
    look = stream(
        b"BT /F 12 Tf 2 5 Td (shown) Tj ET",
        b"/Type /XObject /Subtype /Form /BBox [0 0 160 20] "
        b"/Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
    )
    field = text_field(value, b"/AP << /N 7 0 R >>")
    _, result = prepared(form(field, form_entries=NEED_APPEARANCES, more=(look,)))
    assert text_of(result).strip() == "shown"


CMAP = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /U def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
3 beginbfchar <61> <9818> <62> <53CE> <63> <66F8> endbfchar
endcmap CMapName currentdict /CMap defineresource pop end end"""


@pytest.mark.parametrize("form_entries", [NEED_APPEARANCES, b""], ids=["out of date", "up to date"])
def test_letters_of_any_script_stay_as_the_program_drew_them_that_they_were_filled_in_with(
    form_entries: bytes,
) -> None:
    glyph = b"<< /Length 30 >>\nstream\n700 0 d0 0 0 600 700 re f     \nendstream"
    font = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 700 700] /FontMatrix [0.001 0 0 0.001 0 0] "
        b"/CharProcs << /a 9 0 R /b 9 0 R /c 9 0 R >> /FirstChar 97 /LastChar 99 /Widths [700 700 700] "
        b"/Encoding << /Type /Encoding /Differences [97 /a /b /c] >> /ToUnicode 10 0 R >>"
    )
    look = stream(
        b"/Tx BMC q BT /F 12 Tf 2 5 Td (abc) Tj ET Q EMC",
        b"/Type /XObject /Subtype /Form /BBox [0 0 160 20] /Resources << /Font << /F 8 0 R >> >>",
    )
    value = b"<" + "\ufeff領収書".encode("utf-16-be").hex().encode() + b">"
    field = text_field(value, b"/AP << /N 7 0 R >>")
    document = form(field, form_entries=form_entries, more=(look, font, glyph, stream(CMAP)))
    draft, result = prepared(document)
    assert [step.what for step in draft.steps] == [Step.FORM_FLATTENED]
    assert_flat(result)
    assert text_of(result).strip() == "領収書"
    as_filled_in = form(field, more=(look, font, glyph, stream(CMAP)))
    assert ImageChops.difference(drawn(as_filled_in), drawn(result)).getbbox() is None
    assert ink_in(drawn(result), FIELD_BOX) > 100


def test_a_long_value_is_made_smaller_and_not_cut_off() -> None:
    text = "a very long name of a hotel by the sea, with breakfast and garage"
    _, result = prepared(form(text_field(f"({text})".encode(), b"/DA (/Helv 20 Tf)")))
    assert text_of(result).strip() == text
    page = drawn(result, dpi=144)
    assert ink_in(page, (40, 80, 360, 120)) == ink_in(page, (0, 0, 400, 200))


def test_a_text_of_several_lines_stays_within_its_field() -> None:
    text = "first line\\rsecond line that is much too long to stand in one line of this field"
    field = text_field(f"({text})".encode(), b"/Ff 4096", rectangle=b"20 20 180 80")
    _, result = prepared(form(field))
    assert "first line\nsecond line that is" in text_of(result)
    page = drawn(result)
    assert ink_in(page, (20, 20, 180, 80)) == ink_in(page, (0, 0, 200, 100)) > 0


def test_a_comb_spreads_its_characters_over_its_cells() -> None:
    _, result = prepared(form(text_field(b"(1234)", b"/Ff 16777216 /MaxLen 8")))
    page = drawn(result)
    for cell in range(8):
        box = (20 + 20 * cell, 40, 40 + 20 * cell, 60)
        assert (ink_in(page, box) > 0) == (cell < 4)


@pytest.mark.parametrize(("quadding", "side"), [(b"0", "left"), (b"2", "right")])
def test_a_text_stands_on_the_side_its_form_says(quadding: bytes, side: str) -> None:
    _, result = prepared(form(text_field(b"(9)"), form_entries=b"/Q " + quadding))
    page = drawn(result)
    left, right = ink_in(page, (20, 40, 100, 60)), ink_in(page, (100, 40, 180, 60))
    assert (left > 0, right > 0) == (side == "left", side == "right")


def test_a_turned_field_is_drawn_turned() -> None:
    field = text_field(b"(MMMMMM)", b"/MK << /R 90 >>", rectangle=b"20 5 40 95")
    _, result = prepared(form(field))
    page = drawn(result)
    assert ink_in(page, (20, 5, 40, 95)) > 100
    assert ink_in(page, (20, 40, 40, 95)) > 50  # it runs upwards from the lower end


def test_what_a_parent_field_says_counts_for_its_widgets() -> None:
    parent = b"<< /FT /Tx /T (total) /V (77) /DA (/Helv 12 Tf 0 g) /Kids [6 0 R] >>"
    widget = b"<< /Type /Annot /Subtype /Widget /Rect [20 40 180 60] /Parent 7 0 R >>"
    _, result = prepared(form(widget, more=(parent,)))
    assert text_of(result).strip() == "77"


def test_a_password_is_not_shown_in_plain() -> None:
    _, result = prepared(form(text_field(b"(hidden)", b"/Ff 8192")))
    assert text_of(result).strip() == "******"


def test_a_hidden_field_stays_hidden() -> None:
    for flag in (b"2", b"32"):
        _, result = prepared(form(text_field(b"(x)", b"/F " + flag), text_field(b"(y)")))
        assert text_of(result).strip() == "y"


# --- choices and buttons ------------------------------------------------------------------------------------


def test_a_choice_shows_what_its_list_calls_it() -> None:
    field = text_field(b"(e)", b"/Opt [[(e) (Euro)] [(d) (Dollar)]] /Ff 131072").replace(b"/Tx", b"/Ch")
    _, result = prepared(form(field))
    assert text_of(result).strip() == "Euro"


def test_a_box_shows_its_state() -> None:
    look = stream(b"0 g 0 0 10 10 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 10 10]")
    blank = stream(b"", b"/Type /XObject /Subtype /Form /BBox [0 0 10 10]")
    for state, dark in ((b"/Yes", True), (b"/Off", False)):
        box = (
            b"<< /Type /Annot /Subtype /Widget /FT /Btn /T (b) /V %b /AS %b /Rect [20 40 40 60] "
            b"/AP << /N << /Yes 7 0 R /Off 8 0 R >> >> >>" % (state, state)
        )
        _, result = prepared(form(box, more=(look, blank)))
        assert (ink_in(drawn(result), (21, 41, 39, 59)) > 300) == dark


def test_a_box_without_an_appearance_is_ticked() -> None:
    box = b"<< /Type /Annot /Subtype /Widget /FT /Btn /T (b) /V /Yes /AS /Yes /Rect [20 40 40 60] >>"
    _, result = prepared(form(box))
    assert ink_in(drawn(result), (20, 40, 40, 60)) > 20


# --- pages --------------------------------------------------------------------------------------------------


def test_the_pages_own_content_can_not_move_the_values() -> None:
    content = b"0.1 0 0 0.1 500 500 cm q q 1 0 0 1 9 9 cm"
    _, result = prepared(form(text_field(b"(42.50)"), content=content))
    assert ink_in(drawn(result), FIELD_BOX) > 50


@pytest.mark.parametrize(("state", "shown"), [(b"/OFF", False), (b"/ON", True)])
def test_a_field_on_a_layer_that_is_switched_off_stays_out_of_sight(state: bytes, shown: bool) -> None:
    document = form(
        text_field(b"(42.50)", b"/OC 7 0 R"),
        catalog_entries=b"/OCProperties << /OCGs [7 0 R] /D << %b [7 0 R] >> >>" % state,
        more=(b"<< /Type /OCG /Name (remarks) >>",),
    )
    for result in (
        prepared(document)[1],
        documents.merge([(sniff.PDF, samples.small_pdf(1)), (sniff.PDF, document)], bounds()).data,
    ):
        assert result is not None
        page = drawn(result, page=result.count(b"/Type /Page "))
        assert (ink_in(page, FIELD_BOX) > 50) == shown


def test_links_and_the_pages_rotation_stay() -> None:
    link = b"<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://example.com) >> >>"
    _, result = prepared(form(text_field(b"(1)"), link, page_entries=b"/Rotate 90"))
    assert b"/Link" in result
    assert b"/Rotate 90" in result
    assert drawn(result).size == (100, 200)


def test_pages_that_share_their_resources_each_show_their_own_field() -> None:
    field = text_field(b"(%d)")
    document = pdf(
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R 6 0 R] >> >>",
        b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 /Resources 7 0 R /MediaBox [0 0 200 100] >>",
        b"<< /Type /Page /Parent 2 0 R /Annots [5 0 R] >>",
        b"<< /Type /Page /Parent 2 0 R /Annots [6 0 R] >>",
        field % 1,
        field % 2,
        b"<< /XObject << >> >>",
    )
    _, result = prepared(document)
    assert text_of(result).split() == ["1", "2"]


# --- no reason to change anything ---------------------------------------------------------------------------


def test_a_form_without_fields_is_no_reason_to_change_a_document() -> None:
    draft, _ = prepared(form())
    assert draft.data is None


SIGNATURE = b"<< /Type /Sig /Filter /Adobe.PPKLite /SubFilter /adbe.pkcs7.detached /Contents <00> >>"
SIGNATURE_FIELD = b"<< /Type /Annot /Subtype /Widget /FT /Sig /T (s) /V 7 0 R /Rect [20 40 180 60] %b >>"


def test_a_signed_document_stays_as_it_is() -> None:
    draft, _ = prepared(form(SIGNATURE_FIELD % b"", form_entries=b"/SigFlags 3", more=(SIGNATURE,)))
    assert draft.data is None
    assert draft.cautions == []


def test_a_signature_that_a_change_destroys_is_told_and_its_picture_stays() -> None:
    look = stream(b"0 g 0 0 10 10 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 10 10]")
    draft, result = prepared(
        form(
            SIGNATURE_FIELD % b"/AP << /N 8 0 R >>",
            catalog_entries=b"/OpenAction << /S /JavaScript /JS (app.alert(1)) >>",
            more=(SIGNATURE, look),
        )
    )
    assert [step.what for step in draft.steps] == [Step.ACTIVE_REMOVED]
    assert [caution.what for caution in draft.cautions] == [Caution.SIGNATURE_LOST]
    assert ink_in(drawn(result), FIELD_BOX) > 3000
    assert b"/Sig" not in result


# --- XFA ----------------------------------------------------------------------------------------------------

DATA = (
    b'<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data>'
    b"<form1><other>1</other><total>%b</total></form1></xfa:data></xfa:datasets>"
)
XFA = b"/XFA [(template) %d 0 R (datasets) %d 0 R]"
TEMPLATE = stream(b"<template/>")


def test_a_static_xfa_form_becomes_what_its_fields_show() -> None:
    document = form(text_field(b"(42)"), form_entries=XFA % (7, 8), more=(TEMPLATE, stream(DATA % b"42")))
    draft, result = prepared(document)
    assert [step.what for step in draft.steps] == [Step.FORM_FLATTENED]
    assert b"/XFA" not in result
    assert text_of(result).strip() == "42"


def test_a_value_that_only_the_xfa_data_have_is_visible() -> None:
    document = form(
        text_field(b"()").replace(b"(total)", b"(form1[0].#subform[0].total[0])"),
        form_entries=XFA % (7, 8),
        more=(TEMPLATE, stream(DATA % b"43")),
    )
    _, result = prepared(document)
    assert text_of(result).strip() == "43"


@pytest.mark.parametrize(
    "widgets", [(), (text_field(b"()"),)], ids=["without fields", "with fields that are empty"]
)
def test_a_dynamic_xfa_form_is_refused(widgets: tuple[bytes, ...]) -> None:
    first = 6 + len(widgets)
    document = form(
        *widgets,
        form_entries=XFA % (first, first + 1),
        catalog_entries=b"/NeedsRendering true",
        more=(TEMPLATE, stream(DATA % b"42")),
    )
    with pytest.raises(Found) as found:
        prepared(document, bounds("light"))
    assert found.value.finding.problem is Problem.FORM


def test_entities_in_xfa_data_are_not_expanded() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 1000 + b'">]>' + DATA % (b"&a;" * 1000)
    document = form(text_field(b"()"), form_entries=XFA % (7, 8), more=(TEMPLATE, stream(bomb)))
    _, result = prepared(document)
    assert text_of(result).strip() == ""
