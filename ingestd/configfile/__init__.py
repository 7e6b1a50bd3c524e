"""The configuration file: TOML to Settings. Unknown keys are errors, and all problems are shown at once,
each with its key path and what to do.

`tables` and `mail_tables` give the form (pydantic), `contradictions` and `mail_contradictions` the checks
that need two keys, `cautions` what works and is unwise.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ingestd.configfile.cautions import cautions
from ingestd.configfile.contradictions import contradictions
from ingestd.configfile.tables import File, known_keys
from ingestd.domain.errors import ConfigurationError
from ingestd.settings import Settings

__all__ = ["SEARCH_PATH", "cautions", "find_configuration", "load_configuration", "parse_configuration"]

SEARCH_PATH = ("ingestd.toml", "/etc/ingestd/ingestd.toml")


def find_configuration(given: Path | None) -> Path:
    """The file to use: --config, $INGESTD_CONFIG, ./ingestd.toml, /etc/ingestd/ingestd.toml.

    Raises ConfigurationError when there is none.
    """
    named = given or (Path(os.environ["INGESTD_CONFIG"]) if os.environ.get("INGESTD_CONFIG") else None)
    if named is not None:
        return named
    for candidate in map(Path, SEARCH_PATH):
        if candidate.exists():
            return candidate
    raise ConfigurationError(
        [
            "no configuration found: there is no ./ingestd.toml and no /etc/ingestd/ingestd.toml. "
            "Name one with --config FILE or $INGESTD_CONFIG; `ingestd demo` needs none."
        ]
    )


def load_configuration(path: Path) -> Settings:
    """Reads and checks a configuration file. Raises ConfigurationError listing every problem."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError([f"{path}: there is no such file"]) from None
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: is not valid TOML: {error}"]) from None
    return parse_configuration(data, base=path.resolve().parent, origin=str(path))


def parse_configuration(data: Mapping[str, Any], *, base: Path, origin: str) -> Settings:
    """The settings of a parsed TOML document; `origin` begins every message."""
    try:
        file = File.model_validate(data)
    except ValidationError as error:
        problems = [_problem(dict(e)) for e in error.errors(include_url=False)]
        raise ConfigurationError([f"{origin}: {problem}" for problem in problems]) from None
    settings = file.settings(base)
    problems = list(contradictions(settings))
    if problems:
        raise ConfigurationError([f"{origin}: {problem}" for problem in problems])
    return settings


def _problem(error: Mapping[str, Any]) -> str:
    """One pydantic error as: key path: what is wrong and what to write."""
    path = ""
    for part in error["loc"]:
        path += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if path else str(part)
    path = path.removesuffix(".[key]")
    kind, message = error["type"], str(error["msg"]).removeprefix("Input ").removeprefix("Value error, ")
    match kind:
        case "extra_forbidden":
            return f"{path}: there is no such key here; the keys are: {', '.join(known_keys(error['loc']))}"
        case "missing":
            return f"{path}: is missing"
        case "string_pattern_mismatch":
            return f"{path}: {error['input']!r} is no name; use letters, digits, - and _, at most 64"
        case "value_error" if isinstance(error["input"], dict):
            # Of a whole table: it begins with the key, and the table as it was written would be long.
            return f"{path}.{message}"
        case _:
            return f"{path}: {message.replace('should be', 'must be')} (found {_shown(error['input'])})"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
