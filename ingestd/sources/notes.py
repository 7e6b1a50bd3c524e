"""The texts beside a file: what became of it, for the person who dropped it, in plain words.

Each text names the receipt ID; that is also how a text of ours is recognised later.
"""

from datetime import UTC, datetime
from typing import assert_never

from ingestd.domain.document import MICROSECONDS, Document, Instant, display_name
from ingestd.domain.states import State
from ingestd.interfaces import Report

REASON_SUFFIX = ".reason.txt"
REPEAT_SUFFIX = ".repeat.txt"

_NAMED = 20


def reason_text(report: Report, document: Document, filename: str) -> str:
    """Why a file is in rejected/ and what to do about it. `filename` is its name there."""
    headline, advice = _what_it_means(report)
    lines = [
        f"{display_name(filename)} {headline}",
        "",
        f"What is wrong:  {report.reason or 'no reason was recorded'}",
        f"What to do:     {advice}",
        "",
        f"Came as:        {_one_line(own_path(report, document))}",
        f"Meant for:      {report.destined or 'nothing yet'}",
        f"State:          {report.state}, since {moment(report.at)}",
        f"Receipt ID:     {report.receipt}",
        "",
        f"For your IT department:  ingestd show {report.receipt}",
    ]
    lines += [f"                         {command}" for command in _commands(report)]
    if len(report.documents) > 1:
        lines[1:1] = ["", _belongs_together(report)]
    return "\n".join(lines) + "\n"


def repeat_text(report: Report, document: Document, filename: str) -> str:
    """That the same file was uploaded before, so that nothing was uploaded this time."""
    again = "FILE" if len(report.documents) == 1 else "FILE…"
    lines = [
        f"{display_name(filename)} had been uploaded before, so it was not uploaded again.",
        "",
        f"It went to:     {report.destined}",
        f"Image ID:       {report.image_id or 'unknown'}",
        f"First upload:   {moment(report.at)}",
        f"Came as:        {_one_line(own_path(report, document))}",
        f"Receipt ID:     {report.receipt}",
        "",
        "To upload it again on purpose, ask your IT department:",
        f"ingestd submit {again} --to {report.destined} --again",
    ]
    if len(report.documents) > 1:
        lines[1:1] = ["", _belongs_together(report)]
    return "\n".join(lines) + "\n"


def refusal_text(filename: str, path: str, reason: str, arrival: str, at: Instant) -> str:
    """Why a file was put aside without being read."""
    lines = [
        f"{display_name(filename)} was not taken.",
        "",
        f"What is wrong:  {reason}",
        "What to do:     Drop a smaller file, for example a scan with fewer pages or a lower resolution.",
        "",
        f"Came as:        {_one_line(path)}",
        f"When:           {moment(at)}",
        f"Arrival ID:     {arrival}",
    ]
    return "\n".join(lines) + "\n"


def own_path(report: Report, document: Document) -> str:
    """What a document came as, below the folder: a page of a group or a member of an archive has its own."""
    return (document.arrived_as or report.origin.path).encode("utf-8", "replace").decode()


def moment(at: Instant) -> str:
    return datetime.fromtimestamp(at / MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _belongs_together(report: Report) -> str:
    paths = [own_path(report, document) for document in report.documents]
    names = [display_name(path.rpartition("/")[2]) for path in paths]
    shown = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"This receipt is made of {len(names)} files: {shown}{more}."


def _what_it_means(report: Report) -> tuple[str, str]:
    match report.state:
        case State.REJECTED:
            return (
                "was not uploaded: it can't be used as a receipt as it is.",
                "Correct the file and drop it into the folder again.",
            )
        case State.FAILED:
            return (
                "was not uploaded: the expense system did not take it.",
                "Remove the cause and drop the file into the folder again, or ask your IT department to "
                "try again.",
            )
        case State.HELD:
            return (
                "is not uploaded yet: somebody has to decide about it.",
                "Tell your IT department where it belongs, or correct it and drop it into the folder again.",
            )
        case State.UNCONFIRMED:
            return (
                "may have been uploaded or not: no answer came back.",
                "Look into the expense system first. Do not drop it again before you know that it is "
                "missing there.",
            )
        case State.DROPPED:
            return (
                "was not uploaded: somebody decided that it is not needed.",
                "Nothing. If that was a mistake, drop it into the folder again.",
            )
        case State.UPLOADED | State.RECEIVED | State.READY | State.CLAIMED | State.UPLOADING:
            return "is on its way.", "Nothing."
        case _:
            assert_never(report.state)


def _commands(report: Report) -> list[str]:
    if report.state is State.DROPPED:
        return []
    commands = [f"ingestd retry {report.receipt}"]
    if report.state is State.UNCONFIRMED:
        commands.append(f"ingestd confirm {report.receipt} --image-id IMAGE-ID")
    return [*commands, f"ingestd drop {report.receipt}"]


def _one_line(path: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in path)
