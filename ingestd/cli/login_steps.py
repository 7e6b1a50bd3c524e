"""How a login goes: what an administrator does first, what the person does then, and whether it works."""

import asyncio

import typer

from ingestd.cli.examining import examine_mailbox
from ingestd.cli.rendering import one_line
from ingestd.domain.errors import ConfigurationError, IngestdError
from ingestd.http.oauth import OAuthTokens
from ingestd.http.oauth_endpoint import Granted, host_of
from ingestd.http.oauth_login import BrowserLogin, ask_for_device_code, wait_for_person
from ingestd.http.tokens import SecretUnavailable, read_password
from ingestd.settings import MailboxSettings, OAuthSettings, Settings

REGISTERED = {
    "login.microsoftonline.com": """\
In the Microsoft Entra admin center, the application {client} needs, once:
  - Authentication: "Allow public client flows" switched on;
  - API permissions: Office 365 Exchange Online, delegated, IMAP.AccessAsUser.All, with consent;
and in the Exchange admin center the mailbox {user} needs IMAP switched on (Manage email apps).
""",
    "oauth2.googleapis.com": """\
In the Google Cloud console, the client {client} must be, once:
  - of the type "Desktop app", with its secret in client_secret_file;
  - in a project whose audience is "Internal"; an external one in testing loses its login after 7 days.
In the Google Admin console, IMAP must be allowed for {user}.
""",
}
"""What an administrator has to do before a login can work, by the host of the token_url."""


def find_mailbox(settings: Settings, name: str) -> MailboxSettings:
    """Raises ConfigurationError."""
    for mailbox in settings.mailboxes:
        if mailbox.name == name:
            return mailbox
    known = ", ".join(mailbox.name for mailbox in settings.mailboxes) or "none"
    raise ConfigurationError([f"{name}: there is no such mailbox; the mailboxes are: {known}"])


def let_in(mailbox: MailboxSettings) -> None:
    """Raises IngestdError when it comes to nothing, ConfigurationError for what is missing."""
    oauth = mailbox.oauth
    if oauth is None:
        _tell_password(mailbox)
    elif oauth.grant == "client_credentials":
        typer.echo(f"{mailbox.name} logs in by itself (client_credentials); no person is needed.")
    else:
        _log_in(mailbox, oauth)
    _try(mailbox)


def _tell_password(mailbox: MailboxSettings) -> None:
    """Raises ConfigurationError when there is no password to try."""
    secret = mailbox.password
    assert secret is not None
    try:
        read_password(secret)
    except SecretUnavailable as error:
        key = "password_file" if secret.file else "password_file (or that variable)"
        raise ConfigurationError([f"mailbox {mailbox.name}: {error}; the key is {key}"]) from None
    typer.echo(f"{mailbox.name} logs in with a password, from {secret}.")


def _log_in(mailbox: MailboxSettings, oauth: OAuthSettings) -> None:
    how = REGISTERED.get(host_of(oauth.token_url))
    if how is not None:
        typer.echo(how.format(client=oauth.client_id, user=mailbox.user))
    if oauth.device_url is not None:
        asyncio.run(_by_device(mailbox, oauth))
    elif oauth.authorize_url is not None:
        _by_browser(mailbox, oauth)
    else:
        raise ConfigurationError(
            [
                f"mailbox {mailbox.name}: there is no device_url and no authorize_url to log in at; add one "
                "to [mailboxes.oauth], or put a refresh token into refresh_token_file"
            ]
        )
    typer.echo(f"The login is kept in {oauth.store}.")


async def _by_device(mailbox: MailboxSettings, oauth: OAuthSettings) -> None:
    code = await ask_for_device_code(oauth)
    typer.echo("Now, on any device:")
    typer.echo(f"  1. open        {code.address}")
    typer.echo(f"  2. enter       {code.user_code}")
    typer.echo(f"  3. log in as   {mailbox.user}, and allow it")
    typer.echo(f"Waiting for that; the code is good for {code.lifetime_seconds / 60:.0f} minutes.")
    await _keep(mailbox, oauth, await wait_for_person(oauth, code))


def _by_browser(mailbox: MailboxSettings, oauth: OAuthSettings) -> None:
    browser = BrowserLogin(oauth)
    typer.echo("Now, with a browser on any machine:")
    typer.echo("  1. open this address:\n")
    typer.echo(browser.address)
    typer.echo(f"\n  2. log in as {mailbox.user}, and allow it;")
    typer.echo("  3. the browser then says that it can't open a page at 127.0.0.1: that is right. Copy the")
    typer.echo("     whole address of that page, and paste it here.\n")
    pasted = typer.prompt("address")

    async def finish() -> None:
        await _keep(mailbox, oauth, await browser.finish(pasted))

    asyncio.run(finish())


async def _keep(mailbox: MailboxSettings, oauth: OAuthSettings, granted: Granted) -> None:
    """Written for the owner of the storage directory, whoever runs this (http.oauth_store)."""
    await OAuthTokens(oauth, name=mailbox.name).keep(granted)


def _try(mailbox: MailboxSettings) -> None:
    """Raises IngestdError when it does not work."""
    findings = asyncio.run(examine_mailbox(mailbox))
    for finding in findings:
        if finding.weight == "bad":
            raise IngestdError(one_line(finding.sentence))
    typer.echo(f"It works: {mailbox.user} is let in at {mailbox.host}.")
