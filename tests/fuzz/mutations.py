"""Ways to spoil a document, as disks, networks and attackers do. The same seed spoils the same way."""

import random
from collections.abc import Callable, Sequence

Mutation = Callable[[bytearray, random.Random, Sequence[bytes]], None]
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(document: bytes, seed: int, corpus: Sequence[bytes]) -> bytes:
    """One to four mutations of the document; parts of others come from the corpus."""
    chance = random.Random(seed)
    spoiled = bytearray(document)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        if len(spoiled) > 16:
            chance.choice(MUTATIONS)(spoiled, chance, corpus)
    return bytes(spoiled)


def flip_bits(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    for _n in range(chance.choice((1, 1, 4, 32))):
        document[_place(document, chance)] ^= 1 << chance.randrange(8)


def overwrite(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """A block of zeros, of ones, or of noise, as a bad sector leaves it."""
    start, end = _range(document, chance)
    size = end - start
    document[start:end] = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))


def edit_number(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """An extreme value where a length, a size or an offset may stand, in either byte order."""
    width = chance.choice((1, 2, 4))
    value = chance.choice(_EXTREMES) & ((1 << 8 * width) - 1)
    at = min(_place(document, chance), len(document) - width)
    document[at : at + width] = value.to_bytes(width, chance.choice(("big", "little")))


def edit_digits(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """Another number where the text has one: PDF writes its lengths and offsets as digits."""
    start = _place(document, chance)
    at = next((n for n in range(start, len(document)) if 0x30 <= document[n] <= 0x39), None)
    if at is not None:
        document[at : at + 1] = chance.choice((b"0", b"9", b"-1", b"99999999999", b"1.5", b""))


def truncate(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    del document[_place(document, chance) :]


def cut_out(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    start, end = _range(document, chance)
    del document[start:end]


def repeat(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    start, end = _range(document, chance)
    document[end:end] = document[start:end] * chance.choice((1, 1, 7))


def swap(document: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    (start, end), (other, _end) = sorted((_range(document, chance), _range(document, chance)))
    size = min(end - start, other - start, len(document) - other)
    first, second = document[start : start + size], document[other : other + size]
    document[start : start + size], document[other : other + size] = second, first


def splice(document: bytearray, chance: random.Random, corpus: Sequence[bytes]) -> None:
    """A part of another document in the place of one of its own."""
    start, end = _range(document, chance)
    other = bytearray(chance.choice(corpus))
    first, last = _range(other, chance)
    document[start:end] = other[first:last]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, overwrite, edit_number, edit_number, edit_digits, truncate, cut_out, repeat, swap, splice,
)  # fmt: skip


def _place(document: bytearray, chance: random.Random) -> int:
    """Anywhere, but half of the time near the beginning or the end, where headers and tables are."""
    match chance.randrange(4):
        case 0:
            return chance.randrange(min(512, len(document)))
        case 1:
            return len(document) - 1 - chance.randrange(min(512, len(document)))
        case _:
            return chance.randrange(len(document))


def _range(document: bytearray, chance: random.Random) -> tuple[int, int]:
    start = _place(document, chance)
    return start, min(len(document), start + chance.choice((1, 4, 16, 64, 512, 4096)))
