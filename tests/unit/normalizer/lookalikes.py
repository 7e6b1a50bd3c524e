"""Receipts that look alike: printed from one form, scanned and photographed again and again.

Everything is drawn from a seed, so that a failing pair can be made again. A photograph has perspective, turn,
bent paper, a lit and a shaded side, blur, noise, a table under the paper and JPEG's loss.
"""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 1240
"""Of a drawn receipt, in pixels: paper 80 mm wide at 200 dpi."""


# --- what is printed ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ride:
    """What differs between two receipts of one taxi firm."""

    number: int
    day: int
    month: int
    hour: int
    minute: int
    cab: int
    cents: int


def ride(seed: int) -> Ride:
    rng = random.Random(seed)
    return Ride(
        number=rng.randrange(100_000, 999_999),
        day=rng.randrange(1, 29),
        month=rng.randrange(1, 13),
        hour=rng.randrange(24),
        minute=rng.randrange(60),
        cab=rng.randrange(10, 99),
        cents=rng.randrange(810, 9_990),
    )


def one_digit_off(one: Ride, seed: int) -> Ride:
    """The same ride but for a single printed digit; of the amount, too, only one: no tax is printed."""
    rng = random.Random(seed)
    match rng.choice(["number", "day", "hour", "cents", "cab"]):
        case "number":
            return replace(one, number=_other_digit(one.number, rng, 6))
        case "day":
            return replace(one, day=one.day // 10 * 10 + (one.day % 10 + rng.randrange(1, 9)) % 10)
        case "hour":
            return replace(one, hour=one.hour // 10 * 10 + (one.hour % 10 + rng.randrange(1, 4)) % 10)
        case "cab":
            return replace(one, cab=_other_digit(one.cab, rng, 2))
        case _:
            return replace(one, cents=_other_digit(one.cents, rng, 3))


def _other_digit(value: int, rng: random.Random, digits: int) -> int:
    place: int = 10 ** rng.randrange(digits)
    digit = value // place % 10
    return value + (rng.choice([other for other in range(10) if other != digit]) - digit) * place


def taxi_receipt(one: Ride) -> Image.Image:
    """The firm's form with one ride filled in: most of its ink is the same for every ride."""
    paper, draw = _paper()
    _text(draw, 60, "TAXI NORD eG", size=58, centred=True)
    _text(draw, 140, "Hafenstrasse 12 · 24103 Kiel", size=28, centred=True)
    _text(draw, 180, "Tel. 0431 555 0100", size=28, centred=True)
    draw.line((40, 235, WIDTH - 40, 235), fill=30, width=3)
    _text(draw, 260, "QUITTUNG / RECEIPT", size=38, centred=True)
    _pair(draw, 340, "Beleg-Nr.", f"{one.number:06}")
    _pair(draw, 390, "Datum", f"{one.day:02}.{one.month:02}.2026")
    _pair(draw, 440, "Uhrzeit", f"{one.hour:02}:{one.minute:02}")
    _pair(draw, 490, "Wagen", f"{one.cab}")
    draw.line((40, 550, WIDTH - 40, 550), fill=30, width=2)
    _pair(draw, 575, "Fahrt im Stadtgebiet", "1 x")
    _pair(draw, 625, "Zuschlag Gepaeck", "0,00")
    _pair(draw, 700, "GESAMT EUR", f"{one.cents // 100},{one.cents % 100:02}", size=44)
    draw.line((40, 770, WIDTH - 40, 770), fill=30, width=2)
    _text(draw, 800, "Im Betrag sind 7 % Umsatzsteuer enthalten.", size=26)
    _text(draw, 840, "Kartenzahlung, kontaktlos", size=26)
    _text(draw, 880, "Steuer-Nr. 20/291/04711", size=26)
    _text(draw, 980, "Vielen Dank und gute Weiterreise!", size=30, centred=True)
    _text(draw, 1040, "www.taxi-nord.example", size=28, centred=True)
    for position in range(100, WIDTH - 100, 9):
        if position * 7919 % 5 > 1:
            draw.rectangle((position, 1100, position + 4, 1170), fill=25)
    return paper


_WORDS = [
    "Milch",
    "Brot",
    "Butter",
    "Kaffee",
    "Wasser",
    "Salat",
    "Suppe",
    "Hotel",
    "Zimmer",
    "Parken",
    "Benzin",
    "Diesel",
    "Ticket",
    "Buch",
    "Papier",
    "Tinte",
    "Kabel",
    "Lampe",
    "Taxi",
    "Bahn",
    "Fisch",
    "Pasta",
    "Pizza",
    "Saft",
    "Wein",
    "Bier",
    "Apfel",
    "Birne",
    "Seife",
    "Service",
    "Garage",
    "Nacht",
    "Steuer",
]


def shop_receipt(seed: int) -> Image.Image:
    """Another shop for each seed: another form, other goods."""
    rng = random.Random(seed)
    paper, draw = _paper(height=rng.randrange(800, 1700))
    size = rng.choice([26, 28, 30, 34])
    y = rng.randrange(30, 90)
    for _ in range(rng.randrange(1, 5)):
        _text(draw, y, " ".join(rng.sample(_WORDS, 2)), size=rng.choice([28, 34, 46, 60]), centred=True)
        y += rng.randrange(50, 90)
    while y < paper.height - 240:
        if rng.random() < 0.12:
            draw.line((30, y + 10, WIDTH - 30, y + 10), fill=40, width=rng.choice([2, 4]))
            y += 30
        goods = " ".join(rng.sample(_WORDS, rng.randrange(1, 3)))
        _pair(draw, y, goods, f"{rng.randrange(1, 90)},{rng.randrange(100):02}", size=size)
        y += int(size * rng.choice([1.3, 1.4, 1.4, 2.2]))
    _pair(draw, y + 20, rng.choice(["SUMME", "Total EUR", "BAR"]), f"{rng.randrange(9, 300)},50", size=46)
    _text(draw, y + 100, " ".join(rng.sample(_WORDS, 4)), size=26, centred=rng.random() < 0.5)
    return paper


def _paper(height: int = HEIGHT) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    paper = Image.new("L", (WIDTH, height), 246)
    return paper, ImageDraw.Draw(paper)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _text(draw: ImageDraw.ImageDraw, y: int, text: str, *, size: int = 32, centred: bool = False) -> None:
    x = (WIDTH - draw.textlength(text, _font(size))) / 2 if centred else 40
    draw.text((x, y), text, 35, _font(size))


def _pair(draw: ImageDraw.ImageDraw, y: int, name: str, value: str, *, size: int = 32) -> None:
    _text(draw, y, name, size=size)
    draw.text((WIDTH - 40 - draw.textlength(value, _font(size)), y), value, 35, _font(size))


# --- how it is taken ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shot:
    """How a photograph is taken. `scale`: picture pixels for a drawn one. Lengths in parts of the paper."""

    turn: float = 0.0  # degrees
    tilt: float = 0.0  # how far corners move
    bend: float = 0.0  # of the paper
    scale: float = 1.0
    margin: float = 0.12
    gradient: float = 0.0  # how much darker the far side is
    shadow: float = 0.0  # a soft-edged shadow of a hand, so much darker
    blur: float = 0.0  # sigma in picture pixels
    noise: float = 2.0  # sigma in grey levels
    quality: int = 85
    grey: bool = False
    table: int = 0  # which table it lies on
    fade: float = 0.0  # how much of the ink's contrast is lost


def moderate_shot(seed: int) -> Shot:
    """What a person does who takes some care."""
    rng = random.Random(seed)
    return Shot(
        turn=rng.uniform(-5, 5),
        tilt=rng.uniform(0, 0.03),
        bend=rng.uniform(0, 0.004),
        scale=rng.uniform(0.9, 1.6),
        margin=rng.uniform(0.06, 0.2),
        gradient=rng.uniform(0, 0.25),
        blur=rng.uniform(0.3, 1.0),
        noise=rng.uniform(1, 4),
        quality=rng.randrange(70, 95),
        grey=rng.random() < 0.15,
        table=rng.randrange(6),
    )


def hard_shot(seed: int) -> Shot:
    """What a person does who is in a hurry."""
    rng = random.Random(seed)
    return Shot(
        turn=rng.uniform(-10, 10),
        tilt=rng.uniform(0.02, 0.07),
        bend=rng.uniform(0.002, 0.01),
        scale=rng.uniform(0.6, 2.0),
        margin=rng.uniform(0.03, 0.35),
        gradient=rng.uniform(0.1, 0.45),
        shadow=rng.choice([0.0, 0.25, 0.4]),
        blur=rng.uniform(0.5, 1.6),
        noise=rng.uniform(2, 7),
        quality=rng.randrange(45, 90),
        grey=rng.random() < 0.2,
        table=rng.randrange(6),
        fade=rng.uniform(0, 0.4),
    )


def photograph(paper: Image.Image, shot: Shot, seed: int) -> Image.Image:
    """RGB (L where the shot is grey): the paper on a table, as a phone takes it."""
    rng = np.random.default_rng(seed)
    ink: npt.NDArray[Any] = np.asarray(paper, np.float32)
    ink = ink + shot.fade * (246 - ink)
    width, height = (int(side * shot.scale * (1 + 2 * shot.margin)) for side in paper.size)
    across, down, on_paper = _positions(paper.size, (width, height), shot, rng)
    seen = cv2.remap(ink, across, down, cv2.INTER_AREA if shot.scale < 1 else cv2.INTER_LINEAR)
    on_paper = cv2.GaussianBlur(on_paper, (0, 0), 1.0)[..., None]
    colour = rng.uniform(0.92, 1.0, 3).astype(np.float32)
    picture: npt.NDArray[Any] = seen[..., None] * colour * on_paper + _table(width, height, shot.table) * (
        1 - on_paper
    )
    picture = _lit(picture, shot, rng)
    if shot.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), shot.blur)
    picture = picture + rng.normal(0, shot.noise, picture.shape).astype(np.float32)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return jpeg_again(image.convert("L") if shot.grey else image, shot.quality)


