"""How far an audit is: on a terminal a bar with the rate and the time left, else a plain line now and then.

Always on stderr: stdout is for what was found.
"""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class AuditProgress:
    """`begin` a part, then `advance` it: `share` is how much of it is done, from 0 to 1."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
            told = TextColumn("{task.fields[told]}")
            self._bar = Progress(*columns, told, TimeRemainingColumn(), console=console, transient=True)
        self._part = ""
        self._began = self._line_at = 0.0

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, part: str) -> None:
        self._part = part
        self._began = time.monotonic()
        self._line_at = self._began + LINE_EVERY_S
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._task = self._bar.add_task(part, total=1.0, told="")

    def advance(self, share: float, told: str, read_bytes: int = 0) -> None:
        seconds = max(time.monotonic() - self._began, 0.001)
        if read_bytes:
            told = f"{told}, {size_text(read_bytes)}, {size_text(round(read_bytes / seconds))}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=share, told=told)
        elif time.monotonic() >= self._line_at and share > 0:
            self._line_at = time.monotonic() + LINE_EVERY_S
            left_s = seconds / share * (1 - share)
            sys.stderr.write(f"{self._part}: {told}, {share:.0%}, about {left_s:,.0f} s left\n")
            sys.stderr.flush()


def size_text(size_bytes: int) -> str:
    """`61.2 GB`, in powers of ten like the configuration."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
