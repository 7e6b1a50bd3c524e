"""[targets.NAME.oauth] and [targets.NAME.accounts.PERSON.oauth]: how SAP Concur is logged in to.

A person's table needs what is the person's own; the client and its addresses are those of the target.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ingestd.configfile.values import Host, Line, PathText, Table, optional_secret
from ingestd.http.geolocation import TOKEN_PATH
from ingestd.settings import ConcurLogin, OAuthSettings, Secret

AUTHORIZE_PATH = "/oauth2/v0/authorize"
"""SAP Concur, Authentication v2: beside TOKEN_PATH."""
Grant = Literal["refresh_token", "client_credentials", "company"]
DEFAULT_GRANT: Grant = "refresh_token"

_ONLY_FOR = {
    "refresh_token_file": "refresh_token",
    "authorize_url": "refresh_token",
    "redirect_url": "refresh_token",
    "company_uuid": "company",
    "request_token_file": "company",
}
"""Keys that mean something for one grant only."""
_SHARED = ("client_id", "scope", "token_url", "authorize_url", "redirect_url", "allowed_hosts")
"""What a person's table takes over from the target's."""


def _allowed_host(value: object) -> object:
    if isinstance(value, str) and ("." not in value.strip(".") or "*" in value or value.startswith(".")):
        raise ValueError("must be a host or a domain, like concur.example.com; those below it count, too")
    return value


def _uuid(value: object) -> object:
    if isinstance(value, str) and not _UUID.fullmatch(value):
        raise ValueError("must be a UUID, like 08BCCA1E-0D4F-4261-9F1B-F9A8D6F7D2B1")
    return value


_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

AllowedHost = Annotated[Host, BeforeValidator(_allowed_host)]
Uuid = Annotated[str, BeforeValidator(_uuid)]


class TargetOAuth(Table):
    grant: Grant = DEFAULT_GRANT
    client_id: Line | None = None
    client_secret_file: PathText | None = None
    refresh_token_file: PathText | None = None
    company_uuid: Uuid | None = None
    request_token_file: PathText | None = None
    scope: Line | None = None
    token_url: Line | None = None
    authorize_url: Line | None = None
    redirect_url: Line | None = None
    allowed_hosts: list[AllowedHost] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits_its_grant(self) -> "TargetOAuth":
        for name, grant in _ONLY_FOR.items():
            if getattr(self, name) is not None and self.grant != grant:
                raise ValueError(f'{name}: is for grant = "{grant}" only; remove it, or write that grant')
        if self.request_token_file is not None and self.company_uuid is None:
            raise ValueError("company_uuid: is missing; the request token is of no use without it")
        return self

    def of_person(self, target: "TargetOAuth | None") -> "TargetOAuth":
        """Completed with what the target's own table says."""
        if target is None:
            return self
        missing = {name: getattr(target, name) for name in _SHARED if not getattr(self, name)}
        if self.grant != DEFAULT_GRANT:
            missing = {name: value for name, value in missing.items() if name not in _ONLY_FOR}
        return self.model_copy(update=missing)

    def settings(
        self,
        base: Path,
        storage: Path,
        *,
        url: str,
        target: str,
        account: str | None = None,
        client_secret: Secret | None = None,
    ) -> OAuthSettings:
        """`client_secret`: that of the target, for an account that has none of its own."""
        names = (target,) if account is None else (target, account)
        own = self.client_secret_file is not None or client_secret is None
        refresh, company = self.grant == "refresh_token", self.grant == "company"

        def known(given: str | None, kind: str, *, needed: bool = False) -> Secret | None:
            return optional_secret(given, base, *names, kind=kind, needed=needed)

        return OAuthSettings(
            grant=self.grant,
            token_url=self.token_url or url + TOKEN_PATH,
            client_id=self.client_id or "",
            scope=self.scope or "",
            client_secret=known(self.client_secret_file, "CLIENT_SECRET", needed=True)
            if own
            else client_secret,
            refresh_token=known(self.refresh_token_file, "REFRESH_TOKEN") if refresh else None,
            authorize_url=(self.authorize_url or url + AUTHORIZE_PATH) if refresh else None,
            # A dot is in no name of a mailbox, whose files lie there, too.
            store=storage / "tokens" / f"{'.'.join(('target', *names))}.json",
            concur=ConcurLogin(
                api_url=url,
                command=f"ingestd login {target}" + ("" if account is None else f" --account {account}"),
                allowed_hosts=tuple(self.allowed_hosts),
                company=self.company_uuid,
                request_token=known(self.request_token_file, "REQUEST_TOKEN") if company else None,
                redirect_url=self.redirect_url,
            ),
        )
