"""Progress of a long run: a bar on a terminal, one plain line for each settled receipt otherwise.

An Observer: it hears what the pipeline tells everybody, and asks nothing.
"""

import sys
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from ingestd.cli.rendering import one_line
from ingestd.domain.states import SETTLED, State
from ingestd.interfaces import Level


class RunProgress:
    """Counts receipts accepted and settled. `backlog`: receipts that were waiting before this run."""

    def __init__(self, backlog: int) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._total = backlog
        self._settled: Counter[str] = Counter()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task("receipts", total=backlog or None)

    @property
    def on_terminal(self) -> bool:
        return self._bar is not None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self._settled.items()))
        self._say(f"This run: {counts or 'nothing to do'}.", "bold")

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        if event == "receipt.accepted":
            self._total += 1
        state = _settled_state(event, fields)
        if state is not None:
            self._settled[state] += 1
            self._line(state, fields)
        elif level in ("warning", "error") or event.startswith(("source.", "intake.", "gate.")):
            self._say("  ".join([event, *(f"{k}={v}" for k, v in fields.items() if v is not None)]), "yellow")
        if self._bar is not None:
            self._bar.update(self._task, completed=self._settled.total(), total=self._total or None)

    def _line(self, state: str, fields: dict[str, object]) -> None:
        words = [state, str(fields.get("path", ""))]
        if fields.get("destined"):
            words.append(f"-> {fields['destined']}")
        if fields.get("image_id"):
            words.append(f"image ID {fields['image_id']}")
        elif fields.get("reason"):
            words.append(f"({fields['reason']})")
        self._say("  ".join(words), "green" if state == State.UPLOADED else "red")

    def _say(self, line: str, style: str) -> None:
        line = one_line(line)
        if self._bar is not None:
            self._console.print(Text(line, style=style))
        else:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def _settled_state(event: str, fields: dict[str, object]) -> str | None:
    """The state a receipt has just settled in, if this is what the event tells."""
    if event in ("receipt.rejected", "receipt.held"):
        return event.partition(".")[2]
    state = fields.get("state")
    if fields.get("settled") or (event == "receipt.accepted" and state in {str(s) for s in SETTLED}):
        return str(state)
    return None
