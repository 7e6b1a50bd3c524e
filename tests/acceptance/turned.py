"""The program with a wall clock that somebody sets: `python -m tests.acceptance.turned FILE COMMAND …`.

FILE holds by how many seconds the wall is away from the real time, and may change while the program runs.
What counts since the boot goes on, as it does when a real clock is set (libfaketime turns absolute sleeps
as well, so it can't be used for this).
"""

import sys
import time
from pathlib import Path

from ingestd import cli

_real_ns = time.time_ns
_file = Path(sys.argv.pop(1))


def _turned_ns() -> int:
    return _real_ns() + int(_file.read_text()) * 1_000_000_000


if __name__ == "__main__":
    time.time_ns = _turned_ns
    time.time = lambda: _turned_ns() / 1e9
    cli.main()
