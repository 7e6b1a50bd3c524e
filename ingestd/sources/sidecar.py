"""Sidecars: NAME.EXT.json (or NAME.json beside a single NAME.*, or beside the pages NAME_p1.*, NAME_p2.*)
says where the file goes and what it is.

    {"to": "concur:report/123", "note": "Taxi to the airport", "date": "2026-11-21"}

Its bytes are as untrusted as any others. Instructions that can't be followed hold the receipt: it is never
sent to a place its sender did not mean.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingestd.domain.routing import Destined, InvalidSlot
from ingestd.sources.filesystem import Directory, open_regular

SUFFIX = ".json"
MAX_BYTES = 64 * 1024
MAX_FIELDS = 50
MAX_VALUE_LENGTH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What a sidecar asks for; `hold` is a sentence saying why it can't be followed."""

    to: Destined | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    hold: str | None = None


def is_sidecar_name(name: str) -> bool:
    return name.lower().endswith(SUFFIX)


def stem(name: str) -> str:
    """NAME of NAME.EXT."""
    return name.rpartition(".")[0] or name


def read_sidecar(directory: Directory, name: str) -> Instructions:
    """Raises OSError when it can't be read."""
    with os.fdopen(open_regular(directory, name), "rb") as stream:
        return parse_sidecar(stream.read(MAX_BYTES + 1), name)


def parse_sidecar(data: bytes, name: str) -> Instructions:
    if len(data) > MAX_BYTES:
        return _hold(name, f"is larger than {MAX_BYTES // 1024} KB")
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return _hold(name, "is not valid JSON")
    if not isinstance(found, dict):
        return _hold(name, 'is not a JSON object like {"to": "concur:report/123"}')
    fields = _text_fields(found)
    if "to" not in found:
        return Instructions(fields=fields)
    to = found["to"]
    try:
        return Instructions(to=Destined.parse(to if isinstance(to, str) else json.dumps(to)), fields=fields)
    except InvalidSlot as error:
        return Instructions(fields=fields, hold=_hold(name, f'has a "to" that is no slot: {error}').hold)


def merge(told: Sequence[Instructions]) -> Instructions:
    """What several sidecars ask for one receipt: of a field the first value, of a place the only one."""
    fields: dict[str, str] = {}
    for instructions in told:
        fields = {**instructions.fields, **fields}
    places = {str(instructions.to): instructions.to for instructions in told if instructions.to is not None}
    holds = [instructions.hold for instructions in told if instructions.hold is not None]
    if len(places) > 1:
        named = " and ".join(sorted(places))
        holds.append(
            f"The files that belong together have instructions for different places: {named}. Give them one "
            "place, or drop them one after the other under names that do not belong together."
        )
    hold = holds[0] if holds else None
    to = None if hold is not None else next(iter(places.values()), None)
    return Instructions(to=to, fields=dict(list(fields.items())[:MAX_FIELDS]), hold=hold)


def _text_fields(found: Mapping[str, object]) -> dict[str, str]:
    """The string values: at most MAX_FIELDS, no lone surrogates or control characters a ledger can't hold."""
    texts = [(_clean(k), _clean(v)) for k, v in found.items() if isinstance(v, str) and k != "to"]
    return {k[:64]: v[:MAX_VALUE_LENGTH] for k, v in texts[:MAX_FIELDS]}


def _clean(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in whole if c in "\t\n" or c >= " ")


def _hold(name: str, problem: str) -> Instructions:
    return Instructions(hold=f"The instructions in {_clean(name)!r} can't be followed: the file {problem}.")
