"""A real Dovecot of the tests' own: its directory, its ports, its certificates, made and ended by the tests.

Any user name exists, with the password "secret"; an access token is good when token() made it. The dark side
of servers is here, too: kill9(), pause() and options that take abilities away.
"""

import base64
import hashlib
import hmac
import imaplib
import ipaddress
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingestd.settings import MailboxSettings

PASSWORD = "secret"
_TOKEN_KEY = b"0123456789abcdef0123456789abcdef"
_PROGRAM = "/usr/sbin/dovecot"
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Stored:
    """A message as an independent client (the standard library's imaplib) sees it."""

    uid: int
    flags: frozenset[str]
    raw: bytes


class Dovecot:
    """Runs from __enter__ to __exit__; `directory` keeps its log and its certificates.

    `without`: abilities that it lacks: "MOVE", "UIDPLUS", "IDLE", "NAMESPACE", "SASL-IR" … and "KEYWORDS".
    `separator` and `prefix`: of the personal namespace. `quota_kilobytes`: for each user. `names`: what the
    certificate is made out to. `password` has no blanks: the static passdb can't have them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        without: tuple[str, ...] = (),
        separator: str = "/",
        prefix: str = "",
        quota_kilobytes: int | None = None,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        password: str = PASSWORD,
    ) -> None:
        if os.geteuid() != 0:
            raise PermissionError(
                "these tests start a Dovecot of their own, which only root can: run them as root"
            )
        if not Path(_PROGRAM).exists():
            raise FileNotFoundError(
                "install Dovecot for these tests: apt install dovecot-imapd dovecot-lmtpd"
            )
        self.directory = directory
        self.host = "localhost"
        self.port, self.plain_port, self.lmtp_port = _free_ports(3)
        self.ca_file = directory / "ca.pem"
        self._without = without
        self._separator, self._prefix = separator, prefix
        self._quota_kilobytes = quota_kilobytes
        self._names = names
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._lay_out()
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self._open_place)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._open_place)

    # --- life and death ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when it greets."""
        end = time.monotonic() + _START_SECONDS
        while True:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [_PROGRAM, "-F", "-c", str(self._configuration)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
            if self._greets(end):
                return
            # After a kill it may find its old self, or its ports, still there for a moment.
            self.kill9()
            if time.monotonic() > end:
                raise RuntimeError(f"Dovecot does not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Without ceremony: an orderly end takes it more than a second."""
        self.kill9()

    def shut_down(self) -> None:
        """As systemd ends it: all of its processes are asked to end, and clients are told BYE."""
        assert self._process is not None
        pids = self.processes()
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        end = time.monotonic() + _START_SECONDS
        while any(_runs(pid) for pid in pids) and time.monotonic() < end:
            time.sleep(0.02)
        left = [pid for pid in pids if _runs(pid)]
        self.kill9()
        assert not left, f"Dovecot does not end: {left} are left"

    def kick(self, user: str) -> None:
        """All sessions of this user are told BYE and closed."""
        self._doveadm("kick", user)

    def restart(self) -> None:
        self.kill9()
        self.start()

    def kill9(self) -> None:
        """All of it at once, as when the machine loses its power; connections are closed by the kernel."""
        for pid in self.processes():
            _signal(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It keeps its connections and says nothing any more."""
        for pid in self.processes():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self.processes():
            _signal(pid, signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def processes(self) -> list[int]:
        """Its master and all descendants; they are ours by the session that start() made."""
        if self._process is None:
            return []
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and (parent := _parent(entry)) is not None:
                children.setdefault(parent, []).append(int(entry.name))
        found, waiting = [], [self._process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += children.get(pid, [])
        return found

    def settings(self, user: str, **changes: Any) -> MailboxSettings:
        """Of this user's mailbox over TLS, or without it: `security="none"`."""
        port = self.plain_port if changes.get("security") == "none" else self.port
        known: dict[str, Any] = {"name": user, "host": self.host, "port": port, "ca_file": self.ca_file}
        return MailboxSettings(**(known | {"user": user, "deadline": timedelta(seconds=10)} | changes))

    # --- what is in the mailboxes -----------------------------------------------------------------------

    def deliver(self, raw: bytes, user: str, *, sender: str = "sender@example.com") -> None:
        """Into the INBOX by LMTP, as a mail server hands mail over: it adds Return-Path and Received."""
        with smtplib.LMTP("127.0.0.1", self.lmtp_port) as lmtp:
            lmtp.sendmail(sender, [user], raw)

    def append(self, raw: bytes, user: str, mailbox: str = "INBOX", *, flags: str = "") -> int:
        """Exactly these bytes, by IMAP; the UID."""
        with self.client(user) as client:
            if mailbox != "INBOX":
                client.create(_quoted(mailbox))
            kind, answer = client.append(_quoted(mailbox), flags, "", raw)
            assert kind == "OK", answer
            return _appended_uid(client, mailbox, answer[0])

    def fill(self, messages: list[bytes], user: str, mailbox: str = "INBOX") -> None:
        """Many at once, straight into the maildir; Dovecot finds them when the mailbox is next looked at."""
        self._maildir(user, mailbox).mkdir(parents=True, exist_ok=True)
        new = self._maildir(user, mailbox) / "new"
        for folder in (new, new.parent / "cur", new.parent / "tmp"):
            folder.mkdir(exist_ok=True)
        stamp = time.time_ns()
        for at, raw in enumerate(messages):
            (new / f"{stamp // 10**9}.M{stamp % 10**9:09}P{at:09}.test").write_bytes(raw)
        self._belongs_to_nobody(self._home(user))

    def messages(self, user: str, mailbox: str = "INBOX") -> list[Stored]:
        """Everything there, by UID; nothing when there is no such mailbox."""
        with self.client(user) as client:
            if client.select(_quoted(mailbox), readonly=True)[0] != "OK":
                return []
            _, answer = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
            return sorted(_stored(answer), key=lambda message: message.uid)

    def mailboxes(self, user: str) -> list[str]:
        """The server's names, as they are on the wire."""
        with self.client(user) as client:
            _, lines = client.list()
            texts = (line.decode() for line in lines if isinstance(line, bytes))
            return [text.rpartition(f' "{self._separator}" ')[2].strip('"') for text in texts]

    @contextmanager
    def client(self, user: str) -> Iterator[imaplib.IMAP4]:
        """An independent client, logged in."""
        client = imaplib.IMAP4("127.0.0.1", self.plain_port, timeout=30)
        try:
            client.login(user, self._password)
            yield client
        finally:
            client.shutdown()

    def change_uidvalidity(self, user: str, mailbox: str = "INBOX") -> None:
        """As after a mailbox was made anew from a backup: the same messages have other UIDs."""
        maildir = self._maildir(user, mailbox)
        (maildir / "dovecot-uidlist").unlink(missing_ok=True)
        for index in maildir.glob("dovecot.index*"):
            index.unlink()
        # UIDVALIDITY is made of the time in seconds unless this file knows a greater one.
        for kept in self._home(user).glob("dovecot-uidvalidity*"):
            kept.unlink()
        later = int(time.time()) + 1000
        (maildir / "dovecot-uidlist").write_text(f"3 V{later} N1 G{os.urandom(16).hex()}\n")
        self._belongs_to_nobody(self._home(user))

    def token(self, user: str, *, lifetime: timedelta = timedelta(hours=1)) -> str:
        """An access token for XOAUTH2; expired when `lifetime` is negative."""
        now = int(time.time())
        claims = {"sub": user, "iat": now - 10, "exp": now + int(lifetime.total_seconds())}
        signed = f"{_json64({'alg': 'HS256', 'typ': 'JWT'})}.{_json64(claims)}"
        return f"{signed}.{_base64(hmac.digest(_TOKEN_KEY, signed.encode(), hashlib.sha256))}"

    # --- below ------------------------------------------------------------------------------------------

    def _doveadm(self, *words: str) -> None:
        done = subprocess.run(
            ["doveadm", "-c", str(self._configuration), *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"doveadm {words}: {done.stdout}{done.stderr}"

    @property
    def _configuration(self) -> Path:
        return self.directory / "dovecot.conf"

    @property
    def _log(self) -> Path:
        return self.directory / "dovecot.log"

    def _home(self, user: str) -> Path:
        return self._open_place / "mail" / user

    def _maildir(self, user: str, mailbox: str) -> Path:
        """Maildir++: levels are joined by dots, whatever the separator is that clients see."""
        if mailbox == "INBOX":
            return self._home(user)
        name = mailbox.removeprefix(self._prefix).replace(self._separator, ".")
        return self._home(user) / f".{name}"

    def _belongs_to_nobody(self, home: Path) -> None:
        for path in (home, *home.rglob("*")):
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

    def _lay_out(self) -> None:
        # The mail processes run as nobody, to whom the directories that pytest makes are closed; and the
        # names of sockets may not be long.
        self._open_place = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self._open_place.chmod(0o755)
        for name in ("run", "mail", "keys/default/HS256"):
            (self._open_place / name).mkdir(parents=True)
        shutil.chown(self._open_place / "mail", "nobody", "nogroup")
        (self._open_place / "keys/default/HS256/default").write_bytes(base64.b64encode(_TOKEN_KEY))
        write_certificates(self.directory, self._names)
        (self._open_place / "oauth2.conf").write_text(
            "introspection_mode = local\nusername_attribute = sub\n"
            f"local_validation_key_dict = fs:posix:prefix={self._open_place}/keys/\n"
        )
        self._configuration.write_text(self._settings())

    def _settings(self) -> str:
        here = self.directory
        parts = [
            _COMMON.format(
                here=here,
                open_place=self._open_place,
                plain_port=self.plain_port,
                port=self.port,
                lmtp_port=self.lmtp_port,
                separator=self._separator,
                prefix=self._prefix,
                password=self._password.replace("\\", "\\\\").replace('"', '\\"'),
            )
        ]
        if self._without:
            parts.append(
                f"imap_capability = {' '.join(each for each in _ABILITIES if each not in self._without)}"
            )
        if "KEYWORDS" in self._without:
            # All rights but "w": to set flags other than \Seen and \Deleted (RFC 4314 section 4).
            (self._open_place / "acl").write_text("* owner lrstipekxa\n")
            parts.append(f"mail_plugins = acl\nplugin {{\n  acl = vfile:{self._open_place}/acl\n}}")
        if self._quota_kilobytes is not None:
            rule = f"*:storage={self._quota_kilobytes}K"
            parts.append("protocol imap {\n  mail_plugins = $mail_plugins quota imap_quota\n}")
            parts.append(f"plugin {{\n  quota = maildir:User quota\n  quota_rule = {rule}\n}}")
        return "\n".join(parts) + "\n"


def _free_ports(number: int) -> list[int]:
    """Held all at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def write_certificates(directory: Path, names: tuple[str, ...]) -> None:
    """ca.pem, and server.pem with server.key signed by it for these names."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])
    base = x509.CertificateBuilder().issuer_name(ca_name).not_valid_before(now - timedelta(days=1))
    base = base.not_valid_after(now + timedelta(days=2))
    ca = (
        base.subject_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        base.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    (directory / "server.pem").write_bytes(server.public_bytes(pem))
    (directory / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _parent(process: Path) -> int | None:
    try:
        # The name in parentheses may hold anything (proc_pid_stat(5)); the parent is the second field behind.
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _runs(pid: int) -> bool:
    """A zombie does not: whoever has to take note of its end may not do so soon."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _quoted(mailbox: str) -> str:
    return '"' + mailbox.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _appended_uid(client: imaplib.IMAP4, mailbox: str, answer: object) -> int:
    """Of APPENDUID, else the greatest."""
    found = re.search(rb"\[APPENDUID \d+ (\d+)\]", answer if isinstance(answer, bytes) else b"")
    if found:
        return int(found[1])
    client.select(_quoted(mailbox), readonly=True)
    _, lines = client.uid("SEARCH", "ALL")
    return max(int(number) for number in lines[0].split())


def _stored(answer: list[object]) -> Iterator[Stored]:
    for line in answer:
        if isinstance(line, tuple):
            head, raw = line
            uid = re.search(rb"UID (\d+)", head)
            flags = re.search(rb"FLAGS \(([^)]*)\)", head)
            assert uid is not None and flags is not None, head
            # \Recent is about this session, not about the message.
            kept = frozenset(flags[1].decode().split()) - {"\\Recent"}
            yield Stored(int(uid[1]), kept, raw)


def _json64(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_ABILITIES = [
    *(
        "IMAP4rev1",
        "SASL-IR",
        "LOGIN-REFERRALS",
        "ID",
        "ENABLE",
        "IDLE",
        "SORT",
        "THREAD=REFERENCES",
        "UNSELECT",
    ),
    *("CHILDREN", "NAMESPACE", "UIDPLUS", "LIST-EXTENDED", "CONDSTORE", "ESEARCH", "WITHIN", "MOVE", "QUOTA"),
]

_COMMON = """\
base_dir = {open_place}/run
state_dir = {open_place}/run
instance_name = tests
log_path = {here}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
first_valid_uid = 1
mail_location = maildir:{open_place}/mail/%u
mail_fsync = never
mailbox_idle_check_interval = 1 secs
ssl = yes
ssl_cert = <{here}/server.pem
ssl_key = <{here}/server.key
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2
auth_failure_delay = 0 secs
mail_max_userip_connections = 100
lmtp_save_to_detail_mailbox = no
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {open_place}/oauth2.conf
}}
passdb {{
  driver = static
  args = "password={password}"
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={open_place}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
}}
service imap-login {{
  service_count = 0
  inet_listener imap {{
    address = 127.0.0.1
    port = {plain_port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {port}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}"""
