"""The program's commands as processes of their own, forked from one that has imported the program already.

Most of what a command costs is the start of the interpreter and its imports; hundreds of commands share them
here. What the program does in its own process, from the arguments to the exit code, is all done.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ingestd import cli

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["ingestd.cli"])


def run_command(
    arguments: Sequence[str], *, directory: Path, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """`ingestd ARGUMENTS` in that directory, with this process's environment, to its end.

    Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory() as place:
        written = [Path(place, name) for name in ("stdout", "stderr")]
        process = _FORKING.Process(
            target=_be_the_program, args=(list(arguments), directory, dict(os.environ), written)
        )
        process.start()
        process.join(timeout_seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["ingestd", *arguments], timeout_seconds)
        code = process.exitcode
        process.close()
        stdout, stderr = (path.read_text() if path.exists() else "" for path in written)
    return subprocess.CompletedProcess(["ingestd", *arguments], code, stdout, stderr)


def _be_the_program(
    arguments: list[str], directory: Path, environment: dict[str, str], written: Sequence[Path]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for descriptor, path in enumerate(written, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.argv = ["ingestd", *arguments]
    cli.main()
