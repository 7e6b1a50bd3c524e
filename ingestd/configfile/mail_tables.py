"""The tables of mail: [[mailboxes]] with [mailboxes.oauth], [[people]] and [smtp].

`provider` stands for the addresses and scopes that are the same for everybody at that provider.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ingestd.configfile.values import (
    AuthservId,
    Duration,
    FloodText,
    Host,
    Line,
    Name,
    PathText,
    Port,
    Positive,
    Size,
    Table,
    optional_secret,
    secret,
)
from ingestd.domain.mail import Person
from ingestd.settings import MEGABYTE, Flood, MailboxSettings, OAuthSettings, SmtpSettings

Grant = Literal["refresh_token", "client_credentials"]

SMTP_PORTS = {"tls": 465, "starttls": 587, "none": 25}
"""RFC 8314 section 3.3, RFC 6409, RFC 5321."""
IMAP_PORTS = {"tls": 993, "none": 143}


@dataclass(frozen=True)
class _Provider:
    """`{tenant}` stands for the tenant in URLs. `scopes` by grant."""

    token_url: str
    scopes: dict[Grant, str]
    device_url: str | None = None
    authorize_url: str | None = None


_PROVIDERS = {
    # https://learn.microsoft.com/exchange/client-developer/legacy-protocols/
    # how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
    "microsoft": _Provider(
        token_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",  # noqa: S106 - an address
        device_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode",
        scopes={
            "refresh_token": "https://outlook.office365.com/IMAP.AccessAsUser.All offline_access",
            "client_credentials": "https://outlook.office365.com/.default",
        },
    ),
    # https://developers.google.com/workspace/gmail/imap/xoauth2-protocol. Its device flow gives nobody the
    # scope of mail, so a browser is needed once:
    # https://developers.google.com/identity/protocols/oauth2/limited-input-device#allowedscopes
    "google": _Provider(
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        scopes={"refresh_token": "https://mail.google.com/"},
    ),
}
_ANY_TENANT = "common"


class OAuth(Table):
    provider: Literal["microsoft", "google"] | None = None
    tenant: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,100}$")] | None = None
    grant: Grant = "refresh_token"
    client_id: Line
    client_secret_file: PathText | None = None
    refresh_token_file: PathText | None = None
    token_url: Line | None = None
    device_url: Line | None = None
    authorize_url: Line | None = None
    scope: Line | None = None

    @model_validator(mode="after")
    def _fits_its_provider(self) -> "OAuth":
        if self.provider is None and self.token_url is None:
            raise ValueError('provider: is missing; write "microsoft" or "google", or a token_url')
        if self.tenant is not None and self.provider != "microsoft":
            raise ValueError('tenant: is for provider = "microsoft" only; remove it')
        if self.grant == "client_credentials":
            self._check_client_credentials()
        return self

    def _check_client_credentials(self) -> None:
        if self.provider == "google":
            raise ValueError(
                "grant: Google opens no mailbox by client_credentials; remove the key and use ingestd login"
            )
        if self.provider == "microsoft" and self.tenant is None and self.token_url is None:
            raise ValueError("tenant: client_credentials needs the tenant: its ID, or a domain of it")
        if self.refresh_token_file is not None:
            raise ValueError(
                "refresh_token_file: client_credentials has no refresh token; remove one of them"
            )

    def settings(self, base: Path, mailbox: str, storage: Path) -> OAuthSettings:
        known = _PROVIDERS.get(self.provider or "") or _Provider(token_url="", scopes={})
        tenant = self.tenant or _ANY_TENANT

        def filled(own: str | None, known_url: str | None) -> str | None:
            return own or (known_url and known_url.format(tenant=tenant))

        needs_secret = self.grant == "client_credentials"
        return OAuthSettings(
            grant=self.grant,
            token_url=filled(self.token_url, known.token_url) or "",
            client_id=self.client_id,
            scope=self.scope or known.scopes.get(self.grant, ""),
            client_secret=optional_secret(
                self.client_secret_file, base, mailbox, kind="CLIENT_SECRET", needed=needs_secret
            ),
            refresh_token=None
            if needs_secret
            else optional_secret(self.refresh_token_file, base, mailbox, kind="REFRESH_TOKEN"),
            device_url=filled(self.device_url, known.device_url),
            authorize_url=filled(self.authorize_url, known.authorize_url),
            store=storage / "tokens" / f"{mailbox}.json",
        )


class Mailbox(Table):
    name: Name
    host: Host
    port: Port | None = None
    security: Literal["tls", "none"] = "tls"
    ca_file: PathText | None = None
    user: Line
    password_file: PathText | None = None
    oauth: OAuth | None = None
    mailbox: Line = "INBOX"
    addresses: list[Line] = Field(default_factory=list)
    allow: list[Line] = Field(default_factory=list)
    require: Literal["dmarc", "dkim", "none"] = "dmarc"
    trusted_authserv: list[AuthservId] = Field(default_factory=list)
    exchange_internal: bool = False
    strangers: Literal["hold", "reject"] = "hold"
    flood: FloodText = Flood(messages=500, within=timedelta(hours=1))
    after: Literal["move", "flag", "delete", "leave"] = "move"
    uploaded: Line = "Ingestd/Uploaded"
    rejected: Line = "Ingestd/Rejected"
    reply: bool = False
    poll: Duration = timedelta(minutes=5)
    idle: Duration = timedelta(minutes=9)
    deadline: Duration = timedelta(seconds=30)
    max_size: Size = 60 * MEGABYTE

    @model_validator(mode="after")
    def _has_one_login(self) -> "Mailbox":
        if self.password_file is not None and self.oauth is not None:
            raise ValueError("password_file: there is an [mailboxes.oauth] table, too; keep one of them")
        return self

    def settings(self, base: Path, storage: Path) -> MailboxSettings:
        password = None
        if self.oauth is None:
            password = secret(self.password_file, base, self.name, kind="PASSWORD")
        given = self.model_dump(exclude={"password_file", "oauth", "flood"})
        known = {
            "port": self.port or IMAP_PORTS[self.security],
            "ca_file": base / self.ca_file if self.ca_file else None,
            "password": password,
            "oauth": self.oauth and self.oauth.settings(base, self.name, storage),
            "addresses": tuple(self.addresses),
            "allow": tuple(self.allow),
            "trusted_authserv": tuple(self.trusted_authserv),
            "flood": self.flood,
        }
        return MailboxSettings(**{**given, **known})


class People(Table):
    name: Line
    addresses: list[Line]
    account: Name | None = None
    delegates: list[Line] = Field(default_factory=list)

    def settings(self) -> Person:
        return Person(
            name=self.name,
            addresses=tuple(self.addresses),
            account=self.account,
            delegates=tuple(self.delegates),
        )


class Smtp(Table):
    host: Host
    port: Port | None = None
    security: Literal["tls", "starttls", "none"] = "tls"
    sender: Line
    ca_file: PathText | None = None
    user: Line | None = None
    password_file: PathText | None = None
    templates: PathText | None = None
    most_per_hour: Positive = 20
    timeout: Duration = timedelta(seconds=60)

    @model_validator(mode="after")
    def _names_who_the_password_is_for(self) -> "Smtp":
        if self.password_file is not None and self.user is None:
            raise ValueError("user: is missing, but there is a password_file; write both, or none")
        return self

    def settings(self, base: Path) -> SmtpSettings:
        return SmtpSettings(
            host=self.host,
            port=self.port or SMTP_PORTS[self.security],
            security=self.security,
            sender=self.sender,
            ca_file=base / self.ca_file if self.ca_file else None,
            user=self.user,
            password=secret(self.password_file, base, "SMTP", kind="PASSWORD") if self.user else None,
            templates=base / self.templates if self.templates else None,
            most_per_hour=self.most_per_hour,
            timeout=self.timeout,
        )
