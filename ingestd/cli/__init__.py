"""The `ingestd` command. One module for each kind of command; heavy rooms are imported where they are used,
so that `ingestd list` does not load the decoders.

Every mistake a person can make ends here as one plain line on stderr and an exit code: 2 for usage and
configuration, 1 for what is broken. No traceback, no wrapping.
"""

import asyncio
import os
import sys

import typer

from ingestd.cli import asking, deciding, running, showing, storing
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
    help="Receipts from watched folders to SAP Concur, checked, uploaded and recorded.\n\n"
    "Try it without an account: ingestd demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
running.register(app)
asking.register(app)
deciding.register(app)
storing.register(app)
showing.register(app)


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