def scan(paper: Image.Image, seed: int, *, dust: int = 25, quality: int = 85) -> Image.Image:
    """L: on the white of a flatbed, a little askew, with dust and the shadow of one edge."""
    rng = np.random.default_rng(seed)
    left, top, right, bottom = (int(rng.integers(15, 80)) for _ in range(4))
    bed: npt.NDArray[Any] = np.full(
        (paper.height + top + bottom, paper.width + left + right), 250, np.float32
    )
    bed[top : top + paper.height, left : left + paper.width] = np.asarray(paper)
    matrix = cv2.getRotationMatrix2D((bed.shape[1] / 2, bed.shape[0] / 2), rng.uniform(-1.5, 1.5), 1.0)
    bed = cv2.warpAffine(bed, matrix, bed.shape[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=(250,))
    bed[:, : int(rng.integers(1, 7))] -= 120
    for _ in range(dust):
        x, y = int(rng.integers(bed.shape[1])), int(rng.integers(bed.shape[0]))
        cv2.circle(bed, (x, y), int(rng.integers(1, 3)), float(rng.uniform(90, 220)), -1)
    bed = cv2.GaussianBlur(bed, (0, 0), 0.6) + rng.normal(0, 1.5, bed.shape).astype(np.float32)
    return jpeg_again(Image.fromarray(np.clip(bed, 0, 255).astype(np.uint8)), quality)


def jpeg_of(image: Image.Image, quality: int = 92) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def png_of(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def jpeg_again(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(jpeg_of(image, quality)), formats=["JPEG"]).convert(image.mode)


def _positions(
    paper: Sequence[int], picture: Sequence[int], shot: Shot, rng: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """For each picture pixel: where on the paper it lies, and whether it does."""
    width, height = paper
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    angle = np.deg2rad(shot.turn)
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))], np.float32)
    moved = (corners - corners.mean(0)) @ turn.T * shot.scale
    moved += rng.uniform(-shot.tilt, shot.tilt, moved.shape).astype(np.float32) * width * shot.scale
    shift = (rng.uniform(-0.3, 0.3, 2) * shot.margin * np.array(picture)).astype(np.float32)
    moved = moved + np.array(picture, np.float32) / 2 + shift
    back = cv2.getPerspectiveTransform(moved.astype(np.float32), corners)
    x, y = np.meshgrid(np.arange(picture[0], dtype=np.float32), np.arange(picture[1], dtype=np.float32))
    third = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    across = ((back[0, 0] * x + back[0, 1] * y + back[0, 2]) / third).astype(np.float32)
    down = ((back[1, 0] * x + back[1, 1] * y + back[1, 2]) / third).astype(np.float32)
    wave, phase = rng.uniform(1.0, 2.5), rng.uniform(0, 6)
    across += shot.bend * width * np.sin(down / height * wave * 3.14 + phase).astype(np.float32)
    down += shot.bend * height * np.sin(down / height * wave * 3.14 + phase + 1).astype(np.float32)
    inside = (across > 0) & (across < width - 1) & (down > 0) & (down < height - 1)
    return across, down, inside.astype(np.float32)


