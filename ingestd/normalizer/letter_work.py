"""The job of the limited processes that make a PDF of a mail's text. They alone may open files: fonts.

In: the message and a LetterRequest. Out: an answer in the words of `letter_exchange`, and the PDF.
"""

import base64
import gc
import logging
import sys
from collections.abc import Mapping, Sequence

from ingestd import samples
from ingestd.normalizer import letter_fonts
from ingestd.normalizer.exchange import Found, NoRoom, OutputFull, Problem, write_answer
from ingestd.normalizer.exchange_mail import Unopenable
from ingestd.normalizer.letter_exchange import Lettered, LetterRequest
from ingestd.normalizer.letter_rendering import Letter, render, render_plain
from ingestd.normalizer.message_text import MessageText, texts_of
from ingestd.normalizer.outputs import write

_FRAMES = 6_000
"""A table within a table costs some twenty; in forwarded mails they are nested dozens deep."""


def letter(request: Mapping[str, object], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    """One message. Raises ValueError for a request that is none, and for a file not as long as it says."""
    asked = LetterRequest.read(request)
    (message,), (pdf,) = inputs, outputs
    try:
        made = _made(texts_of(_content(message, asked.size)), asked)
        write(pdf, made.pdf)
    except Found as found:
        return write_answer(found.finding)
    except Unopenable:
        return write_answer(Found(Problem.TOO_COMPLEX).finding)
    except OutputFull:
        return write_answer(NoRoom())
    return Lettered(
        pages=made.pages, remote=made.remote, unreadable=made.unreadable, unknown=made.unknown, cut=made.cut
    ).write()


def warm_up() -> None:
    """Imports and loads all that letters need; leaves no thread behind. Raises NoFonts."""
    # It has a line for each declaration that it does not know, of which mails are full.
    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)
    sys.setrecursionlimit(_FRAMES)
    prove()
    gc.collect()  # ends the font map, and the thread that Pango has for it


def prove() -> None:
    """Makes a letter of every kind, as jobs do. Raises RuntimeError when something is missing in it."""
    message = texts_of(_sample())
    for made in (
        render(message, max_pages=2, max_pixels=1 << 20),
        render_plain(message, max_pages=2),
    ):
        if made.unknown or made.unreadable or made.cut or made.pages != 1:
            raise RuntimeError(f"the sample letter is incomplete: {made.unknown} letters, {made.pages} pages")


def readable() -> tuple[str, ...]:
    """The fonts, which workers open when a letter needs them."""
    return letter_fonts.readable()


def _made(message: MessageText, asked: LetterRequest) -> Letter:
    """Raises Found; Problem.TOO_COMPLEX where the layout can't be worked on, though its words may be."""
    if asked.plain:
        return render_plain(message, max_pages=asked.max_pages)
    try:
        return render(message, max_pages=asked.max_pages, max_pixels=asked.max_pixels)
    except (Found, OutputFull, MemoryError):
        raise
    except Exception as error:
        # The border to a layout engine that was not written for hostile style sheets: recursion, assertions,
        # arithmetic. What it could not do is told, and its words are asked for next.
        raise Found(Problem.TOO_COMPLEX) from error


def _content(descriptor: int, size: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise ValueError(f"the message has not the {size} bytes that the spool recorded")
    return data


def _sample() -> bytes:
    """Takes every way that would import or open something at its first use."""
    picture = base64.encodebytes(samples.small_png(0)).decode()
    photo = base64.b64encode(samples.small_jpeg(0)).decode()
    return _SAMPLE.format(picture=picture, photo=photo).encode()


_SAMPLE = """From: Hotel <hotel@example.com>
Subject: =?utf-8?q?F=C3=BCr_Sie?=
MIME-Version: 1.0
Content-Type: multipart/related; boundary=b

--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: 8bit

<!DOCTYPE html><html lang="de"><head><style>
@media screen {{ p {{ color: red }} }}
p::first-letter {{ font-size: 2em }} b {{ font-family: monospace }} i {{ font-family: serif }}
.g {{ display: grid; grid-template-columns: 1fr 1fr }} .f {{ display: flex }}
.r {{ border: 1px dashed; border-radius: 3px; background: linear-gradient(red, blue); opacity: .5 }}
</style></head><body bgcolor="#ffffff"><h1>Rechnung</h1><p>Summe <b>1,00 €</b> <i>kursiv</i></p>
<div class="g"><span>a</span><span>b</span></div><div class="f"><span>a</span><span>b</span></div>
<div class="r" style="float: right; transform: rotate(1deg)">c</div>
<table border="1" width="850"><tr><td align="right">x</td><td><img src="cid:a" width="20"></td></tr></table>
<ul><li>eins</li></ul><ol><li>zwei</li></ol><a href="https://example.com/">Link</a>
<img src="data:image/jpeg;base64,{photo}" width="20"><input value="x"></body></html>

--b
Content-Type: image/png
Content-ID: <a>
Content-Transfer-Encoding: base64

{picture}
--b--
"""
