"""Entries of PDF dictionaries, read with their type: what has another, or can't be read, is absent."""

from collections.abc import Sequence

from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, NumberObject

from ingestd.normalizer.pdf import forgiving, resolved


def dictionary(value: object) -> DictionaryObject | None:
    """The one that `value` is or refers to."""
    target = forgiving(value.get_object) if isinstance(value, IndirectObject) else value
    return target if isinstance(target, DictionaryObject) else None


def array(value: object) -> Sequence[object]:
    """The items as they stand, references not followed; none where `value` is no array."""
    target = forgiving(value.get_object) if isinstance(value, IndirectObject) else value
    return list(list.__iter__(target)) if isinstance(target, ArrayObject) else ()


def integer(value: object) -> int:
    """0 for everything that is no number."""
    target = resolved(value)
    return int(target) if isinstance(target, NumberObject) else 0


def numbers(value: object, count: int) -> tuple[float, ...] | None:
    """Exactly `count` of them, none absurdly large: a rectangle, a matrix, a colour."""
    items = [resolved(item) for item in array(value)]
    if len(items) != count or not all(isinstance(item, int | float) for item in items):
        return None
    found = tuple(float(item) for item in items if isinstance(item, int | float))
    return found if all(abs(number) < 1e6 for number in found) else None
