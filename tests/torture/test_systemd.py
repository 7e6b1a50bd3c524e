"""The unit file under a real systemd that boots in namespaces of its own: start, work, hang, crash, stop.

Everything of deploy/ is used as it is; only the watchdog and the restart are made faster.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ingestd import samples
from tests.acceptance.letterbox import letter
from tests.acceptance.place import ROOT, SandboxProcess, wait_until
from tests.mail.conftest import dovecot, user
from tests.mail.dovecot import PASSWORD, Dovecot

__all__ = ["dovecot", "user"]

CONFIGURATION = """
[storage]
directory = "/var/lib/ingestd"
[targets.concur]
kind = "concur-image-v1"
url = "{url}"
token_file = "concur-token"
[[folders]]
name = "inbox"
path = "/srv/receipts/inbox"
settle = "200ms"
[[routes]]
send = "concur:receipt"
"""
MAILBOX = """
[[mailboxes]]
name = "receipts"
host = "localhost"
port = {port}
ca_file = "/etc/ingestd/ca.pem"
user = "{user}"
password_file = "imap-password"
allow = ["*@example.com"]
require = "none"
"""
# The credential is the line that the unit has as a comment. The rest proves that the hardening is real: where
# memory that is writable and executable can be had, the service does not start.
MAIL_UNIT = """
[Service]
LoadCredential=imap-password:/etc/ingestd/credentials/imap-password
ExecStartPre=/opt/python/bin/python3 -I /opt/hardened
"""
HARDENED = """
import mmap, sys
try:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    sys.exit()
sys.exit("memory may be writable and executable")
"""
PROGRAM = """#!/opt/python/bin/python3 -I
import sys
sys.path[:0] = ["/opt/source", "/opt/site"]
from ingestd.cli import main
main()
"""
FASTER = """
[Service]
WatchdogSec=6
RestartSec=200ms
# An interpreter that was built with a shared library finds it here, not where it was built.
Environment=LD_LIBRARY_PATH=/opt/python/lib
"""
TARGET = """
[Unit]
Wants=ingestd.service
"""


class Machine:
    """A systemd that runs; `root` is its file system, seen from here."""

    def __init__(self, directory: Path, files: dict[str, str]) -> None:
        """`files`: what an administrator puts there, by path."""
        self._log = directory / "boot.log"
        self._cgroup = _cgroup2() / f"torture-{os.getpid()}"
        self._cgroup.mkdir()
        stage, base = directory / "stage", directory / "base"
        base.mkdir()
        _lay_out(stage, files)
        environment = {
            **os.environ,
            "STAGE": str(stage),
            "BASE": str(base),
            "PYTHON": sys.base_prefix,
            "SITE": sysconfig.get_path("purelib"),
            "SOURCE": str(ROOT),
        }
        namespaces = ["unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--cgroup"]
        script = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
        command = [
            "bash",
            "-c",
            script,
            "bash",
            str(self._cgroup),
            *namespaces,
            str(Path(__file__).with_name("boot.sh")),
        ]
        with self._log.open("wb") as log:
            self._outer = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._first = 0

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._first}/root")

    def wait_for_service(self) -> None:
        wait_until(self._has_begun, "systemd begins", self.log)
        wait_until(lambda: self.show("ActiveState") == "active", "the service is ready", self.log)

    def run(self, *command: str) -> str:
        """A command inside; its output."""
        inside = ["nsenter", "-t", str(self._first), "-m", "-u", "-i", "-p", "-C", "-r", "-w"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True, timeout=100)
        return done.stdout.strip()

    def show(self, key: str) -> str:
        """A property of the service."""
        return self.run("systemctl", "show", "ingestd.service", "--value", "-p", key)

    def main_process(self) -> int:
        """As it is numbered out here."""
        inside = self.show("MainPID")
        for path in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                lines = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
                if lines["NSpid"].split()[1:] == [inside] and self._is_inside(path.parent):
                    return int(path.parent.name)
        raise AssertionError(f"the main process {inside} is not there")

    def log(self) -> str:
        journal = self.run("journalctl", "-u", "ingestd", "--no-pager", "-o", "cat") if self._first else ""
        return self._log.read_text() + journal

    def power_off(self) -> None:
        if self._first:
            with suppress(ProcessLookupError):
                os.kill(self._first, signal.SIGKILL)
        else:
            self._outer.kill()
        self._outer.wait()
        for directory, _, _ in os.walk(self._cgroup, topdown=False):
            _remove_cgroup(Path(directory))

    def _has_begun(self) -> bool:
        assert self._outer.poll() is None, self._log.read_text()
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            self._first = int(children[0])
        return bool(self._first) and self.run("systemctl", "is-system-running") in ("running", "degraded")

    def _is_inside(self, process: Path) -> bool:
        return (process / "ns/pid").readlink() == Path(f"/proc/{self._first}/ns/pid").readlink()


@pytest.fixture
def machine(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Machine]:
    with _booted(tmp_path, {"etc/ingestd/ingestd.toml": CONFIGURATION.format(url=sandbox.url)}) as machine:
        yield machine


@pytest.fixture
def machine_with_mail(
    tmp_path: Path, sandbox: SandboxProcess, dovecot: Dovecot, user: str
) -> Iterator[Machine]:
    """It reads a mailbox of a Dovecot out here: the network is not its own."""
    mailbox = MAILBOX.format(port=dovecot.port, user=user)
    files = {
        "etc/ingestd/ingestd.toml": CONFIGURATION.format(url=sandbox.url) + mailbox,
        "etc/ingestd/ca.pem": dovecot.ca_file.read_text(),
        "etc/ingestd/credentials/imap-password": PASSWORD,
        "etc/systemd/system/ingestd.service.d/mail.conf": MAIL_UNIT,
        "opt/hardened": HARDENED,
    }
    with _booted(tmp_path, files) as machine:
        yield machine


@contextmanager
def _booted(directory: Path, files: dict[str, str]) -> Iterator[Machine]:
    _need_what_booting_takes(directory)
    machine = Machine(directory, files)
    try:
        machine.wait_for_service()
        yield machine
    finally:
        machine.power_off()


@pytest.mark.timeout(300)
def test_the_service_works_hangs_crashes_and_stops_under_a_real_systemd(
    machine: Machine, sandbox: SandboxProcess
) -> None:
    assert machine.show("User") == "ingestd"
    secret = machine.root / "run/credentials/ingestd.service/concur-token"
    assert secret.read_text() == "good-token"
    assert secret.stat().st_mode & 0o077 == 0
    _drop_and_wait(machine, sandbox, 1)
    wait_until(lambda: "1 uploaded" in machine.show("StatusText"), "the status tells", machine.log)
    assert (machine.root / "var/lib/ingestd/ledger.db").exists()
    uploaded = machine.root / "srv/receipts/inbox/uploaded/receipt1.jpg"
    wait_until(uploaded.exists, "the file is in uploaded/", machine.log)
    assert uploaded.stat().st_mode & 0o040, "the group may read it"

    os.kill(machine.main_process(), signal.SIGSTOP)
    wait_until(lambda: machine.show("NRestarts") == "1", "the watchdog restarts it", machine.log)
    wait_until(lambda: machine.show("ActiveState") == "active", "it is ready again", machine.log)
    _drop_and_wait(machine, sandbox, 2)

    os.kill(machine.main_process(), signal.SIGKILL)
    wait_until(lambda: machine.show("NRestarts") == "2", "it is started again after a crash", machine.log)
    wait_until(lambda: machine.show("ActiveState") == "active", "it is ready again", machine.log)
    _drop_and_wait(machine, sandbox, 3)

    sandbox.faults(latency_seconds=2)
    _drop(machine, 4)
    wait_until(lambda: len(sandbox.images()) == 4, "an upload is in flight", machine.log)
    started = time.monotonic()
    machine.run("systemctl", "stop", "ingestd.service")
    print(f"stopped in {time.monotonic() - started:.1f} s with an upload in flight")
    assert machine.show("Result") == "success"
    assert machine.show("ExecMainStatus") == "0"
    books = machine.run(
        "env", "LD_LIBRARY_PATH=/opt/python/lib", "/opt/ingestd/bin/ingestd", "balance", "--json"
    )
    assert json.loads(books)["uploaded"] == 4, machine.log()
    assert len(sandbox.images()) == 4


HTML = """<html><body><h1>Grand Hotel</h1><p style="font-family: serif">Room 12, two nights, <b>240.00 EUR</b>
<table border="1"><tr><td>Breakfast</td><td>24.00</td></tr></table></p></body></html>"""


@pytest.mark.timeout(300)
def test_the_text_of_a_mail_becomes_a_pdf_under_the_hardening_of_the_unit(
    machine_with_mail: Machine, sandbox: SandboxProcess, dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    """What lays it out calls C libraries by cffi, while the unit lets nothing writable become executable."""
    machine = machine_with_mail
    dovecot.deliver(letter(subject="Your bill", text="", html=HTML), user)
    wait_until(lambda: len(sandbox.images()) == 1, "the text of the mail is uploaded", machine.log)
    bill = tmp_path / "bill.pdf"
    bill.write_bytes(sandbox.content(sandbox.images()[0]))
    text = subprocess.run(["pdftotext", "-layout", bill, "-"], capture_output=True, text=True, check=True)
    assert "Grand Hotel" in text.stdout and "240.00 EUR" in text.stdout and "Breakfast" in text.stdout
    wait_until(lambda: len(dovecot.messages(user, "Ingestd/Uploaded")) == 1, "it is filed", machine.log)
    journal = machine.log()
    assert "Traceback" not in journal and "letters" not in journal, journal


def _drop(machine: Machine, number: int) -> None:
    (machine.root / f"srv/receipts/inbox/receipt{number}.jpg").write_bytes(samples.small_jpeg(number))


def _drop_and_wait(machine: Machine, sandbox: SandboxProcess, number: int) -> None:
    _drop(machine, number)
    wait_until(lambda: len(sandbox.images()) == number, f"receipt {number} is uploaded", machine.log)


def _lay_out(stage: Path, files: dict[str, str]) -> None:
    """What an administrator puts onto a machine, and a target that boots nothing else."""
    known = {
        "opt/ingestd/bin/ingestd": PROGRAM,
        "etc/ingestd/credentials/concur-token": "good-token",
        "etc/systemd/system/ingestd.service": (ROOT / "deploy/systemd/ingestd.service").read_text(),
        "etc/systemd/system/ingestd.service.d/faster.conf": FASTER,
        "etc/systemd/system/torture.target": TARGET,
        "etc/sysusers.d/ingestd.conf": (ROOT / "deploy/sysusers.d/ingestd.conf").read_text(),
        "etc/tmpfiles.d/ingestd.conf": (ROOT / "deploy/tmpfiles.d/ingestd.conf").read_text(),
    }
    for name, text in (known | files).items():
        path = stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (stage / "opt/ingestd/bin/ingestd").chmod(0o755)


def _need_what_booting_takes(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("could not do it here: booting in namespaces needs root")
    tools = ("unshare", "nsenter", "systemctl", "systemd-sysusers", "systemd-tmpfiles", "pivot_root")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [tool for tool in tools if shutil.which(tool, path=path) is None]
    if missing or not Path("/lib/systemd/systemd").exists():
        pytest.skip(f"could not do it here: systemd is not installed whole ({', '.join(missing)})")
    try:
        _cgroup2()
        overlay = "mount -t overlay o -o lowerdir=/,upperdir=$1/u,workdir=$1/w $1/r"
        probe = f"mount -t tmpfs t $1 && mkdir $1/u $1/w $1/r && {overlay}"
        namespaces = ["unshare", "--pid", "--fork", "--mount", "--cgroup", "--propagation", "private"]
        done = subprocess.run(
            [*namespaces, "sh", "-c", probe, "sh", directory], capture_output=True, text=True
        )
    except OSError as error:
        pytest.skip(f"could not do it here: {error}")
    if done.returncode:
        pytest.skip(f"could not do it here: namespaces or an overlay are refused ({done.stderr.strip()})")


def _cgroup2() -> Path:
    """Where the unified hierarchy is mounted. Raises OSError when it is not, or is not ours to write."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(path, os.W_OK):
            return Path(path)
    raise OSError("no cgroup2 hierarchy that can be written")


def _remove_cgroup(path: Path) -> None:
    """A moment after its last process has gone."""
    for _ in range(100):
        try:
            path.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return
    path.rmdir()
