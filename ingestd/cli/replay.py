"""`ingestd replay`: a message that came by mail once more, from the spool."""

from typing import Annotated

import typer

from ingestd.cli.rendering import destined, one_line, print_json, receipt_json
from ingestd.cli.session import ConfigOption, JsonOption, configured


def replay(
    message: Annotated[
        str, typer.Argument(metavar="MESSAGE-ID", help="As in the message's source, with or without <>.")
    ],
    config: ConfigOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Upload its receipts even if they were uploaded before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a message that came by mail once more, from the spool; the mailbox isn't touched.

    It is opened anew, and goes where the routes send it now; you vouch for its sender. What was uploaded
    before is a repeat and stays as it is; what was rejected, failed or dropped is tried again. Of a message
    larger than the mailbox's max_size only the header came in: it can't be replayed.

    \b
    ingestd replay '<CAF1x9@mail.example.com>'
    """
    from ingestd.cli.replaying import replay_message

    settings = configured(config)
    done = replay_message(settings, message, again=again)
    if as_json:
        print_json(
            {
                "receipts": [{**receipt_json(r), "repeat": repeat} for r, repeat in done.receipts],
                "ignored": [{"filename": r.filename, "reason": r.reason} for r in done.ignored],
            }
        )
        return
    for receipt, repeat in done.receipts:
        image = f", image ID {receipt.image_id}" if receipt.image_id else ""
        known = " (a repeat: nothing is uploaded twice; --again would)" if repeat else ""
        line = f"{receipt.id}  {receipt.filename} -> {destined(receipt)}: {receipt.state}{image}{known}"
        typer.echo(one_line(line))
    for refusal in done.ignored:
        typer.echo(one_line(f"left out: {refusal.filename}: {refusal.reason}"))
