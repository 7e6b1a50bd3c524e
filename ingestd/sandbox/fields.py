"""Reading the JSON documents that people PUT: every complaint names the key and what it takes."""

from collections.abc import Collection, Mapping
from typing import Any


class InvalidPlan(ValueError):
    """The document can't be followed; the text names the key and what it takes."""


def mapping(value: Any, where: str, keys: Collection[str]) -> Mapping[str, Any]:
    """A JSON object with none but these keys."""
    if not isinstance(value, dict):
        raise InvalidPlan(f"{where} must be a JSON object with the keys {', '.join(sorted(keys))}")
    unknown = sorted(set(value) - set(keys))
    if unknown:
        raise InvalidPlan(f"{where}: unknown key {unknown[0]!r}; it takes {', '.join(sorted(keys))}")
    return value


def whole_number(fields: Mapping[str, Any], key: str, where: str, *, default: int | None) -> int | None:
    """From 0 on; null is the default."""
    value = fields.get(key)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise InvalidPlan(f'{where}: "{key}" must be a whole number from 0 on, not {value!r}')
    return value


def number(
    fields: Mapping[str, Any], key: str, where: str, least: float, most: float, *, default: float | None
) -> float:
    """Within its limits; without a default it must be there."""
    value = fields.get(key, default)
    if type(value) not in (int, float) or not least <= value <= most:
        prefix = f"{where}: " if where else ""
        raise InvalidPlan(f'{prefix}"{key}" must be a number from {least:g} to {most:g}, not {value!r}')
    return float(value)
