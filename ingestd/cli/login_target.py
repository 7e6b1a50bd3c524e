"""How a login to a target goes: what an administrator does first, what the person does, whether it works."""

import asyncio
import re
import sys
from dataclasses import replace

import typer

from ingestd.cli.rendering import one_line
from ingestd.clock import process_clock
from ingestd.domain.errors import ConfigurationError, IngestdError
from ingestd.http.expiry import expiry_sentence
from ingestd.http.oauth import OAuthTokens
from ingestd.http.oauth_endpoint import Granted, ask_for_token
from ingestd.http.oauth_login import BrowserLogin
from ingestd.http.oauth_seeds import company_form
from ingestd.http.target_login import TargetLogin, target_logins
from ingestd.http.tokens import LONGEST_SECRET_BYTES, SecretUnavailable, read_secret
from ingestd.settings import ConcurImageV1Settings, ConcurLogin, OAuthSettings, Settings

REGISTERED = """\
At SAP Concur (Administration > Company > Authentication Admin > OAuth 2.0 Application Management) the
application {client} must, once, be allowed {grants}, and the scope IMAGE.
"""
HOW_TO_REQUEST = """\
A Concur administrator gets the company's UUID and a request token, good for 24 hours, at
Administration > Company > Authentication Admin > Company Request Token, for the App ID {client}.
"""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def let_in_to_target(settings: Settings, name: str, account: str | None) -> None:
    """Raises IngestdError when it comes to nothing, ConfigurationError for what is missing."""
    target = _of_one_login(settings.targets[name], account)
    (login,) = target_logins(target).values()
    how = target.oauth or target.token if account is None else target.accounts[account]
    match how:
        case OAuthSettings(grant="company"):
            asyncio.run(_as_company(how, login))
        case OAuthSettings(grant="refresh_token"):
            _by_browser(how, login)
        case OAuthSettings():
            typer.echo(f"{login} logs in by itself (client_credentials); no person is needed.")
            asyncio.run(_fetch(how, login))
        case _:
            _tell_token(login)
    if (ends := login.expires_at) is not None:
        typer.echo(f"{expiry_sentence('It', ends, process_clock()())}.")
    _try(settings, target)


def _of_one_login(target: ConcurImageV1Settings, account: str | None) -> ConcurImageV1Settings:
    """The target as if that login were the only one. Raises ConfigurationError for an unknown account."""
    if account is None:
        return replace(target, accounts={})
    how = target.accounts.get(account)
    if how is None:
        known = ", ".join(target.accounts) or "none"
        raise ConfigurationError(
            [f"--account {account}: {target.name} has no such account; its accounts are: {known}"]
        )
    return replace(target, token=None, oauth=None, accounts={account: how})


def _tell_token(login: TargetLogin) -> None:
    """Raises ConfigurationError when there is no token to try."""
    lacking = login.check()
    if lacking is not None:
        raise ConfigurationError([f"{login}: {lacking}; or add an oauth table, and log in"])
    typer.echo(f"{login} is let in by a static token, from {login.place}.")


async def _as_company(oauth: OAuthSettings, login: TargetLogin) -> None:
    concur = _concur(oauth)
    typer.echo(REGISTERED.format(client=oauth.client_id, grants="the grants password and refresh_token"))
    token = _configured_request_token(concur)
    if token is None or concur.company is None:
        typer.echo(HOW_TO_REQUEST.format(client=oauth.client_id))
    company = concur.company or _asked_for_company()
    if token is None:
        token = _asked_for_secret("request token")
    granted = await ask_for_token(oauth, company_form(company, token, oauth.scope))
    await _keep(oauth, login, granted)


def _by_browser(oauth: OAuthSettings, login: TargetLogin) -> None:
    browser = BrowserLogin(oauth)
    typer.echo(
        REGISTERED.format(client=oauth.client_id, grants="the grants authorization_code and refresh_token")
    )
    typer.echo(f"Its redirect addresses must hold {browser.redirect}\n")
    typer.echo("Now, with a browser on any machine:")
    typer.echo("  1. open this address:\n")
    typer.echo(browser.address)
    who = "the person who is to upload" if login.account is None else login.account
    typer.echo(f"\n  2. log in to SAP Concur as {who}, and allow it;")
    typer.echo(
        "  3. the browser then ends at an address that it may not be able to open: that is right. Copy"
    )
    typer.echo("     the whole address of that page, and paste it here.\n")
    pasted = typer.prompt("address")

    async def finish() -> None:
        await _keep(oauth, login, await browser.finish(pasted))

    asyncio.run(finish())


async def _fetch(oauth: OAuthSettings, login: TargetLogin) -> None:
    access = await login.token()
    _tell_place(oauth, access.base_url)
    typer.echo("A token was given.")


async def _keep(oauth: OAuthSettings, login: TargetLogin, granted: Granted) -> None:
    """Written for the owner of the storage directory, whoever runs this (http.oauth_store)."""
    await OAuthTokens(oauth, name=str(login)).keep(granted)
    if granted.warning is not None:
        typer.echo(f"warning: {granted.warning}", err=True)
    _tell_place(oauth, granted.home)
    typer.echo(f"The login is kept in {oauth.store}.")


def _tell_place(oauth: OAuthSettings, base: str | None) -> None:
    if base is not None and base != _concur(oauth).api_url:
        typer.echo(f"It lives at {base}, where uploads go from now on.")


def _concur(oauth: OAuthSettings) -> ConcurLogin:
    assert oauth.concur is not None, "every target is SAP Concur"
    return oauth.concur


def _configured_request_token(concur: ConcurLogin) -> str | None:
    if concur.request_token is None:
        return None
    try:
        token = read_secret(concur.request_token)
    except SecretUnavailable:
        return None
    typer.echo(f"The request token is that of {concur.request_token}.")
    return token


def _asked_for_company() -> str:
    told: str = typer.prompt("company UUID").strip()
    if not _UUID.fullmatch(told):
        raise ConfigurationError(
            ["company UUID: that is none; it looks like 08bcca1e-0d4f-4261-9f1b-f9a8d6f7d2b1"]
        )
    return told


def _asked_for_secret(what: str) -> str:
    """Not shown while it is typed, unless it comes through a pipe."""
    told: str = typer.prompt(what, hide_input=sys.stdin.isatty()).strip()
    if not told.isascii() or not told.isprintable() or " " in told or len(told) > LONGEST_SECRET_BYTES:
        raise ConfigurationError([f"{what}: it is one word; copy it alone"])
    return told


def _try(settings: Settings, target: ConcurImageV1Settings) -> None:
    """Raises IngestdError when it does not work."""
    from ingestd.assembly import ask_targets

    problems = asyncio.run(ask_targets(replace(settings, targets={target.name: target})))
    for problem in problems:
        raise IngestdError(one_line(problem))
    typer.echo("It works: SAP Concur answers, and takes the token.")
