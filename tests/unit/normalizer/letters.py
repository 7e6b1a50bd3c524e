"""Mails whose text is the receipt, made by hand, and their PDFs judged by Poppler: a reader of its own."""

import base64
import io
import subprocess
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageChops

from ingestd.normalizer.letter_rendering import Letter, render, render_plain
from ingestd.normalizer.message_text import texts_of

RED, BLUE = (230, 20, 30), (20, 40, 230)


def mail(
    html: str | None = None,
    text: str = "Words",
    *,
    pictures: Mapping[str, bytes] | None = None,
    subject: str = "Your booking 4711",
    charset: str = "utf-8",
) -> bytes:
    """The raw message; `pictures` by their Content-ID."""
    kind, words = ("plain", text) if html is None else ("html", html)
    head = (
        "Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\r\nFrom: Grand Hotel <stay@hotel.example>\r\n"
        f"To: Ann <ann@example.com>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nSubject: {subject}\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary="=_b"\r\n\r\n'
    )
    parts = [_part(f"text/{kind}; charset={charset}", words.encode(charset, "replace"))]
    for content_id, content in (pictures or {}).items():
        parts.append(_part(f"image/png\r\nContent-ID: <{content_id}>", content))
    return (head + "".join(f"--=_b\r\n{part}\r\n" for part in parts) + "--=_b--\r\n").encode()


def _part(content_type: str, content: bytes) -> str:
    coded = base64.encodebytes(content).decode().replace("\n", "\r\n")
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}"


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (60, 40), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def letter(message: bytes, *, max_pages: int = 100, plain: bool = False) -> Letter:
    """Made in this process."""
    found = texts_of(message)
    if plain:
        return render_plain(found, max_pages=max_pages)
    return render(found, max_pages=max_pages, max_pixels=100_000_000)


def text_of(pdf: bytes) -> str:
    """All pages, laid out as they look."""
    return _poppler("pdftotext", "-layout", "-", "-", pdf=pdf).decode()


def facts_of(pdf: bytes) -> dict[str, str]:
    lines = _poppler("pdfinfo", "-", pdf=pdf).decode().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def pages_of(pdf: bytes, folder: Path, *, dpi: int = 60) -> list[Image.Image]:
    """Every page drawn."""
    _poppler("pdftoppm", "-r", str(dpi), "-png", "-", str(folder / "page"), pdf=pdf)
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("page*.png"))]


def has_colour(page: Image.Image, colour: tuple[int, int, int]) -> bool:
    counts = page.getcolors(1 << 24) or []
    return any(
        count > 20 and max(abs(a - b) for a, b in zip(seen, colour, strict=True)) < 12
        for count, seen in counts
        if isinstance(seen, tuple)
    )


def box_of(page: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what has nearly this colour."""
    far = ImageChops.difference(page, Image.new("RGB", page.size, colour)).split()
    distance = ImageChops.lighter(ImageChops.lighter(far[0], far[1]), far[2])
    box = distance.point(lambda value: 255 if value < 12 else 0).getbbox()
    assert box is not None, "it is not there"
    return box


def right_edge_of(page: Image.Image) -> float:
    """Where the last ink is, as a share of the width."""
    box = page.convert("L").point(lambda value: 255 if value < 200 else 0).getbbox()
    return box[2] / page.width if box else 0.0


def _poppler(*command: str, pdf: bytes) -> bytes:
    return subprocess.run(command, input=pdf, capture_output=True, check=True).stdout
