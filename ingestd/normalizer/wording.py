"""Numbers in sentences: `{size:up} MB` says megabytes, `{limit:million}` millions, `{page}` the number.

The numbers come from an untrusted answer; one that it left out is shown as a question mark.
"""

from collections.abc import Mapping

MEGABYTE = 1_000_000


def filled_in(sentence: str, numbers: Mapping[str, int]) -> str:
    """The sentence with its numbers."""
    return sentence.format_map(_Numbers(numbers))


def megabytes(size_bytes: int, *, up: bool) -> str:
    """With one decimal where it says something; rounded so that a file over the limit reads as over it."""
    if size_bytes < MEGABYTE:
        return f"{size_bytes / MEGABYTE:.3f}"
    tenths = -(-size_bytes * 10 // MEGABYTE) if up else size_bytes * 10 // MEGABYTE
    return f"{tenths / 10:.1f}".removesuffix(".0")


class _Numbers(dict[str, "_Number"]):
    def __init__(self, numbers: Mapping[str, int]) -> None:
        super().__init__({name: _Number(value) for name, value in numbers.items()})

    def __missing__(self, name: str) -> "_Number":
        return _Number(None)


class _Number:
    def __init__(self, value: int | None) -> None:
        self._value = value

    def __format__(self, spec: str) -> str:
        if self._value is None:
            return "?"
        match spec:
            case "up" | "down":
                return megabytes(self._value, up=spec == "up")
            case "million":
                return f"{self._value // MEGABYTE:,}"
            case _:
                return format(self._value, spec)
