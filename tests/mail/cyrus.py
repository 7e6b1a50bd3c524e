"""A real Cyrus of the tests' own: another server than Dovecot, with other habits.

Debian's packages of the two exclude each other, so this one is unpacked, not installed (`make torture` does
it), and found through TORTURE_CYRUS, else below the virtual environment. Any user name exists; a saslauthd of
our own lets in who has the password "secret".
"""

import imaplib
import os
import re
import shutil
import signal
import smtplib
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ingestd.settings import MailboxSettings
from tests.mail.dovecot import PASSWORD, Stored, write_certificates

ROOT = Path(os.environ.get("TORTURE_CYRUS", Path(sys.prefix) / "cyrus"))
"""Where the packages cyrus-common and cyrus-imapd are unpacked."""

_PROGRAMS = ROOT / "usr/lib/cyrus/bin"
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Layout:
    """Where personal mailboxes are, and what stands between their levels."""

    prefix: str
    separator: str

    def server_name(self, name: str) -> str:
        """Of a mailbox named with "/" between levels, as in the configuration."""
        return name if name == "INBOX" else self.prefix + name.replace("/", self.separator)


BELOW_INBOX = Layout("INBOX.", ".")
"""As Cyrus was for twenty years, and still is at many providers."""
BESIDE_INBOX = Layout("", "/")


def what_is_missing() -> str:
    """Why it can't be started here; empty when it can."""
    if os.geteuid() != 0:
        return "a Cyrus of our own is started as root"
    if not (_PROGRAMS / "imapd").exists():
        return f"no Cyrus is unpacked in {ROOT} (make torture does it on Debian; else set TORTURE_CYRUS)"
    told = subprocess.run(
        ["ldd", str(_PROGRAMS / "imapd")], env=_environment(), capture_output=True, text=True, check=False
    ).stdout
    libraries = [line.split()[0] for line in told.splitlines() if "not found" in line]
    return f"Cyrus wants {', '.join(libraries)}" if libraries else ""


class Cyrus:
    """Runs from __enter__ to __exit__. `without`: abilities that it does not offer, as "IDLE" or "MOVE".

    `quota_kilobytes`: for each user.
    """

    def __init__(
        self,
        directory: Path,
        *,
        layout: Layout = BELOW_INBOX,
        without: tuple[str, ...] = (),
        quota_kilobytes: int | None = None,
        password: str = PASSWORD,
    ) -> None:
        self.directory = directory
        self.layout = layout
        self.password = password
        self.host = "localhost"
        self.port, self.plain_port, self.lmtp_port = _free_ports(3)
        self.ca_file = directory / "ca.pem"
        self._without = without
        self._quota_kilobytes = quota_kilobytes
        self._process: subprocess.Popen[bytes] | None = None
        self._judge: _Judge | None = None

    def __enter__(self) -> Self:
        # Its processes run as nobody, to whom the directories that pytest makes are closed; and the names of
        # sockets may not be long.
        self._open_place = Path(tempfile.mkdtemp(prefix="cyrus-"))
        try:
            self._lay_out()
            self._judge = _Judge(self._open_place / "mux", self.password)
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    # --- life and death ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when it greets."""
        end = time.monotonic() + _START_SECONDS
        while True:
            with (self.directory / "cyrus.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [_PROGRAMS / "master", *self._arguments("-M", "cyrus.conf", "-p", "pid"), "-D"],
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            if self._greets(end):
                return
            # After a kill its ports may still be taken for a moment.
            self.kill9()
            if time.monotonic() > end:
                raise RuntimeError(f"Cyrus does not start: {(self.directory / 'cyrus.log').read_text()}")
            time.sleep(0.05)

    def kill9(self) -> None:
        """All of it at once: what its master starts stays in its process group."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def settings(self, user: str, **changes: Any) -> MailboxSettings:
        """Of this user's mailbox over TLS."""
        known: dict[str, Any] = {"name": user, "host": self.host, "port": self.port, "ca_file": self.ca_file}
        return MailboxSettings(**(known | {"user": user, "deadline": timedelta(seconds=10)} | changes))

    # --- what is in the mailboxes: named as in the configuration ----------------------------------------

    def deliver(self, raw: bytes, user: str, *, sender: str = "sender@example.com") -> None:
        """Into the INBOX by LMTP."""
        with smtplib.LMTP("127.0.0.1", self.lmtp_port) as lmtp:
            lmtp.sendmail(sender, [user], raw)

    def append(self, raw: bytes, user: str, mailbox: str = "INBOX") -> int:
        """Exactly these bytes, by IMAP; the UID."""
        name = self._quoted(mailbox)
        with self.client(user) as client:
            if mailbox != "INBOX":
                client.create(name)
            kind, answer = client.append(name, "", "", raw)
            assert kind == "OK", answer
            found = re.search(rb"\[APPENDUID \d+ (\d+)\]", answer[0])
            assert found is not None, answer
            return int(found[1])

    def messages(self, user: str, mailbox: str = "INBOX") -> list[Stored]:
        """As an independent client sees them, by UID; nothing when there is no such mailbox."""
        with self.client(user) as client:
            if client.select(self._quoted(mailbox), readonly=True)[0] != "OK":
                return []
            _, answer = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
            return sorted(_stored(answer), key=lambda message: message.uid)

    def mailboxes(self, user: str) -> list[str]:
        """The server's own names."""
        with self.client(user) as client:
            _, lines = client.list()
            texts = (line.decode() for line in lines if isinstance(line, bytes))
            return [text.rpartition(f' "{self.layout.separator}" ')[2].strip('"') for text in texts]

    def make(self, user: str, mailbox: str) -> None:
        self._obeyed(user, lambda client: client.create(self._quoted(mailbox)))

    def rename(self, user: str, mailbox: str, new: str) -> None:
        self._obeyed(user, lambda client: client.rename(self._quoted(mailbox), self._quoted(new)))

    def make_anew(self, user: str, mailbox: str) -> None:
        """As a person who deletes a mailbox and makes another one of that name: UIDs begin at 1 again."""
        self._obeyed(user, lambda client: client.delete(self._quoted(mailbox)))
        self.make(user, mailbox)

    @contextmanager
    def client(self, user: str) -> Iterator[imaplib.IMAP4]:
        """An independent client, logged in."""
        client = imaplib.IMAP4("127.0.0.1", self.plain_port, timeout=30)
        try:
            client.login(user, self.password)
            yield client
        finally:
            client.shutdown()

    # --- below ------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self.kill9()
        if self._judge is not None:
            self._judge.end()
        shutil.rmtree(self._open_place)

    def _obeyed(self, user: str, order: Callable[[imaplib.IMAP4], tuple[str, list[Any]]]) -> None:
        with self.client(user) as client:
            kind, answer = order(client)
            assert kind == "OK", answer

    def _quoted(self, mailbox: str) -> str:
        return f'"{self.layout.server_name(mailbox)}"'

    def _arguments(self, *more: str) -> list[str]:
        """`-C imapd.conf`, and pairs of an option and a file of ours."""
        pairs = ("-C", "imapd.conf", *more)
        return [str(self._open_place / each) if at % 2 else each for at, each in enumerate(pairs)]

    def _lay_out(self) -> None:
        self._open_place.chmod(0o755)
        for name in ("config/db", "config/socket", "spool", "lock", "proc"):
            (self._open_place / name).mkdir(parents=True)
        write_certificates(self.directory, ("localhost", "127.0.0.1"))
        for name in ("server.pem", "server.key"):
            shutil.copy(self.directory / name, self._open_place)
        settings = _SETTINGS.format(
            here=self._open_place,
            alternative="yes" if self.layout is BESIDE_INBOX else "no",
            quota=self._quota_kilobytes or 0,  # 0: none
            # 0 switches IDLE off.
            idle_poll=0 if "IDLE" in self._without else 1,
        )
        suppressed = " ".join(each for each in self._without if each != "IDLE")
        if suppressed:
            settings += f"suppress_capabilities: {suppressed}\n"
        (self._open_place / "imapd.conf").write_text(settings)
        services = _SERVICES.format(
            programs=_PROGRAMS,
            arguments=" ".join(self._arguments()),
            port=self.port,
            plain_port=self.plain_port,
            lmtp_port=self.lmtp_port,
        )
        (self._open_place / "cyrus.conf").write_text(services)
        for path in (self._open_place, *self._open_place.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")

    def _greets(self, end: float) -> bool:
        assert self._process is not None
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.plain_port), 5) as connection:
                    if connection.recv(4) == b"* OK":
                        return True
            except OSError:
                time.sleep(0.005)
        return False


