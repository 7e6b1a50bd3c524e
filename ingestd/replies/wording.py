"""The words and the layout of an answer: templates of the package, each replaced by one of the same name in a
directory of the operator's own.

string.Template and nothing that can run code. Every template is checked when it is loaded: a mistyped
placeholder is a mistake in the configuration, never a lost answer.
"""

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Self

from ingestd.domain.errors import ConfigurationError

WORDS = "words.toml"
FRAMES = ("answer.txt", "section.txt", "entry.txt", "answer.html", "section.html", "entry.html")
_PLACEHOLDERS = {
    "answer": frozenset({"headline", "sections", "more", "footer", "space"}),
    "section": frozenset({"heading", "advice", "entries", "colour"}),
    "entry": frozenset({"title", "lines"}),
}
LARGEST_TEMPLATE_BYTES = 100_000


class Wording:
    """Sentences by their dotted key in words.toml, and frames by file name."""

    def __init__(self, sentences: Mapping[str, Template], frames: Mapping[str, Template]) -> None:
        self._sentences = sentences
        self._frames = frames

    @classmethod
    def load(cls, directory: Path | None = None) -> Self:
        """The package's own, with those of `directory` in their place.

        Raises ConfigurationError, with every problem of every file.
        """
        built_in = resources.files(__package__) / "templates"
        sentences = dict(_sentences((built_in / WORDS).read_text("utf-8")))
        frames = {name: Template((built_in / name).read_text("utf-8")) for name in FRAMES}
        problems: list[str] = []
        if directory is not None:
            if not directory.is_dir():
                raise ConfigurationError([f"There is no directory {directory} to take templates from."])
            problems += _replace_sentences(sentences, directory / WORDS)
            for name in FRAMES:
                problems += _replace_frame(frames, directory / name)
        if problems:
            raise ConfigurationError(problems)
        return cls(sentences, frames)

    def say(self, key: str, /, **values: object) -> str:
        return self._sentences[key].substitute(values)

    def knows(self, key: str) -> bool:
        return key in self._sentences

    def frame(self, name: str, /, **values: str) -> str:
        """The values are put in as they stand: of an .html frame they must be markup already."""
        return self._frames[name].substitute(values)


def _sentences(text: str) -> Iterator[tuple[str, Template]]:
    """Every string of a TOML document by its dotted key. Raises ValueError for what is no string or table."""
    tables: list[tuple[str, Mapping[str, object]]] = [("", tomllib.loads(text))]
    while tables:
        prefix, table = tables.pop()
        for key, value in table.items():
            match value:
                case str():
                    yield prefix + key, Template(value)
                case dict():
                    tables.append((f"{prefix}{key}.", value))
                case _:
                    raise ValueError(f"{prefix}{key} must be a text in quotes")


def _replace_sentences(sentences: dict[str, Template], path: Path) -> Iterator[str]:
    text, problem = _read(path)
    if text is None:
        yield from problem
        return
    try:
        found = dict(_sentences(text))
    except ValueError as error:  # tomllib.TOMLDecodeError is one
        yield f"{path}: {error}."
        return
    for key, template in found.items():
        if key not in sentences:
            yield f"{path}: there is no sentence {key!r}; the file that comes with ingestd has all of them."
        else:
            yield from _misused(template, frozenset(sentences[key].get_identifiers()), f"{path}: {key}")
            sentences[key] = template


def _replace_frame(frames: dict[str, Template], path: Path) -> Iterator[str]:
    text, problem = _read(path)
    if text is None:
        yield from problem
        return
    frames[path.name] = Template(text)
    yield from _misused(frames[path.name], _PLACEHOLDERS[path.stem], str(path))


def _read(path: Path) -> tuple[str | None, list[str]]:
    try:
        if path.stat().st_size > LARGEST_TEMPLATE_BYTES:
            return None, [
                f"{path} is larger than {LARGEST_TEMPLATE_BYTES} bytes; a template is a short text."
            ]
        return path.read_text("utf-8"), []
    except FileNotFoundError:
        return None, []
    except UnicodeDecodeError:
        return None, [f"{path} is not written in UTF-8; save it as UTF-8."]
    except OSError as error:
        return None, [f"{path} can't be read: {error.strerror}."]


def _misused(template: Template, known: frozenset[str], where: str) -> Iterator[str]:
    if not template.is_valid():
        yield f"{where}: a $ that begins no ${{name}}; write a dollar sign as $$."
        return
    for name in sorted(set(template.get_identifiers()) - known):
        names = ", ".join(sorted(known)) or "none"
        yield f"{where}: there is no ${{{name}}} here; possible: {names}."
