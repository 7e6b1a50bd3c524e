"""Every mistake gives one clear message naming the key and the fix, exit code 2, no traceback."""

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.acceptance.place import PROGRAM, ROOT, Place, wait_until


@pytest.fixture
def lonely(tmp_path: Path) -> Place:
    """A place whose target is never asked."""
    return Place(tmp_path / "place", "http://127.0.0.1:9")


def refused(place: Place, *arguments: str) -> str:
    done = place.ingestd(*arguments, expect=2)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("ingestd: ")
    return done.stderr


def test_no_configuration(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "INGESTD_CONFIG"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*PROGRAM, "run"], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert "--config" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_unknown_key(lonely: Place) -> None:
    lonely.config.write_text(lonely.config.read_text().replace("settle =", "setle ="))
    message = refused(lonely, "check")
    assert "folders[1].setle: there is no such key" in message and "settle_incomplete" in message


@pytest.mark.parametrize("command", [["run"], ["check"]])
def test_an_unreadable_token_file(lonely: Place, command: list[str]) -> None:
    (lonely.directory / "token").unlink()
    message = refused(lonely, *command)
    assert "targets.concur.token_file" in message and str(lonely.directory / "token") in message


@pytest.mark.parametrize("command", [["check"], ["run", "--until-idle"]])
def test_an_absent_folder(lonely: Place, command: list[str]) -> None:
    lonely.inbox.rmdir()
    assert "folders[1].path" in refused(lonely, *command)


def test_the_daemon_waits_for_an_absent_folder(lonely: Place) -> None:
    lonely.inbox.rmdir()
    with lonely.daemon():
        wait_until(lambda: "source.unavailable" in lonely.log(), "it is reported", lonely.log)
        lonely.inbox.mkdir()
        wait_until(lambda: "source.recovered" in lonely.log(), "it recovers", lonely.log)


def test_a_folder_that_is_not_writable() -> None:
    """A command run as root acts as the owner of the storage directory, here nobody."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        place = Place(Path(directory) / "place", "http://127.0.0.1:9")
        (place.directory / "data").mkdir()
        os.chown(place.directory / "data", 65534, 65534)
        place.inbox.chmod(0o555)
        # Nobody can't write coverage data into this tree.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
        done = subprocess.run(
            place.command("check"), cwd=ROOT, capture_output=True, text=True, env=environment, check=False
        )
    assert done.returncode == 2
    assert "folders[1].path" in done.stderr and "Traceback" not in done.stderr


MAILBOX = """
[[mailboxes]]
name = "receipts"
host = "127.0.0.1"
port = 9
user = "receipts@example.com"
password_file = "imap-password"
allow = ["*@example.com"]
trusted_authserv = ["mx.example.com"]
"""


@pytest.mark.parametrize("command", [["run"], ["check"]])
def test_an_unreadable_mail_password(lonely: Place, command: list[str]) -> None:
    lonely.config.write_text(lonely.config.read_text() + MAILBOX)
    message = refused(lonely, *command)
    assert "mailboxes[1].password_file" in message and str(lonely.directory / "imap-password") in message


def test_an_unknown_key_of_a_mailbox(lonely: Place) -> None:
    lonely.config.write_text(lonely.config.read_text() + MAILBOX + 'pasword_file = "x"\n')
    message = refused(lonely, "check")
    assert "mailboxes[1].pasword_file: there is no such key" in message and "password_file" in message


def test_answers_without_a_mail_server(lonely: Place) -> None:
    lonely.config.write_text(lonely.config.read_text() + MAILBOX + "reply = true\n")
    assert "mailboxes[1].reply: answers need a mail server" in refused(lonely, "check")


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*PROGRAM, "sandbox", "--port", port], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"ingestd: --port {port}: ") and len(done.stderr.splitlines()) == 1


def test_a_ledger_locked_by_another_ingestd(lonely: Place) -> None:
    with lonely.daemon() as first:
        message = refused(lonely, "run")
        assert f"(process {first.pid})" in message and "storage.directory" in message


def test_no_ledger_yet(lonely: Place) -> None:
    done = lonely.ingestd("list", expect=1)
    assert "`ingestd run` creates it" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_receipt_that_is_not_there(lonely: Place) -> None:
    lonely.ingestd("migrate")
    assert "no single receipt 'zzzzzzzzz'" in refused(lonely, "show", "zzzzzzzzz")


@pytest.mark.parametrize(
    ("to", "words"),
    [("concur", "TARGET:SLOT"), ("cncur:receipt", "no target"), ("concur:report", "needs an ID")],
)
def test_a_destination_that_can_not_be(lonely: Place, to: str, words: str) -> None:
    file = lonely.directory / "x.jpg"
    file.touch()
    assert words in refused(lonely, "submit", str(file), "--to", to)


def test_a_file_that_is_not_there(lonely: Place) -> None:
    assert "there is no such file" in refused(lonely, "submit", "/nowhere.jpg", "--to", "concur:receipt")


def test_a_second_signal_ends_at_once(lonely: Place) -> None:
    with lonely.daemon() as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, 1)


@pytest.mark.parametrize(
    "command",
    ["run", "check", "doctor", "alerts", "login", "demo", "sandbox", "replay", "submit", "list", "show",
     "url", "fetch", "retry", "confirm", "drop", "balance", "audit", "export", "migrate", "backup"],
)  # fmt: skip
def test_every_command_has_a_help_text(command: str) -> None:
    done = subprocess.run([*PROGRAM, command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout and len(done.stdout.splitlines()) > 6