@lru_cache(maxsize=4)  # each is tens of megabytes
def _table(width: int, height: int, which: int) -> npt.NDArray[Any]:
    """Wood, cloth or plain: the same for the same `which`, so that two photographs can share it."""
    rng = np.random.default_rng(1_000 + which)
    base = np.array([(92, 66, 44), (60, 62, 66), (120, 96, 72), (35, 48, 38), (140, 138, 132), (70, 40, 36)])
    grain: npt.NDArray[Any] = rng.normal(0, 1, (1_200, 800)).astype(np.float32)
    stretch = (1.5, 25.0) if which % 2 else (6.0, 3.0)
    grain = cv2.GaussianBlur(grain, (0, 0), stretch[0], sigmaY=stretch[1])
    grain = cv2.resize(grain / grain.std(), (width, height), interpolation=cv2.INTER_CUBIC)
    table: npt.NDArray[Any] = base[which % 6].astype(np.float32) * (1 + 0.18 * grain[..., None])
    return table


def _lit(picture: npt.NDArray[Any], shot: Shot, rng: np.random.Generator) -> npt.NDArray[Any]:
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height))
    angle = rng.uniform(0, 6.28)
    light = 1 - shot.gradient * (0.5 + np.cos(angle) * x + np.sin(angle) * y)
    if shot.shadow:
        edge = (x - rng.uniform(-0.2, 0.2)) * rng.choice([-1, 1]) + y * rng.uniform(-0.5, 0.5)
        light *= 1 - shot.shadow / (1 + np.exp(-edge * 80))
    return np.asarray(picture * light[..., None], np.float32)
