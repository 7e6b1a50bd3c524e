"""Every setting, frozen and checked; no parsing here. config/ingestd.toml documents each key.

Durations are timedelta, sizes are bytes. A Secret says where a secret is, never what it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from ingestd.domain.mail import Person
from ingestd.domain.routing import Route
from ingestd.domain.rules import TargetRules

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    directory: Path
    ledger: str | None = None
    """SQLAlchemy URL of the ledger; None: SQLite in the directory."""
    keep: timedelta = timedelta(days=90)
    max_size: int | None = None
    min_free: int = 200 * MEGABYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettings:
    workers: int = 8
    grace: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationSettings:
    """How documents are looked at, and the limits of each process that does it."""

    inspect: Literal["light", "full"] = "full"
    """`light` decodes nothing that it need not convert, and looks at no picture."""
    workers: int = 2
    memory: int = 1500 * MEGABYTE
    cpu: timedelta = timedelta(seconds=30)
    wall: timedelta = timedelta(seconds=60)
    max_pixels: int = 100_000_000
    strip_location: bool = True
    """Remove GPS and other personal data from the metadata of photos."""
    passwords_file: Path | None = None
    """Passwords to try on every encrypted PDF, one in each line, after those of the route."""
    near_duplicates: Literal["off", "warn", "hold"] = "warn"
    near_duplicate_window: timedelta = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret is read from, each time it is needed: a file, or an environment variable."""

    file: Path | None = None
    environment: str | None = None

    def __str__(self) -> str:
        return f"file {self.file}" if self.file else f"environment variable {self.environment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurImageV1Settings:
    name: str
    url: str
    authorization: Literal["Bearer", "OAuth"] = "Bearer"
    token: Secret | None = None
    """A static token; None where `oauth` gets them."""
    oauth: "OAuthSettings | None" = None
    accounts: Mapping[str, "Secret | OAuthSettings"] = field(default_factory=dict)
    """Other people's: a static token, or a login of their own."""
    timeout: timedelta = timedelta(seconds=60)
    """Longest silence of the server after the body was sent."""
    max_bytes: int = 10 * MEGABYTE
    """The API says "10 MB" without saying which; the smaller reading is safe."""
    max_pages: int = 200
    """Nothing is documented; a receipt of more pages is a mistake."""
    rules: TargetRules = field(default_factory=TargetRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    name: str
    path: Path
    settle: timedelta = timedelta(seconds=2)
    settle_incomplete: timedelta = timedelta(seconds=10)
    group_quiet: timedelta = timedelta(seconds=10)
    """Files that become one receipt are taken together, once none of them came or changed for so long."""
    rescan: timedelta = timedelta(seconds=60)
    polling: bool | Literal["auto"] = "auto"
    recursive: bool = True
    max_size: int = 200 * MEGABYTE
    """A larger file is moved to rejected/ without being copied to the spool."""
    uploaded: bool = True
    """False: uploaded files are not kept in uploaded/."""
    rejected: bool = True
    """False: nothing is put into rejected/; the ledger alone knows."""
    keep_uploaded: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurLogin:
    """What the logins of SAP Concur have beside RFC 6749 (Authentication v2): data centres, and companies.

    `command` is what a person runs to log in. Company tokens (grant "company") come of `company`, a UUID, and
    of `request_token`, which lives for 24 hours; without them `ingestd login` asks.
    """

    api_url: str
    """The base of API calls until the server tells another one (its `geolocation`), as configured."""
    command: str
    allowed_hosts: tuple[str, ...] = ()
    """Hosts, with what is below them, that a geolocation may name beside SAP Concur's own."""
    company: str | None = None
    request_token: Secret | None = None
    redirect_url: str | None = None
    """Where the browser ends, as registered for the client; None: a page on loopback that nobody serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthSettings:
    """OAuth 2.0 (RFC 6749) for one login. `provider` fills in the URLs and the scope where they are known.

    `refresh_token` is where the first refresh token is read from; what the server gives later is kept in
    `store` and wins. Without either, `ingestd login` gets one: by the device flow (RFC 8628) at `device_url`,
    or with a browser (RFC 8252) at `authorize_url`.
    """

    grant: Literal["refresh_token", "client_credentials", "company"]
    """`company` is SAP Concur's: the password grant with a company request token."""
    token_url: str
    client_id: str
    scope: str = ""
    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    device_url: str | None = None
    authorize_url: str | None = None
    store: Path
    """File of the tokens got so far, owned by the daemon (0600)."""
    concur: ConcurLogin | None = None
    """Of a target that is SAP Concur; None for mailboxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """At most so many messages of one sender within the time."""

    messages: int
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSettings:
    name: str
    host: str
    port: int = 993
    security: Literal["tls", "none"] = "tls"
    """Implicit TLS (RFC 8314); `none` only to loopback."""
    ca_file: Path | None = None
    user: str
    password: Secret | None = None
    oauth: OAuthSettings | None = None
    """Instead of the password: XOAUTH2."""
    mailbox: str = "INBOX"
    addresses: tuple[str, ...] = ()
    """Own addresses beside `user`: which recipient is meant, and whom never to answer."""
    allow: tuple[str, ...] = ()
    """Patterns of senders, with `*`. Those of [[people]] need not be repeated."""
    require: Literal["dmarc", "dkim", "none"] = "dmarc"
    trusted_authserv: tuple[str, ...] = ()
    """Whose Authentication-Results are believed: the authserv-id of our own server (RFC 8601 section 2.5)."""
    exchange_internal: bool = False
    """Believe Exchange that a colleague sent it; only where all mail comes through Exchange."""
    strangers: Literal["hold", "reject"] = "hold"
    flood: Flood = field(default_factory=lambda: Flood(messages=500, within=timedelta(hours=1)))
    after: Literal["move", "flag", "delete", "leave"] = "move"
    uploaded: str = "Ingestd/Uploaded"
    rejected: str = "Ingestd/Rejected"
    reply: bool = False
    poll: timedelta = timedelta(minutes=5)
    idle: timedelta = timedelta(minutes=9)
    """An IDLE is renewed after this; RFC 2177 advises less than 29 minutes, NAT tables forget sooner."""
    deadline: timedelta = timedelta(seconds=30)
    """Longest silence of the server after any command."""
    max_size: int = 60 * MEGABYTE
    """A larger message is not fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """How answers are sent."""

    host: str
    port: int
    security: Literal["tls", "starttls", "none"]
    sender: str
    """Address that answers come from."""
    ca_file: Path | None = None
    user: str | None = None
    password: Secret | None = None
    templates: Path | None = None
    """Directory with the wording of answers; None: that of the program."""
    most_per_hour: int = 20
    """Answers to one address within an hour."""
    timeout: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Whom to tell, by which ways, of what needs a person, and how often at most."""

    mail: tuple[str, ...] = ()
    """Addresses; sent with the mail server of `smtp`."""
    webhook: str | None = field(default=None, repr=False)
    """A URL that is told as well; such URLs are mostly secrets."""
    webhook_secret: Secret | None = None
    """Where another one is kept."""
    waiting: timedelta = timedelta(hours=4)
    """A receipt that waits for longer is spoken of."""
    failing: timedelta = timedelta(minutes=30)
    """The same of a source or target that fails."""
    low_disk: int = 400 * MEGABYTE
    """Free bytes where the storage directory is."""
    after: timedelta = timedelta(minutes=1)
    """What is over sooner is not spoken of, nor is well what was well for less."""
    every: timedelta = timedelta(hours=1)
    """Shortest time between two messages of trouble."""
    most_per_day: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where /metrics is served."""

    host: str = "127.0.0.1"
    port: int = 9464
    open: bool = False
    """True: others than this machine may ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    storage: StorageSettings
    uploads: UploadSettings = field(default_factory=UploadSettings)
    preparation: PreparationSettings = field(default_factory=PreparationSettings)
    log: LogSettings = field(default_factory=LogSettings)
    targets: Mapping[str, ConcurImageV1Settings] = field(default_factory=dict)
    folders: tuple[FolderSettings, ...] = ()
    mailboxes: tuple[MailboxSettings, ...] = ()
    people: tuple[Person, ...] = ()
    smtp: SmtpSettings | None = None
    alerts: AlertSettings | None = None
    metrics: MetricsSettings | None = None
    routes: tuple[Route, ...] = ()