class _Judge:
    """A saslauthd that knows one password: counted strings come, one counted string goes."""

    def __init__(self, path: Path, password: str) -> None:
        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                _, offered, _, _ = (
                    self.rfile.read(*struct.unpack(">H", self.rfile.read(2))) for _ in range(4)
                )
                answer = b"OK" if offered == password.encode() else b"NO"
                self.wfile.write(struct.pack(">H", len(answer)) + answer)

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Answer)
        path.chmod(0o666)
        self._thread = threading.Thread(target=self._server.serve_forever, name="saslauthd")
        self._thread.start()

    def end(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _environment() -> dict[str, str]:
    libraries = (str(path) for path in sorted(ROOT.glob("usr/lib/*-linux-*")))
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def _free_ports(number: int) -> list[int]:
    """Held all at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _stored(answer: list[object]) -> Iterator[Stored]:
    for line in answer:
        if isinstance(line, tuple):
            head, raw = line
            uid, flags = re.search(rb"UID (\d+)", head), re.search(rb"FLAGS \(([^)]*)\)", head)
            assert uid is not None and flags is not None, head
            # \Recent is about this session, not about the message.
            yield Stored(int(uid[1]), frozenset(flags[1].decode().split()) - {"\\Recent"}, raw)


_SETTINGS = """\
cyrus_user: nobody
cyrus_group: nogroup
configdirectory: {here}/config
proc_path: {here}/proc
mboxname_lockpath: {here}/lock
defaultpartition: default
partition-default: {here}/spool
altnamespace: {alternative}
unixhierarchysep: {alternative}
allowplaintext: yes
autocreate_quota: {quota}
autocreate_post: yes
duplicatesuppression: no
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {here}/mux
sasl_mech_list: PLAIN
tls_server_cert: {here}/server.pem
tls_server_key: {here}/server.key
idlesocket: {here}/config/socket/idle
notifysocket: {here}/config/socket/notify
imapidlepoll: {idle_poll}
syslog_prefix: cyrus-of-the-tests
"""
"""`duplicatesuppression` would drop a message of the same Message-ID: here people send one twice."""

_SERVICES = """\
START {{
  recover cmd="{programs}/ctl_cyrusdb {arguments} -r"
  idled cmd="{programs}/idled {arguments}"
}}
SERVICES {{
  imap cmd="{programs}/imapd {arguments}" listen="127.0.0.1:{plain_port}"
  imaps cmd="{programs}/imapd -s {arguments}" listen="127.0.0.1:{port}"
  lmtp cmd="{programs}/lmtpd -a {arguments}" listen="127.0.0.1:{lmtp_port}"
}}
EVENTS {{
}}
"""
