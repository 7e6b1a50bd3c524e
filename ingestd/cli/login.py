"""`ingestd login`: a person lets ingestd into a mailbox that wants OAuth 2.0, once, and sees it work."""

from typing import Annotated

import typer

from ingestd.cli.session import ConfigOption
from ingestd.configfile import find_configuration, load_configuration


def login(
    mailbox: Annotated[str, typer.Argument(metavar="MAILBOX", help="Its name in [[mailboxes]].")],
    config: ConfigOption = None,
) -> None:
    """Let ingestd into a mailbox that wants OAuth 2.0 (Microsoft 365, Google), and try it.

    Shows an address to open on any device, and what to do there. The login is kept in the storage directory
    and renews itself. For a mailbox with a password it says where the password belongs, and tries it.

    \b
    ingestd login receipts
    """
    from ingestd.cli.login_steps import find_mailbox, let_in

    let_in(find_mailbox(load_configuration(find_configuration(config)), mailbox))
