"""What may stand behind a key: sizes, durations, names, secrets; each says what to write instead.

Relative paths count from the file's directory, secrets given by bare name are looked for in
$CREDENTIALS_DIRECTORY first.
"""

import os
import re
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, StringConstraints

from ingestd.domain.rules import Rate
from ingestd.settings import Flood, Secret

LONGEST_DURATION = timedelta(days=3650)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?")
_SIZE_UNITS = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _size(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return round(float(match[1]) * _SIZE_UNITS[match[2] or "B"])
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError('write a size like "10MB", "512KiB" or a number of bytes')


def parse_duration(value: object) -> timedelta:
    """Raises ValueError with what to write instead."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _DURATION_UNITS[match[2]]
        if seconds > LONGEST_DURATION.total_seconds():
            raise ValueError("is longer than ten years")
        return timedelta(seconds=seconds)
    raise ValueError('write a duration like "2s", "15m", "1h" or "90d"')


def _polling(value: object) -> object:
    if isinstance(value, bool) or value == "auto":
        return value
    raise ValueError('write true, false or "auto"')


def _path(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("is no path")
    return value


def _line(value: object) -> object:
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("is empty; write a text, or leave the key out")
        if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") for c in value):
            raise ValueError("holds a control character; write plain text on one line")
    return value


def _authserv_id(value: object) -> object:
    # Exchange Online begins its field with the first result: its name is empty.
    return value if value == "" else _line(value)


def _host(value: object) -> object:
    # A mistake of a copied URL or "host:port"; an IPv6 address has more than one colon.
    if isinstance(value, str) and (re.search(r"[\s/@\[\]]", value) or value.count(":") == 1 or not value):
        raise ValueError("must be a host name alone, like imap.example.com; the port has its own key")
    return _line(value)


def _flood(value: object) -> object:
    if isinstance(value, str) and (match := _FLOOD.fullmatch(value.strip())):
        messages, within = int(match[1]), parse_duration(match[2])
        if messages and within:
            return Flood(messages=messages, within=within)
    raise ValueError('write at most so many messages in a time, like "500/1h" or "20/10m"')


def _rate(value: object) -> object:
    if isinstance(value, str) and (match := _FLOOD.fullmatch(value.strip())):
        requests, within = int(match[1]), parse_duration(match[2])
        if requests and within:
            return Rate(requests=requests, within=within)
    raise ValueError('write at most so many requests in a time, like "120/5m" or "10/1s"')


_FLOOD = re.compile(r"(\d{1,9})\s*/\s*(.+)")

PathText = Annotated[str, BeforeValidator(_path)]
Size = Annotated[int, BeforeValidator(_size)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Polling = Annotated[bool | Literal["auto"], BeforeValidator(_polling)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Positive = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Line = Annotated[str, BeforeValidator(_line)]
"""Text that goes into one line of a protocol: not empty, no control characters."""
Host = Annotated[str, BeforeValidator(_host)]
AuthservId = Annotated[str, BeforeValidator(_authserv_id)]
"""With what a server begins its Authentication-Results; empty for one that names itself nowhere."""
RequestRate = Annotated[InstanceOf[Rate], BeforeValidator(_rate)]
FloodText = Annotated[InstanceOf[Flood], BeforeValidator(_flood)]


class Table(BaseModel):
    """A TOML table: unknown keys are errors, and nothing is converted by guessing."""

    model_config = ConfigDict(extra="forbid", strict=True)


def secret(given: str | None, base: Path, *names: str, kind: str) -> Secret:
    """A file by path or credential name; without one, the environment variable INGESTD_<NAMES>_<KIND>."""
    if given is None:
        return Secret(environment=secret_variable(*names, kind=kind))
    return Secret(file=secret_path(given, base))


def optional_secret(
    given: str | None, base: Path, *names: str, kind: str, needed: bool = False
) -> Secret | None:
    """From its file, else from its environment variable where that is set, or the secret is needed."""
    if given is not None:
        return Secret(file=secret_path(given, base))
    variable = secret_variable(*names, kind=kind)
    return Secret(environment=variable) if needed or variable in os.environ else None


def secret_variable(*names: str, kind: str) -> str:
    return "_".join(["INGESTD", *names, kind]).upper().replace("-", "_")


def secret_path(given: str | None, base: Path) -> Path | None:
    if given is None:
        return None
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and "/" not in given and (Path(credentials) / given).exists():
        return Path(credentials) / given
    return base / given
