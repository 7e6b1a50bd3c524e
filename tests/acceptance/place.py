"""A place where ingestd really runs: its folder, its configuration, the sandbox and the daemon as processes.

Everything is asked from outside: the program by its commands, the target by what the sandbox holds.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.program import run_command

PROGRAM = [sys.executable, "-m", "ingestd"]
ROOT = Path(__file__).parents[2]

CONFIGURATION = """
[storage]
directory = "{directory}/data"
min_free = "1MB"
{storage}
[uploads]
workers = {workers}
grace = "10s"
[preparation]
{preparation}
[targets.concur]
kind = "concur-image-v1"
url = "{url}"
{login}
timeout = "{timeout}"
{target}
[targets.concur.retry]
{pauses}
{retry}
[[folders]]
name = "inbox"
path = "{directory}/inbox"
settle = "200ms"
settle_incomplete = "800ms"
group_quiet = "600ms"
rescan = "2s"
{folder}
[[routes]]
path = "entries/{{entry}}/*"
send = "concur:expenseentry/{{entry}}"
[[routes]]
path = "reports/{{report}}/*"
send = "concur:report/{{report}}"
[[routes]]
path = "invoices/{{invoice}}/*"
send = "concur:invoice/{{invoice}}"
[[routes]]
path = "nowhere/*"
send = "concur:report/unknown-1"
[[routes]]
send = "concur:receipt"
"""

PARTS = {
    "storage": "",
    "workers": "8",
    "preparation": "",
    "login": 'token_file = "token"',
    "timeout": "5s",
    "target": "",
    "pauses": 'first = "200ms"\nceiling = "2s"\nunavailable = "500ms"',
    "retry": "",
    "folder": "",
}
"""What may stand in the configuration instead. Tables can follow in `retry` and `folder`."""


class SandboxProcess:
    """`ingestd sandbox` on a free port."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*PROGRAM, "sandbox", "--port", "0"], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        wait_until(lambda: bool(re.search(r"http://\S+", log.read_text())), "the sandbox listens")
        match = re.search(r"http://\S+", log.read_text())
        assert match is not None
        self.url = match[0]

    def images(self) -> list[dict[str, Any]]:
        """All that is stored, in order; `place` is the slot with its ID."""
        images: list[dict[str, Any]] = self._get("images")["images"]
        for image in images:
            image["place"] = f"{image['slot']}/{image['id']}" if image["id"] else image["slot"]
        return images

    def faults(self, **document: Any) -> None:
        """PUT /_sandbox/faults."""
        self._put("faults", document)

    def timeline(self, **document: Any) -> None:
        """PUT /_sandbox/timeline: it begins now."""
        self._put("timeline", document)

    def calm(self) -> None:
        """The timeline ends."""
        request = urllib.request.Request(f"{self.url}/_sandbox/timeline", method="DELETE")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 204

    def requests(self) -> dict[str, Any]:
        """Counts of what was asked, without the requests themselves."""
        return self._get("requests?limit=0")

    def logins(self) -> dict[str, Any]:
        """Clients and logins, as the token endpoint saw them."""
        return self._get("logins")

    def content(self, image: dict[str, Any]) -> bytes:
        """The bytes of one of `images`, as they came."""
        address = f"{self.url}/_sandbox/images/{image['number']}/content"
        with urllib.request.urlopen(address, timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def forget(self) -> None:
        """As after the start: no images, no faults."""
        request = urllib.request.Request(f"{self.url}/_sandbox/reset", method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 204

    def end(self) -> None:
        end(self.process)

    def _get(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_sandbox/{what}", timeout=60) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def _put(self, what: str, document: Any) -> None:
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{what}", data=json.dumps(document).encode(), method="PUT"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200


class Place:
    """A directory with a configuration; starts daemons and asks questions."""

    def __init__(self, directory: Path, url: str, **extra: str) -> None:
        self.directory = directory
        self.inbox = directory / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config = directory / "ingestd.toml"
        self.token("good-token")
        self.config.write_text(CONFIGURATION.format(directory=directory, url=url, **PARTS | extra))
        self._daemons: list[subprocess.Popen[bytes]] = []

    def token(self, text: str) -> None:
        path = self.directory / "token"
        path.write_text(text)
        path.chmod(0o600)

    def drop(self, path: str, content: bytes) -> Path:
        """Write a file into the inbox, as a person would."""
        target = self.inbox / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def command(self, *arguments: str) -> list[str]:
        return [*PROGRAM, *arguments, "--config", str(self.config)]

    def ingestd(
        self, *arguments: str, expect: int | None = 0, timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        """One command to its end; `run`, the daemon itself, in an interpreter of its own."""
        if arguments[0] == "run":
            done = subprocess.run(
                self.command(*arguments),
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        else:
            known = (*arguments, "--config", str(self.config))
            done = run_command(known, directory=ROOT, timeout_seconds=timeout)
        if expect is not None:
            assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """The daemon; its log is appended to daemon.log."""
        with (self.directory / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                self.command("run", *arguments),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )
        self._daemons.append(process)
        return process

    @contextmanager
    def daemon(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon that watches when the block begins and has ended when it ends."""
        before = self.log().count("run.started")
        process = self.start(*arguments, **environment)
        try:
            wait_until(
                lambda: self.log().count("run.started") > before or process.poll() is not None,
                "the daemon runs",
                self.log,
            )
            assert process.poll() is None, f"the daemon ended by itself\n{self.log()[-3000:]}"
            yield process
        finally:
            end(process)

    def end(self) -> None:
        for process in self._daemons:
            end(process)

    def log(self) -> str:
        path = self.directory / "daemon.log"
        return path.read_text() if path.exists() else ""

    def receipts(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.ingestd("list", "--json").stdout)["receipts"]
        return listed

    def states(self) -> dict[str, str]:
        """State by path."""
        return {receipt["path"]: receipt["state"] for receipt in self.receipts()}

    def balance(self) -> dict[str, Any]:
        books: dict[str, Any] = json.loads(self.ingestd("balance", "--json", expect=None).stdout)
        return books


def wait_until(
    ready: Callable[[], bool],
    what: str,
    explain: Callable[[], str] = str,
    seconds: float = 60,
    *,
    every_seconds: float = 0.05,
) -> None:
    """Polls until `ready`; fails with the sentence it waited for."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}\n{explain()[-3000:]}"
        time.sleep(every_seconds)


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """Ends a process of ours by its own ID and returns its exit code."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def files_below(directory: Path, ignored: Sequence[str] = ()) -> set[str]:
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and path.relative_to(directory).parts[0] not in ignored
    }
