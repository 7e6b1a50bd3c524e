"""What somebody needs who helps: what happens next, whether the image was verified, every attempt with what
the server answered, and a block to be pasted into a ticket, which names no person and no file.
"""

import textwrap
from collections.abc import Callable, Sequence

import typer

from ingestd import __version__
from ingestd.cli.rendering import destined, local_moment, milliseconds, moment, one_line
from ingestd.domain.document import Instant
from ingestd.domain.receipt import Attempt, Receipt, SlotBefore
from ingestd.domain.states import State
from ingestd.interfaces import HistoryEntry

NEXT = {
    State.RECEIVED: "Nothing: it will be checked when `ingestd run` runs.",
    State.READY: "Nothing: it will be uploaded when it is due and `ingestd run` runs.",
    State.CLAIMED: "Nothing: it is about to be uploaded.",
    State.UPLOADING: "Nothing: it is being uploaded.",
    State.HELD: "Decide: `ingestd retry {id}` (add --to TARGET:SLOT if it had no route), "
    "or `ingestd drop {id}`.",
    State.UNCONFIRMED: "Look in the target if the image is there. "
    "If so: `ingestd confirm {id} --image-id ID`. If not: `ingestd retry {id}`.",
    State.REJECTED: "Send a better file, or `ingestd retry {id}` if the reason is gone, "
    "or `ingestd drop {id}`.",
    State.FAILED: "Remove the cause, then `ingestd retry {id}`; or `ingestd drop {id}`.",
    State.UPLOADED: "Nothing: done.",
    State.DROPPED: "Nothing: a person decided that it is not wanted.",
}

_SLOT_BEFORE = {
    SlotBefore.EMPTY: "the slot was empty before",
    SlotBefore.UNKNOWN: "the target could not say what the slot held before",
}

TICKET_COLUMNS = 100


def next_step(receipt: Receipt) -> str:
    """What happens next, or what a person has to do."""
    if receipt.state is State.UNCONFIRMED and receipt.ask_at is not None:
        return f"Nothing: the target is asked at {local_moment(receipt.ask_at)}, when `ingestd run` runs."
    return NEXT[receipt.state].format(id=receipt.id)


def verification(
    receipt: Receipt, history: Sequence[HistoryEntry], told: Callable[[Instant], str | None] = local_moment
) -> str | None:
    """Whether the image was read back from the target and compared, else why not; None: it isn't uploaded.

    `told` writes the times.
    """
    if receipt.state is not State.UPLOADED:
        return None
    looks = _looks(history)
    if receipt.verified_at is not None:
        return f"{told(receipt.verified_at)}  {looks[-1] if looks else ''}".rstrip()
    if receipt.verify_at is not None:
        last = f" ({looks[-1]})" if looks else ""
        return f"not yet: it is read back at {told(receipt.verify_at)}{last}"
    if looks:
        return f"no. {looks[-1]}"
    return "no: `verify` was off for its target"


def tell_attempts(attempts: Sequence[Attempt]) -> None:
    say = typer.echo
    if attempts:
        say("\nattempts")
    for attempt in attempts:
        told = [_answer(attempt), attempt.outcome or "open", _duration(attempt)]
        say(f"  {attempt.number}. {local_moment(attempt.started_at)}  {', '.join(told)}")
        for line in _evidence(attempt):
            say(f"     {line}")


def tell_support(receipt: Receipt, attempts: Sequence[Attempt]) -> None:
    """Nothing when the target never saw it. Times in UTC, as the logs of servers have them."""
    if not attempts:
        return
    typer.echo("\nfor support (paste this into a ticket)")
    for line in _ticket(receipt, attempts):
        typer.echo(textwrap.fill(line, TICKET_COLUMNS, initial_indent="  ", subsequent_indent="      "))


def _looks(history: Sequence[HistoryEntry]) -> list[str]:
    """What was found each time since it was uploaded last."""
    found: list[str] = []
    for entry in history:
        if entry.event == "verify":
            found.append(entry.reason or "")
        elif entry.after is State.UPLOADED:
            found.clear()
    return found


def _ticket(receipt: Receipt, attempts: Sequence[Attempt]) -> list[str]:
    image = receipt.image
    lines = [
        f"ingestd {__version__}, receipt {receipt.id}",
        f"{destined(receipt)}, {receipt.state} since {moment(receipt.updated_at)}",
        f"image ID {receipt.image_id or '-'}",
    ]
    if image is not None:
        lines.append(f"sent as {image.mime_type}, {image.size:,} bytes, sha256 {image.sha256}")
    for attempt in attempts:
        told = [_answer(attempt), attempt.outcome or "open", _duration(attempt), *_evidence(attempt)]
        lines.append(f"attempt {attempt.number} at {moment(attempt.started_at)}: {', '.join(told)}")
    return [one_line(line) for line in lines]


def _answer(attempt: Attempt) -> str:
    return f"HTTP {attempt.status}" if attempt.status else "no answer"


def _duration(attempt: Attempt) -> str:
    took = milliseconds(attempt)
    return "not finished" if took is None else f"{took:,} ms"


def _evidence(attempt: Attempt) -> list[str]:
    told = [f"{attempt.bytes_sent:,} bytes sent"]
    if attempt.correlation_id:
        told.append(f"correlation ID {attempt.correlation_id}")
    if attempt.error_id:
        told.append(f"error ID {attempt.error_id}")
    if attempt.slot_before is not None:
        told.append(_SLOT_BEFORE[attempt.slot_before])
    if attempt.message:
        told.append(f"message: {attempt.message}")
    return [one_line(line) for line in told]
