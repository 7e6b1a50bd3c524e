"""The form of the configuration file: one pydantic table for each TOML table, with every default.

`values` says what may stand behind a key; the tables of mail are in `mail_tables`.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ingestd.configfile.alert_tables import Alerts, Metrics
from ingestd.configfile.login_tables import TargetOAuth
from ingestd.configfile.mail_tables import Mailbox, People, Smtp
from ingestd.configfile.values import (
    Duration,
    Name,
    PathText,
    Polling,
    Positive,
    RequestRate,
    Size,
    Table,
    parse_duration,
    secret,
    secret_path,
)
from ingestd.domain.retry import RetryPolicy
from ingestd.domain.routing import Pages, Repeat, Route
from ingestd.domain.rules import GatePolicy, TargetRules
from ingestd.settings import (
    MEGABYTE,
    ConcurImageV1Settings,
    FolderSettings,
    LogSettings,
    OAuthSettings,
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


def _window(value: object) -> object:
    if parse_duration(value) <= timedelta():
        raise ValueError('nothing lies within no time; write a duration, or near_duplicates = "off"')
    return value


LONGEST_WINDOW = timedelta(days=90)
"""How far back look-alikes are looked for, unless originals are kept for a shorter time."""


class _Storage(Table):
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


class _Uploads(Table):
    workers: Annotated[int, Field(ge=1, le=256)] = 8
    grace: Duration = timedelta(seconds=30)


class _Preparation(Table):
    inspect: Literal["light", "full"] = "full"
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    memory: Size = 1500 * MEGABYTE
    cpu: Duration = timedelta(seconds=30)
    wall: Duration = timedelta(seconds=60)
    max_pixels: Positive = 100_000_000
    strip_location: bool = True
    passwords_file: PathText | None = None
    near_duplicates: Literal["off", "warn", "hold"] = "warn"
    near_duplicate_window: Annotated[Duration | None, BeforeValidator(_window)] = None

    def settings(self, base: Path, *, keep: timedelta) -> PreparationSettings:
        """`keep`: how long originals are kept; beyond it there is nothing to compare with."""
        enough = self.memory >= LEAST_MEMORY_ONCE_BYTES
        known = {
            "passwords_file": secret_path(self.passwords_file, base),
            "memory": max(self.memory, LEAST_MEMORY_BYTES) if enough else self.memory,
            "near_duplicate_window": self.near_duplicate_window or min(LONGEST_WINDOW, keep),
        }
        return PreparationSettings(**{**self.model_dump(), **known})


class _Log(Table):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class _Retry(Table):
    first: Duration = timedelta(seconds=2)
    ceiling: Duration = timedelta(minutes=15)
    unavailable: Duration = timedelta(minutes=5)
    attempts: Positive = 12
    max_age: Duration = timedelta(days=14)


class _Gate(Table):
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = None
    adaptive: bool = True
    rate: RequestRate | None = None


class _Account(Table):
    token_file: PathText | None = None
    oauth: TargetOAuth | None = None

    @model_validator(mode="after")
    def _has_one_login(self) -> "_Account":
        if self.token_file is not None and self.oauth is not None:
            raise ValueError("token_file: there is an oauth table, too; keep one of them")
        return self


class _Target(Table):
    kind: Literal["concur-image-v1"]
    url: str
    authorization: Literal["Bearer", "OAuth"] = "Bearer"
    token_file: PathText | None = None
    oauth: TargetOAuth | None = None
    on_unconfirmed: Literal["hold", "retry"] = "hold"
    ask_first: bool = True
    not_there_after: Duration = timedelta(minutes=5)
    look_up_for: Duration = timedelta(days=1)
    verify: bool = False
    timeout: Duration = timedelta(seconds=60)
    max_bytes: Size = 10 * MEGABYTE
    max_pages: Positive = 200
    retry: _Retry = Field(default_factory=_Retry)
    gate: _Gate = Field(default_factory=_Gate)
    accounts: dict[Name, _Account] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_one_login(self) -> "_Target":
        if self.token_file is not None and self.oauth is not None:
            raise ValueError("token_file: there is an oauth table, too; keep one of them")
        if self.oauth is not None and self.oauth.client_id is None:
            raise ValueError("oauth.client_id: is missing; write the ID of the application in SAP Concur")
        for name, account in self.accounts.items():
            if account.oauth is not None and account.oauth.of_person(self.oauth).client_id is None:
                raise ValueError(
                    f"accounts.{name}.oauth.client_id: is missing, and there is no oauth table of the target "
                    "to take it from; write the ID of the application in SAP Concur"
                )
        return self

    def settings(self, name: str, base: Path, storage: Path) -> ConcurImageV1Settings:
        url = self.url.rstrip("/")
        oauth = None
        if self.oauth is not None:
            oauth = self.oauth.settings(base, storage, url=url, target=name)
        return ConcurImageV1Settings(
            name=name,
            url=url,
            authorization=self.authorization,
            token=None if oauth else secret(self.token_file, base, name, kind="TOKEN"),
            oauth=oauth,
            accounts={
                person: self._login_of(person, account, oauth, name, base, storage)
                for person, account in self.accounts.items()
            },
            timeout=self.timeout,
            max_bytes=self.max_bytes,
            max_pages=self.max_pages,
            rules=self._rules(),
        )

    def _login_of(
        self,
        person: str,
        account: _Account,
        target: OAuthSettings | None,
        name: str,
        base: Path,
        storage: Path,
    ) -> Secret | OAuthSettings:
        """`target`: the login of the target itself, whose client it is unless the account names another."""
        if account.oauth is None:
            return secret(account.token_file, base, name, person, kind="TOKEN")
        shared = None
        if target is not None and account.oauth.client_id in (None, target.client_id):
            shared = target.client_secret
        return account.oauth.of_person(self.oauth).settings(
            base,
            storage,
            url=self.url.rstrip("/"),
            target=name,
            account=person,
            client_secret=shared,
        )

    def _rules(self) -> TargetRules:
        return TargetRules(
            retry=RetryPolicy(**self.retry.model_dump()),
            gate=GatePolicy(
                concurrency=self.gate.concurrency, adaptive=self.gate.adaptive, rate=self.gate.rate
            ),
            on_unconfirmed=self.on_unconfirmed,
            ask_first=self.ask_first,
            not_there_after=self.not_there_after,
            look_up_for=self.look_up_for,
            verify=self.verify,
        )


class _Folder(Table):
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


class _Route(Table):
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
            passwords_file=secret_path(self.passwords_file, base),
        )


class File(Table):
    storage: _Storage = Field(default_factory=_Storage)
    uploads: _Uploads = Field(default_factory=_Uploads)
    preparation: _Preparation = Field(default_factory=_Preparation)
    log: _Log = Field(default_factory=_Log)
    targets: dict[Name, _Target] = Field(default_factory=dict)
    folders: list[_Folder] = Field(default_factory=list)
    mailboxes: list[Mailbox] = Field(default_factory=list)
    people: list[People] = Field(default_factory=list)
    smtp: Smtp | None = None
    alerts: Alerts | None = None
    metrics: Metrics | None = None
    routes: list[_Route] = Field(default_factory=list)

    def settings(self, base: Path) -> Settings:
        storage = self.storage.settings(base)
        return Settings(
            storage=storage,
            uploads=UploadSettings(**self.uploads.model_dump()),
            preparation=self.preparation.settings(base, keep=storage.keep),
            log=LogSettings(**self.log.model_dump()),
            targets={n: target.settings(n, base, storage.directory) for n, target in self.targets.items()},
            folders=tuple(folder.settings(base) for folder in self.folders),
            mailboxes=tuple(mailbox.settings(base, storage.directory) for mailbox in self.mailboxes),
            people=tuple(person.settings() for person in self.people),
            smtp=None if self.smtp is None else self.smtp.settings(base),
            alerts=None if self.alerts is None else self.alerts.settings(base, min_free=storage.min_free),
            metrics=None if self.metrics is None else self.metrics.settings(),
            routes=tuple(route.settings(base) for route in self.routes),
        )


def known_keys(location: Sequence[str | int]) -> list[str]:
    """The keys of the table that an unknown key was found in; `location` is pydantic's, the key last."""
    table: type[BaseModel] = File
    for part in location[:-1]:
        field = table.model_fields.get(str(part))
        inner = [*get_args(field.annotation), field.annotation] if field is not None else []
        table = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), table)
    return [field.alias or name for name, field in table.model_fields.items()]
