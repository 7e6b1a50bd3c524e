"""The form of the configuration file: one pydantic table for each TOML table, with every default.

Relative paths count from the file's directory, secrets given by bare name are looked for in
$CREDENTIALS_DIRECTORY first.
"""

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from ingestd.domain.retry import RetryPolicy
from ingestd.domain.routing import Pages, Repeat, Route
from ingestd.settings import (
    MEGABYTE,
    ConcurImageV1Settings,
    FolderSettings,
    LogSettings,
    PreparationSettings,
    Secret,
    Settings,
    StorageSettings,
    UploadSettings,
)

LEAST_MEMORY_BYTES = 768 * MEGABYTE
"""Half of it is the address space of the libraries, before a document is there."""
LEAST_MEMORY_ONCE_BYTES = 256 * MEGABYTE
"""What was enough before the libraries came; a file that says so still starts, with LEAST_MEMORY_BYTES."""
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


PathText = Annotated[str, BeforeValidator(_path)]
Size = Annotated[int, BeforeValidator(_size)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Polling = Annotated[bool | Literal["auto"], BeforeValidator(_polling)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Positive = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Storage(_Table):
    directory: PathText | None = None
    ledger: str | None = None
    keep: Duration = timedelta(days=90)
    max_size: Size | None = None
    min_free: Size = 200 * MEGABYTE

    def settings(self, base: Path) -> StorageSettings:
        state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        directory = base / self.directory if self.directory else Path(state or "ingestd-data").absolute()
        return StorageSettings(
            directory=directory,
            ledger=self.ledger,
            keep=self.keep,
            max_size=self.max_size,
            min_free=self.min_free,
        )


class _Uploads(_Table):
    workers: Annotated[int, Field(ge=1, le=256)] = 8
    grace: Duration = timedelta(seconds=30)


class _Preparation(_Table):
    inspect: Literal["light", "full"] = "full"
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    memory: Size = 1500 * MEGABYTE
    cpu: Duration = timedelta(seconds=30)
    wall: Duration = timedelta(seconds=60)
    max_pixels: Positive = 100_000_000
    strip_location: bool = True
    passwords_file: PathText | None = None
    near_duplicates: Literal["off", "warn", "hold"] = "warn"
    near_duplicate_window: Duration = timedelta(days=90)

    def settings(self, base: Path) -> PreparationSettings:
        passwords = _secret_path(self.passwords_file, base)
        enough = self.memory >= LEAST_MEMORY_ONCE_BYTES
        memory = max(self.memory, LEAST_MEMORY_BYTES) if enough else self.memory
        return PreparationSettings(**{**self.model_dump(), "passwords_file": passwords, "memory": memory})


class _Log(_Table):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class _Retry(_Table):
    first: Duration = timedelta(seconds=2)
    ceiling: Duration = timedelta(minutes=15)
    unavailable: Duration = timedelta(minutes=5)
    attempts: Positive = 12


class _Account(_Table):
    token_file: PathText | None = None


class _Target(_Table):
    kind: Literal["concur-image-v1"]
    url: str
    authorization: Literal["Bearer", "OAuth"] = "Bearer"
    token_file: PathText | None = None
    on_unconfirmed: Literal["hold", "retry"] = "hold"
    timeout: Duration = timedelta(seconds=60)
    max_bytes: Size = 10 * MEGABYTE
    max_pages: Positive = 200
    retry: _Retry = Field(default_factory=_Retry)
    accounts: dict[Name, _Account] = Field(default_factory=dict)

    def settings(self, name: str, base: Path) -> ConcurImageV1Settings:
        return ConcurImageV1Settings(
            name=name,
            url=self.url.rstrip("/"),
            authorization=self.authorization,
            token=_secret(self.token_file, base, name),
            accounts={a: _secret(t.token_file, base, name, a) for a, t in self.accounts.items()},
            on_unconfirmed=self.on_unconfirmed,
            timeout=self.timeout,
            max_bytes=self.max_bytes,
            max_pages=self.max_pages,
            retry=RetryPolicy(**self.retry.model_dump()),
        )


class _Folder(_Table):
    name: Name
    path: PathText
    settle: Duration = timedelta(seconds=2)
    settle_incomplete: Duration = timedelta(seconds=10)
    group_quiet: Duration = timedelta(seconds=10)
    rescan: Duration = timedelta(seconds=60)
    polling: Polling = "auto"
    recursive: bool = True
    max_size: Size = 200 * MEGABYTE
    uploaded: bool = True
    rejected: bool = True
    keep_uploaded: Duration = timedelta(days=30)

    def settings(self, base: Path) -> FolderSettings:
        return FolderSettings(**{**self.model_dump(), "path": base / self.path})


class _Route(_Table):
    send: str
    source: str | None = None
    path: str | None = None
    filename: str | None = None
    from_: str | None = Field(default=None, alias="from")
    address: str | None = None
    subject: str | None = None
    as_: Name | None = Field(default=None, alias="as")
    repeat: Literal["sighting", "upload"] = "sighting"
    pages: Literal["merge", "separate"] | None = None
    passwords_file: PathText | None = None

    def settings(self, base: Path) -> Route:
        patterns = {
            "source": self.source,
            "path": self.path,
            "filename": self.filename,
            "from": self.from_,
            "address": self.address,
            "subject": self.subject,
        }
        return Route(
            send=self.send,
            patterns={name: pattern for name, pattern in patterns.items() if pattern is not None},
            account=self.as_,
            repeat=Repeat(self.repeat),
            pages=None if self.pages is None else Pages(self.pages),
            passwords_file=_secret_path(self.passwords_file, base),
        )


class File(_Table):
    storage: _Storage = Field(default_factory=_Storage)
    uploads: _Uploads = Field(default_factory=_Uploads)
    preparation: _Preparation = Field(default_factory=_Preparation)
    log: _Log = Field(default_factory=_Log)
    targets: dict[Name, _Target] = Field(default_factory=dict)
    folders: list[_Folder] = Field(default_factory=list)
    routes: list[_Route] = Field(default_factory=list)

    def settings(self, base: Path) -> Settings:
        return Settings(
            storage=self.storage.settings(base),
            uploads=UploadSettings(**self.uploads.model_dump()),
            preparation=self.preparation.settings(base),
            log=LogSettings(**self.log.model_dump()),
            targets={name: target.settings(name, base) for name, target in self.targets.items()},
            folders=tuple(folder.settings(base) for folder in self.folders),
            routes=tuple(route.settings(base) for route in self.routes),
        )


def _secret(given: str | None, base: Path, *names: str) -> Secret:
    """A file by path or credential name; without one, INGESTD_<TARGET>[_<ACCOUNT>]_TOKEN."""
    if given is None:
        return Secret(environment="_".join(["INGESTD", *names, "TOKEN"]).upper().replace("-", "_"))
    return Secret(file=_secret_path(given, base))


def _secret_path(given: str | None, base: Path) -> Path | None:
    if given is None:
        return None
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and "/" not in given and (Path(credentials) / given).exists():
        return Path(credentials) / given
    return base / given


def known_keys(location: Sequence[str | int]) -> list[str]:
    """The keys of the table that an unknown key was found in; `location` is pydantic's, the key last."""
    table: type[BaseModel] = File
    for part in location[:-1]:
        field = table.model_fields.get(str(part))
        inner = [*get_args(field.annotation), field.annotation] if field is not None else []
        table = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), table)
    return [field.alias or name for name, field in table.model_fields.items()]
