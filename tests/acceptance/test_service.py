"""The daemon as a service: what it tells its manager, what it logs, what it keeps secret, how it ends.

The manager here is a socket of the test; under a real systemd it runs in tests/torture.
"""

import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ingestd import samples
from tests.acceptance.place import ROOT, Place, SandboxProcess, end, wait_until

WATCHDOG_SECONDS = 0.9
FED_EVERY_SECONDS = WATCHDOG_SECONDS / 3
MOST_THREADS = 48
"""asyncio's own pool has at most 32 (its default executor), the ledger one or two, watchfiles two."""
MOST_DESCRIPTORS = 120
"""About 20 at rest; 16 arrivals being copied, 8 uploads, 4 documents being looked at take up to 3 each."""


class Manager:
    """The socket of a service manager, in the abstract namespace as systemd's may be (sd_notify(3))."""

    def __init__(self) -> None:
        self.name = f"@ingestd-test-{secrets.token_hex(8)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.name[1:])
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """All lines heard until now."""
        with suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(65536).decode().splitlines()
        return self.heard

    def wait_for(self, line: str, seconds: float = 20) -> None:
        wait_until(lambda: line in self.listen(), f"the manager hears {line}", seconds=seconds)

    def feedings(self, seconds: float) -> int:
        """How often the watchdog was fed in that time."""
        before = self.listen().count("WATCHDOG=1")
        time.sleep(seconds)
        return self.listen().count("WATCHDOG=1") - before

    @contextmanager
    def service(self, place: Place, *, watchdog_process: str = "$$") -> Iterator[subprocess.Popen[bytes]]:
        """A daemon started as systemd would, its log in daemon.log; killed if it does not end."""
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": self.name,
            "WATCHDOG_USEC": str(round(WATCHDOG_SECONDS * 1_000_000)),
        }
        script = f'WATCHDOG_PID={watchdog_process}; export WATCHDOG_PID; exec "$@"'
        with (place.directory / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                ["sh", "-c", script, "sh", *place.command("run")],
                cwd=ROOT, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            self._socket.close()


# --- the manager -------------------------------------------------------------------------------------------


def test_the_manager_is_told_how_the_service_is_and_feeds_no_watchdog_for_a_hanging_one(place: Place) -> None:
    place.drop("good.jpg", samples.small_jpeg(1))
    place.drop("bad.pdf", samples.text())
    place.ingestd("run", "--until-idle", expect=3)
    manager = Manager()
    with manager.service(place) as daemon:
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=0 waiting; 1 uploaded; 1 need a person")
        assert manager.feedings(4 * FED_EVERY_SECONDS) >= 2
        daemon.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        assert manager.feedings(2 * FED_EVERY_SECONDS) == 0
        daemon.send_signal(signal.SIGCONT)
        assert manager.feedings(4 * FED_EVERY_SECONDS) >= 2
        assert "STOPPING=1" not in manager.heard
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        assert "STOPPING=1" in manager.listen()
    assert manager.heard.index("READY=1") < manager.heard.index("STOPPING=1")
    assert manager.heard.count("READY=1") == 1


def test_ready_is_told_only_when_what_a_crash_left_has_been_put_in_order(place: Place) -> None:
    place.ingestd("migrate")
    manager = Manager()
    ledger = sqlite3.connect(place.directory / "data/ledger.db", isolation_level=None)
    ledger.execute("BEGIN IMMEDIATE")
    with manager.service(place, watchdog_process="1") as daemon:
        wait_until(lambda: (place.directory / "data/run.lock").exists(), "it starts", place.log)
        time.sleep(1.5)
        assert "READY=1" not in manager.listen()
        ledger.execute("ROLLBACK")
        manager.wait_for("READY=1")
        assert end(daemon) == 0
        assert "WATCHDOG=1" not in manager.listen(), "the watchdog is for another process"
    ledger.close()


def test_a_service_that_can_not_start_is_never_ready(place: Place) -> None:
    with place.daemon() as first:
        manager = Manager()
        with manager.service(place) as second:
            assert second.wait(20) == 2
            assert "READY=1" not in manager.listen()
        assert f"(process {first.pid})" in place.log()
        assert first.poll() is None
        place.drop("a.jpg", samples.small_jpeg(1))
        wait_until(lambda: (place.inbox / "uploaded/a.jpg").exists(), "the first goes on", place.log)
        assert end(first) == 0


# --- logs and secrets --------------------------------------------------------------------------------------


def test_every_log_line_is_json_and_every_attempt_has_its_canonical_line(
    place: Place, sandbox: SandboxProcess
) -> None:
    with place.daemon() as daemon:
        place.drop("a.jpg", samples.small_jpeg(1))
        place.drop("nowhere/b.jpg", samples.small_jpeg(2))
        place.drop("reports/accept-then-drop/c.jpg", samples.small_jpeg(3))
        place.drop("bad.pdf", samples.text())
        wait_until(lambda: place.log().count("attempt.finished") == 3, "all are attempted", place.log)
        wait_until(lambda: "receipt.rejected" in place.log(), "one is rejected", place.log)
        assert end(daemon) == 0
    lines = [json.loads(line) for line in place.log().splitlines()]
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", line["event"]) for line in lines)
    assert all(line.keys() >= {"event", "level", "timestamp"} for line in lines)
    assert (lines[0]["event"], lines[-1]["event"]) == ("run.started", "run.stopped")
    attempts = {line["path"]: line for line in lines if line["event"] == "attempt.finished"}
    for line in attempts.values():
        assert line.keys() >= {
            "receipt",
            "destined",
            "attempt",
            "outcome",
            "state",
            "sent_bytes",
            "milliseconds",
        }
    told = {path: (line["outcome"], line["state"], line.get("status")) for path, line in attempts.items()}
    assert told == {
        "a.jpg": ("uploaded", "uploaded", 201),
        "nowhere/b.jpg": ("refused", "failed", 404),
        "reports/accept-then-drop/c.jpg": ("unconfirmed", "unconfirmed", None),
    }
    assert attempts["a.jpg"]["correlation_id"] and attempts["nowhere/b.jpg"]["correlation_id"]
    (stored,) = (image for image in sandbox.images() if image["place"] == "receipt")
    assert attempts["a.jpg"]["image_id"] == stored["image_id"]


def test_a_token_is_nowhere_but_in_its_file_and_on_the_wire(place: Place, sandbox: SandboxProcess) -> None:
    canary, refused = f"good-{secrets.token_hex(16)}", f"expired-{secrets.token_hex(16)}"
    place.token(refused)
    place.drop("a.jpg", samples.small_jpeg(1))
    with place.daemon() as daemon:
        wait_until(lambda: "gate.closed" in place.log(), "the first token is refused", place.log)
        place.token(canary)
        wait_until(lambda: (place.inbox / "uploaded/a.jpg").exists(), "it is uploaded", place.log)
        family = descendants(daemon.pid)
        assert len(family) >= 2, "the daemon, the fork server, a worker"
        for process in (daemon.pid, *family):
            for what in ("environ", "cmdline"):
                with suppress(FileNotFoundError, ProcessLookupError):
                    assert not holds(Path(f"/proc/{process}/{what}"), canary, refused)
        shown = "".join(place.ingestd(*each).stdout for each in (["list", "--json"], ["export"]))
    assert canary not in shown and refused not in shown
    everything = [path for path in place.directory.rglob("*") if path.is_file() and path.name != "token"]
    assert {path.name for path in everything} >= {"ledger.db", "daemon.log"}
    for path in everything:
        assert not holds(path, canary, refused), path


def holds(path: Path, *words: str) -> bool:
    content = path.read_bytes()
    return any(word.encode() in content for word in words)


def descendants(process: int) -> list[int]:
    """Children and grandchildren, by /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [process]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


# --- ends and losses ---------------------------------------------------------------------------------------


def test_a_stop_in_the_middle_of_an_upload_lets_it_finish(place: Place, sandbox: SandboxProcess) -> None:
    sandbox.faults(faults=[{"match": "receipt", "fault": "slow-2"}])
    for number in range(3):
        place.drop(f"{number}.jpg", samples.small_jpeg(number))
    with place.daemon() as daemon:
        wait_until(lambda: len(sandbox.images()) == 3, "the target has them and keeps us waiting", place.log)
        assert "attempt.finished" not in place.log()
        assert end(daemon) == 0
    assert set(place.states().values()) == {"uploaded"}
    assert {r["image_id"] for r in place.receipts()} == {i["image_id"] for i in sandbox.images()}
    assert {path.name for path in (place.inbox / "uploaded").iterdir()} == {"0.jpg", "1.jpg", "2.jpg"}


def test_a_worker_that_is_killed_while_it_looks_at_a_receipt_costs_no_good_receipt(place: Place) -> None:
    with place.daemon() as daemon:
        place.drop("first.jpg", samples.small_jpeg(1))
        wait_until(lambda: (place.inbox / "uploaded/first.jpg").exists(), "the first is up", place.log)
        server = next(p for p in descendants(daemon.pid) if name_of(p).startswith("ingestd-offload"))
        workers = descendants(server)
        assert workers
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        place.drop("second.jpg", samples.small_jpeg(2))
        wait_until(lambda: place.states().get("second.jpg") == "received", "a worker has it", place.log)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: (place.inbox / "uploaded/second.jpg").exists(), "another worker did it", place.log)
        assert daemon.poll() is None
        assert end(daemon) == 0
    assert place.balance() | {"closed": True, "seen": 2, "uploaded": 2} == place.balance()


def name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_open_files_and_threads_do_not_grow_with_the_receipts(place: Place, sandbox: SandboxProcess) -> None:
    files = 300
    with place.daemon() as daemon:
        place.drop("0.jpg", samples.small_jpeg(0))
        wait_until(lambda: len(sandbox.images()) == 1, "it flows", place.log)
        before = threads_and_descriptors(daemon.pid)
        threads, descriptors = before
        for number in range(1, files):
            place.drop(f"{number}.jpg", samples.small_jpeg(number))

        def all_stored() -> bool:
            nonlocal threads, descriptors
            now = threads_and_descriptors(daemon.pid)
            threads, descriptors = max(threads, now[0]), max(descriptors, now[1])
            return len(sandbox.images()) == files

        wait_until(all_stored, "all are stored", place.log)
        wait_until(lambda: place.log().count("attempt.finished") == files, "all are recorded", place.log)
    print(f"before {before}, at most {threads} threads, {descriptors} descriptors")
    assert threads <= MOST_THREADS
    assert descriptors <= MOST_DESCRIPTORS


def threads_and_descriptors(process: int) -> tuple[int, int]:
    entries = Path(f"/proc/{process}")
    return len(list((entries / "task").iterdir())), len(list((entries / "fd").iterdir()))
