"""`ingestd login`: a person lets ingestd in where OAuth 2.0 is wanted, once, and sees it work."""

from typing import Annotated

import typer

from ingestd.cli.session import ConfigOption
from ingestd.configfile import find_configuration, load_configuration
from ingestd.domain.errors import ConfigurationError
from ingestd.settings import Settings


def login(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of one of [[mailboxes]], or of a target.")],
    account: Annotated[
        str | None,
        typer.Option("--account", metavar="NAME", help="Another person's account of the target."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Let ingestd into a mailbox (Microsoft 365, Google) or a target (SAP Concur) by OAuth 2.0, and try it.

    Shows an address to open on any device, and what to do there, or asks for a company request token. The
    login is kept in the storage directory and renews itself. Where a password or a static token is used it
    says where that belongs, and tries it.

    \b
    ingestd login receipts
    ingestd login concur --account ann
    """
    settings = load_configuration(find_configuration(config))
    if _is_target(settings, name, account):
        from ingestd.cli.login_target import let_in_to_target

        let_in_to_target(settings, name.removeprefix("targets."), account)
    else:
        from ingestd.cli.login_steps import find_mailbox, let_in

        let_in(find_mailbox(settings, name.removeprefix("mailboxes.")))


def _is_target(settings: Settings, name: str, account: str | None) -> bool:
    """Raises ConfigurationError for a name that is none, or that of both."""
    kind, _, bare = name.rpartition(".")
    mailbox = kind != "targets" and bare in {mailbox.name for mailbox in settings.mailboxes}
    target = kind != "mailboxes" and bare in settings.targets
    if mailbox and target and account is None:
        raise ConfigurationError(
            [f"{name}: is a mailbox and a target; write mailboxes.{bare} or targets.{bare} to say which"]
        )
    if not mailbox and not target:
        mailboxes = ", ".join(mailbox.name for mailbox in settings.mailboxes) or "none"
        targets = ", ".join(settings.targets) or "none"
        raise ConfigurationError(
            [
                f"{name}: there is no such mailbox or target; the mailboxes are: {mailboxes}; the targets "
                f"are: {targets}"
            ]
        )
    if account is not None and not target:
        raise ConfigurationError([f"--account {account}: {bare} is a mailbox; only targets have accounts"])
    return target
