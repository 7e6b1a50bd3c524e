"""The `ingestd` command. One module for each kind of command; heavy rooms are imported where they are used,
so that `ingestd list` does not load the decoders.

Every mistake a person can make ends here as one plain line on stderr and an exit code: 2 for usage and
configuration, 1 for what is broken. No traceback, no wrapping.
"""

import asyncio
import os
import sys
from typing import Annotated

import typer

from ingestd import __version__
from ingestd.cli import (
    alerting,
    asking,
    auditing,
    deciding,
    doctor,
    exporting,
    fetching,
    login,
    replay,
    running,
    showing,
    storing,
    submitting,
)
from ingestd.domain.errors import (
    ConfigurationError,
    IllegalTransition,
    IngestdError,
    LedgerLocked,
    LedgerTooNew,
    UnknownReceipt,
)
from ingestd.domain.routing import InvalidSlot

USAGE_ERRORS = (
    ConfigurationError, InvalidSlot, LedgerLocked, LedgerTooNew, UnknownReceipt, IllegalTransition,
)  # fmt: skip

app = typer.Typer(
    name="ingestd",
    help="Receipts from folders and mailboxes to SAP Concur, checked, uploaded and recorded.\n\n"
    "Try it without an account: ingestd demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ingestd {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command; help is the application's own."""


for name, command, summary in (
    ("run", running.run, "Watch the folders and upload what arrives."),
    ("check", running.check, "Check the configuration; upload nothing."),
    ("doctor", doctor.doctor, "Look at everything it works with."),
    ("alerts", alerting.alerts, "Show what people were told, or try it."),
    ("login", login.login, "Let ingestd in where OAuth 2.0 is wanted."),
    ("demo", running.demo, "Show the whole way, without an account."),
    ("sandbox", running.sandbox, "Run a local stand-in for SAP Concur."),
    ("replay", replay.replay, "Take a message once more, from the spool."),
    ("submit", submitting.submit, "Hand over files without a folder."),
    ("list", asking.list_receipts, "Show receipts, newest first."),
    ("show", showing.show, "Tell everything about one receipt."),
    ("url", fetching.url, "Print the short-lived URL of an image."),
    ("fetch", fetching.fetch, "Fetch an image from the target."),
    ("retry", deciding.retry, "Try receipts once more."),
    ("confirm", deciding.confirm, "Record that a lost upload did arrive."),
    ("drop", deciding.drop, "Give receipts up for good."),
    ("balance", asking.balance, "Prove that nothing is lost."),
    ("audit", auditing.audit, "Prove histories and originals."),
    ("export", exporting.export, "Write receipts as a table, or as evidence."),
    ("migrate", storing.migrate, "Bring the ledger to this version."),
    ("backup", storing.backup, "Copy the ledger while the daemon runs."),
):
    app.command(name, short_help=summary)(command)


def main() -> None:
    """The entry point. Never returns."""
    try:
        app()
    except IngestdError as error:
        for line in str(error).splitlines():
            print(f"ingestd: {line}", file=sys.stderr)  # noqa: T201 - the error line is the interface
        sys.exit(2 if isinstance(error, USAGE_ERRORS) else 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output (head, less) has enough; what it did read was right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
