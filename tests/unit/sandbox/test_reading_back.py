import time
from io import BytesIO

import pytest
from pypdf import PdfReader

from ingestd.sandbox import Sandbox, bundle
from tests.unit.sandbox.client import Client, jpeg, pdf, png


@pytest.mark.parametrize("kind", ["receipt", "expenseentry", "invoice", "report"])
async def test_the_url_of_an_image_delivers_its_bytes_without_authorization(
    client: Client, kind: str
) -> None:
    content = pdf(2)
    slot = kind if kind == "receipt" else f"{kind}/17%24"
    uploaded = await client.post(slot, content, content_type="application/pdf")
    found = await client.get(f"{kind}/{uploaded.image_id.replace('$', '%24')}")
    assert (found.status, found.image_id) == (200, uploaded.image_id)
    assert b"&amp;" in found.body
    fetched = await client.fetch(found.url)
    assert (fetched.status, fetched.body) == (200, content)
    assert fetched.headers["Content-Type"] == "application/pdf"


async def test_a_slot_without_an_image_is_404(client: Client) -> None:
    answer = await client.get("expenseentry/1")
    assert (answer.status, answer.message) == (404, "No image found for this expenseentry.")
    assert (await client.get("receipt/1")).status == 404


async def test_looking_up_needs_a_good_token(client: Client) -> None:
    await client.post("report/1")
    assert (await client.get("report/1", authorization=None)).status == 401
    assert (await client.get("report/1", authorization="OAuth bad-1")).status == 403


async def test_json_of_a_look_up(client: Client) -> None:
    await client.post("report/1")
    found = await client.get("report/1", accept="application/json")
    assert found.body.startswith(b'{"Id": "1", "Url": "http://127.0.0.1:')
    assert b"&t=AN" in found.body


async def test_a_url_expires_after_fifteen_minutes(client: Client, state: Sandbox) -> None:
    await client.post("report/1")
    url = (await client.get("report/1")).url
    issued = time.time()
    state.now = lambda: issued + 14 * 60 + 55
    assert (await client.fetch(url)).status == 200
    state.now = lambda: issued + 15 * 60 + 5
    late = await client.fetch(url)
    assert (late.status, late.message) == (403, "This URL has expired.")


@pytest.mark.parametrize(
    ("part", "other"), [("id=report/1", "id=report/2"), ("&e=", "&e=9"), ("&v=", "&v=1")]
)
async def test_a_url_can_not_be_altered(client: Client, part: str, other: str) -> None:
    await client.post("report/1")
    await client.post("report/2")
    url = (await client.get("report/1")).url
    assert part in url
    assert (await client.fetch(url.replace(part, other))).status == 403


async def test_a_url_is_dead_after_a_reset(client: Client) -> None:
    await client.post("report/1")
    url = (await client.get("report/1")).url
    await client.own("POST", "reset")
    assert (await client.fetch(url)).status == 404


async def test_a_report_of_several_images_comes_as_one_pdf(client: Client) -> None:
    sent = [
        (pdf(3), "application/pdf"),
        (jpeg(), "image/jpeg"),
        (png(), "image/png"),
        (png(alpha=True), "image/png"),
        (b"%PDF-1.4 ruined", "application/pdf"),
    ]
    for content, content_type in sent:
        assert (await client.post("report/1", content, content_type=content_type)).status == 201
    fetched = await client.fetch((await client.get("report/1")).url)
    assert fetched.headers["Content-Type"] == "application/pdf"
    bundled = PdfReader(BytesIO(fetched.body))
    assert len(bundled.pages) == 3 + 1 + 1 + 1 + 1
    drawn = bundled.pages[3]["/Resources"]["/XObject"]["/Image"]  # type: ignore[index] # pypdf types it loosely
    assert drawn["/Filter"] == "/DCTDecode"
    assert drawn.get_data() == jpeg()
    assert "Image 5, application/pdf, is attached" in bundled.pages[6].extract_text()
    assert bundled.attachments == {"image-4": [png(alpha=True)], "image-5": [b"%PDF-1.4 ruined"]}


def test_the_pixels_of_a_png_survive_the_bundle() -> None:
    bundled = PdfReader(BytesIO(bundle.merge([("image/png", png()), ("image/png", png())])))
    drawn = bundled.pages[0]["/Resources"]["/XObject"]["/Image"]  # type: ignore[index] # pypdf types it loosely
    assert drawn.get_data() == b"\x10\x20\x30" * 4


async def test_a_report_too_large_to_bundle_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_BYTES", 1500)
    await client.post("report/1")
    await client.post("report/1")
    answer = await client.fetch((await client.get("report/1")).url)
    assert (answer.status, "too large to be bundled" in answer.message) == (500, True)


def test_other_pictures_in_a_bundle() -> None:
    cmyk = jpeg().replace(b"\x00\x08\x00\x08\x01\x01\x11\x00", b"\x00\x08\x00\x08\x04\x01\x11\x00")
    filled = b"\xff\xd8\xff\xff\xe0\x00\x04JF" + jpeg()[2:]
    frameless = b"\xff\xd8\xff\xd9" + b"x" * 20
    sent = [cmyk, filled, frameless]
    bundled = PdfReader(BytesIO(bundle.merge([("image/jpeg", each) for each in sent])))
    spaces = [
        page["/Resources"]["/XObject"]["/Image"]["/ColorSpace"]  # type: ignore[index] # pypdf types it loosely
        for page in bundled.pages[:2]
    ]
    assert spaces == ["/DeviceCMYK", "/DeviceGray"]
    assert bundled.attachments == {"image-3": [frameless]}


def test_a_png_with_a_palette_keeps_its_colours() -> None:
    picture = png(palette=b"\x10\x20\x30\x40\x50\x60")
    bundled = PdfReader(BytesIO(bundle.merge([("image/png", picture)])))
    drawn = bundled.pages[0]["/Resources"]["/XObject"]["/Image"]  # type: ignore[index] # pypdf types it loosely
    *space, palette = drawn["/ColorSpace"]
    assert space == ["/Indexed", "/DeviceRGB", 1]
    assert palette.original_bytes == b"\x10\x20\x30\x40\x50\x60"
    assert drawn.get_data() == b"\x00\x01\x00\x01"
