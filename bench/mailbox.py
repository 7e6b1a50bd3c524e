"""Messages per second from a mailbox to a target, beside a plain imaplib loop and mbsync in the same run.

    python bench/mailbox.py                         2,000 messages of about 200 KB, one round
    python bench/mailbox.py --count 500 --inspect light

As root: it starts a Dovecot of its own. Each has its own copy of the same mailbox, over TLS. The loop fetches
every message, writes it with an fsync, marks and moves it; mbsync (Debian: isync) only copies; ingestd also
opens the message, decodes the attachment, uploads it and keeps its books. Times are those of whole processes,
ingestd's start-up of a few seconds included.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from throughput import Peak, say  # noqa: E402 - the neighbour, run as a script too

from ingestd import samples  # noqa: E402 - after the path
from tests.mail.dovecot import PASSWORD, Dovecot  # noqa: E402 - after the path

CONFIGURATION = """
[storage]
directory = "data"
min_free = "1MB"
[preparation]
inspect = "{inspect}"
near_duplicates = "off"
[targets.concur]
kind = "concur-image-v1"
url = "http://127.0.0.1:{port}"
token_file = "token"
[[mailboxes]]
name = "receipts"
host = "{host}"
port = {imap_port}
ca_file = "{ca_file}"
user = "{user}"
password_file = "password"
allow = ["*@example.com"]
require = "none"
flood = "1000000/1h"
[[routes]]
send = "concur:receipt"
"""

MBSYNC = """
IMAPStore far
Host {host}
Port {port}
User {user}
Pass {password}
SSLType IMAPS
CertificateFile {ca_file}

MaildirStore near
Inbox {directory}/near
SubFolders Verbatim
Path {directory}/

Channel all
Far :far:INBOX
Near :near:INBOX
Sync Pull
SyncState *
Create Near
"""

USERS = ("loop", "mbsync", "ingestd")


def main() -> None:
    options = _options()
    work = Path(tempfile.mkdtemp(prefix="ingestd-bench-"))
    sink = subprocess.Popen([sys.executable, HERE / "sink.py"], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        (work / "dovecot").mkdir()
        with Dovecot(work / "dovecot") as dovecot:
            _fill(dovecot, options.count)
            loop_s = _timed([sys.executable, HERE / "imap_loop.py", *_place(dovecot, "loop"), work / "loop"])
            _tell("imaplib loop", options.count, loop_s)
            mbsync_s = _mbsync(dovecot, work)
            _tell("mbsync, copies only", options.count, mbsync_s)
            ours_s, resident_mb, start_mb = _ingestd(dovecot, port, work / "ingestd", options)
            _tell("ingestd", options.count, ours_s)
            say(
                f"ingestd is {loop_s / ours_s:.2f} of the loop and {mbsync_s / ours_s:.2f} of mbsync; "
                f"{start_mb:.0f} MB resident early on, {resident_mb:.0f} MB at most"
            )
    finally:
        sink.terminate()
        sink.wait()
        shutil.rmtree(work)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000, help="messages; default: 2000")
    parser.add_argument("--inspect", choices=("light", "full"), default="full")
    return parser.parse_args()


def _fill(dovecot: Dovecot, count: int) -> None:
    content = samples.jpeg(1, width=1100)
    messages = [_message(content, number) for number in range(count)]
    say(f"{count} messages, {sum(map(len, messages)) / count / 1000:.0f} KB each")
    for user in USERS:
        dovecot.fill(messages, user)


def _message(jpeg: bytes, number: int) -> bytes:
    """The same picture with another comment, so that no two receipts are the same bytes."""
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = "Ann <ann@example.com>", "receipts@example.com"
    message["Subject"], message["Message-ID"] = f"receipt {number}", f"<bench-{number}@example.com>"
    message.set_content("A receipt.")
    mark = f"{number:032}".encode()
    distinct = jpeg[:2] + b"\xff\xfe" + (len(mark) + 2).to_bytes(2) + mark + jpeg[2:]
    message.add_attachment(distinct, maintype="image", subtype="jpeg", filename=f"receipt{number}.jpg")
    return message.as_bytes()


def _place(dovecot: Dovecot, user: str) -> list[str]:
    return [dovecot.host, str(dovecot.port), str(dovecot.ca_file), user, PASSWORD]


def _mbsync(dovecot: Dovecot, work: Path) -> float:
    directory = work / "mbsync"
    directory.mkdir()
    configuration = directory / "mbsyncrc"
    configuration.write_text(
        MBSYNC.format(
            host=dovecot.host,
            port=dovecot.port,
            user="mbsync",
            password=PASSWORD,
            ca_file=dovecot.ca_file,
            directory=directory,
        )
    )
    return _timed(["mbsync", "--quiet", "--config", configuration, "all"])


def _ingestd(
    dovecot: Dovecot, port: int, place: Path, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Seconds, and megabytes resident: at most, and when a part of the messages was done."""
    place.mkdir()
    for name, secret in (("token", "bench"), ("password", PASSWORD)):
        (place / name).write_text(secret)
        (place / name).chmod(0o600)
    configuration = place / "ingestd.toml"
    configuration.write_text(
        CONFIGURATION.format(
            inspect=options.inspect,
            port=port,
            host=dovecot.host,
            imap_port=dovecot.port,
            ca_file=dovecot.ca_file,
            user="ingestd",
        )
    )
    command = [sys.executable, "-m", "ingestd", "run", "--until-idle", "--config", str(configuration)]
    started = time.perf_counter()
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, cwd=HERE.parent)
    peak = Peak(process.pid)
    early_mb = 0.0
    while process.poll() is None:
        time.sleep(0.1)
        if not early_mb and time.perf_counter() - started > 0.01 * options.count:
            early_mb = peak.resident_mb
    seconds = time.perf_counter() - started
    assert process.returncode == 0, (place / "log").read_text()[-2000:]
    books = json.loads(
        subprocess.run(
            [sys.executable, "-m", "ingestd", "balance", "--json", "--config", str(configuration)],
            check=True,
            capture_output=True,
            cwd=HERE.parent,
        ).stdout
    )
    assert books["closed"] and books["uploaded"] == options.count, books
    filed = len(dovecot.messages("ingestd", "Ingestd/Uploaded"))
    assert filed == options.count, f"{filed} messages were filed"
    return seconds, peak.resident_mb, early_mb


def _timed(command: list[str | Path]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def _tell(name: str, count: int, seconds: float) -> None:
    say(f"{name}: {seconds:.1f} s, {count / seconds:.0f} messages/s")


if __name__ == "__main__":
    main()
