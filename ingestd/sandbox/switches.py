"""The switches: how the sandbox behaves where Concur's documents are silent, disagree or leave a choice.

Each field says what it takes; the JSON of GET and PUT /_sandbox/faults is made of nothing else.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingestd.sandbox import fields


@dataclass(frozen=True, slots=True)
class Pace:
    """At most so many requests within any `seconds`."""

    requests: int
    seconds: float


class _Accepts(Protocol):
    @property
    def shown(self) -> list[Any] | str:
        """For the person who asks: the values, or a phrase for them."""
        ...

    def takes(self, value: Any) -> bool: ...


@dataclass(frozen=True, slots=True)
class _OneOf:
    values: tuple[Any, ...]

    @property
    def shown(self) -> list[Any]:
        return list(self.values)

    def takes(self, value: Any) -> bool:
        return any(type(value) is type(each) and value == each for each in self.values)


@dataclass(frozen=True, slots=True)
class _Number:
    """A number within its limits, or one of some words."""

    least: float
    most: float
    words: tuple[str | None, ...] = ()
    whole: bool = False

    @property
    def shown(self) -> str:
        words = "".join(f"{_spoken(word)} or " for word in self.words)
        return f"{words}a {'whole ' if self.whole else ''}number from {self.least:.12g} to {self.most:.12g}"

    def takes(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return value in self.words
        kinds = (int,) if self.whole else (int, float)
        return type(value) in kinds and self.least <= value <= self.most


@dataclass(frozen=True, slots=True)
class _PaceText:
    @property
    def shown(self) -> str:
        return 'null or "REQUESTS/SECONDS"'

    def takes(self, value: Any) -> bool:
        return value is None or (isinstance(value, str) and pace(value) is not None)


@dataclass(frozen=True, slots=True)
class _Base:
    """Where an answer sends its reader: a word, or a URL without a path."""

    words: tuple[str, ...]

    @property
    def shown(self) -> str:
        return f"{', '.join(self.words)} or the base URL of another sandbox"

    def takes(self, value: Any) -> bool:
        return value in self.words or (
            isinstance(value, str) and re.fullmatch(r"https?://[^\s/?#]+", value) is not None
        )


_LIFE = _Number(0, 400 * 86_400)
_RETRY_AFTER = _Number(0, 86_400, ("absent", "honest"), whole=True)


def _one_of(means: str, *values: Any) -> Any:
    """The first is the default."""
    return field(default=values[0], metadata={"accepts": _OneOf(values), "means": means})


def _any_of(means: str, accepts: _Accepts, default: Any) -> Any:
    return field(default=default, metadata={"accepts": accepts, "means": means})


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """The status codes first; then limits, logins, and reading back. Each says itself what it means."""

    bad_token: int = _one_of("a token that is invalid, expired or revoked", 403, 401)
    wrong_type: int = _one_of("a Content-Type that is not taken", 400, 415)
    too_large: int = _one_of("more than 10 MB", 400, 413)
    no_length: int = _one_of("chunked, or without Content-Length", 400, 411)
    unknown_id: int = _one_of("an ID that does not exist", 404, 400)
    slot_taken: int = _one_of(
        "a second image for an entry or invoice; 200 and 201 keep the first", 400, 409, 200, 201
    )

    rate: str | None = _any_of(
        "at most so many requests of the image API, in any such time", _PaceText(), None
    )
    rate_per: str = _one_of("counted for each token, or over all", "token", "all")
    rate_status: int = _one_of("above the rate; 400 in the words of the request limit", 429, 400)
    retry_after: str | int = _any_of("the header of these 429", _RETRY_AFTER, "absent")
    capacity: int | None = _any_of(
        "so many uploads at once are borne; more take longer in proportion, twice as many get 429",
        _Number(1, 10_000, (None,), whole=True),
        None,
    )
    capacity_seconds: float = _any_of("how long each of so many takes", _Number(0, 600), 1.0)

    token_rate: str | None = _any_of("as rate, of the token endpoint, for each client", _PaceText(), None)
    token_seconds: float = _any_of("the life of an access token", _LIFE, 3600)
    refresh_seconds: float = _any_of("the life of a refresh token", _LIFE, 180 * 86_400)
    rotation: bool = _one_of("a refresh brings a new refresh token", True, False)
    old_refresh_token: str = _one_of("what rotation does to the old one", "dies", "lives")
    expires_in: str = _one_of("how a token answer writes it", "number", "text")
    geolocation: str = _any_of(
        "the base of all later calls, in a token answer; path: with the path of the token endpoint",
        _Base(("own", "none", "path", "foreign")),
        "own",
    )
    token_error: int = _one_of("an error of the token endpoint", 400, 401, 403)

    url_origin: str = _one_of(
        "where files lie: here, on another port, on another address", "same", "port", "host"
    )
    processing_seconds: float = _any_of("so long an image that was taken is not shown", _Number(0, 86_400), 0)
    processing: str = _one_of("what a look-up says until then", "404", "no-url")
    converts: str = _one_of(
        "how images come back: as they went, as a PDF, as another JPEG", "no", "pdf", "recompressed"
    )

    @classmethod
    def choices(cls) -> dict[str, list[Any] | str]:
        """What each takes: a list of values, the default first, or a phrase."""
        return {name: accepts.shown for name, accepts in _accepted().items()}

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """A phrase for each."""
        return {each.name: each.metadata["means"] for each in dataclasses.fields(cls)}

    def changed(self, values: Mapping[str, Any]) -> "Switches":
        return dataclasses.replace(self, **values) if values else self

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def read(value: Any, where: str = "switches") -> dict[str, Any]:
    """The values of a decoded JSON object, each one it takes. Raises InvalidPlan."""
    accepted = _accepted()
    given = fields.mapping(value, where, accepted.keys())
    for name, each in given.items():
        if not accepted[name].takes(each):
            shown = accepted[name].shown
            allowed = shown if isinstance(shown, str) else " or ".join(map(_spoken, shown))
            raise fields.InvalidPlan(f'{where}: "{name}" must be {allowed}, not {each!r}')
    return dict(given)


@functools.lru_cache(maxsize=64)
def pace(text: str) -> Pace | None:
    """Ten requests a second are "10/1". None: it is not written so."""
    found = re.fullmatch(r"(\d{1,5})/(\d{1,4}(?:\.\d{1,3})?)", text, re.ASCII)
    if found is None or not int(found[1]) or not float(found[2]):
        return None
    return Pace(int(found[1]), float(found[2]))


@functools.cache
def _accepted() -> Mapping[str, _Accepts]:
    return {each.name: each.metadata["accepts"] for each in dataclasses.fields(Switches)}


def _spoken(value: Any) -> str:
    """As JSON writes it, words without their quotes."""
    return value if isinstance(value, str) else json.dumps(value)
