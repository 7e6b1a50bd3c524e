"""10,000 files dropped at once: all uploaded, memory flat, no more open files than allowed."""

import json
import resource
import subprocess
import time
from pathlib import Path

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import ROOT, Place, SandboxProcess

OPEN_FILES = 128
FLAT_KB = 40_000
"""How much more memory 10,000 files may take than 1,000: SQLite's page cache fills (32 MB), no more grows."""


def figures(pid: int) -> tuple[int, int]:
    """Peak resident memory in KB and open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]), sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def run_until_idle(place: Place) -> tuple[int, int, float]:
    """Peak resident memory in KB, most open files, and seconds of one run."""

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))

    started = time.monotonic()
    with (place.directory / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            place.command("run", "--until-idle"),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=log,
            preexec_fn=few_files,  # noqa: PLW1509 - one thread, and only a limit is set
        )
    memory, files = 0, 0
    while process.poll() is None:
        try:
            seen = figures(process.pid)
        except (OSError, IndexError):
            break
        memory, files = max(memory, seen[0]), max(files, seen[1])
        time.sleep(0.1)
    assert process.wait() == 0, place.log()[-3000:]
    return memory, files, time.monotonic() - started


def drop(place: Place, count: int) -> None:
    for number in range(count):
        (place.inbox / f"receipt-{number:05}.jpg").write_bytes(samples.small_jpeg(number))


def test_ten_thousand_files_at_once_are_all_uploaded_in_flat_memory(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    few, many = make_place(), make_place()
    drop(few, 1_000)
    small = run_until_idle(few)
    drop(many, 10_000)
    large = run_until_idle(many)
    print(f"1,000: {small[0] / 1000:.0f} MB, {small[1]} open files, {1_000 / small[2]:.0f} receipts/s")
    print(f"10,000: {large[0] / 1000:.0f} MB, {large[1]} open files, {10_000 / large[2]:.0f} receipts/s")
    held = [image["sha256"] for image in sandbox.images()]
    assert len(held) == 11_000
    assert len(set(held)) == 10_000
    books = json.loads(many.ingestd("balance", "--json").stdout)
    assert books["closed"] and books["uploaded"] == 10_000
    assert large[0] - small[0] < FLAT_KB
    assert large[1] <= OPEN_FILES
