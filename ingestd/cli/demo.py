"""`ingestd demo`: the main job on real files, with a local sandbox and the real daemon as they would run.

What is dropped and how it must end is in `demo_cast`; here are the stage and the play.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import typer

from ingestd.cli.demo_cast import (
    PASSWORD,
    REPEAT,
    REPEAT_OF,
    Act,
    cast,
    kept,
    stored,
    verdict,
)
from ingestd.cli.rendering import print_table
from ingestd.cli.session import with_reader
from ingestd.configfile import load_configuration
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State
from ingestd.settings import Settings

PATIENCE_SECONDS = 55.0
_SHOWN = 6
"""The act whose receipt is named as an example in the end: one that was converted."""


def play(directory: Path | None) -> int:
    """Plays the demo and returns the exit code: 0 only if each file ended as it should."""
    place = _new_directory(directory)
    say = typer.echo
    say(f"The demo plays in {place}")
    with _program(place, "sandbox", "sandbox", "--port", "0") as sandbox:
        acts = cast()
        url = _sandbox_url(place, sandbox)
        say(f"A local stand-in for Concur listens on {url}")
        settings = _configure(place, url)
        with _program(place, "daemon", "run", "--config", str(place / "ingestd.toml")) as daemon:
            _wait_for(lambda: "run.started" in _log(place, "daemon"), daemon, "the daemon to start")
            count = sum(len(act.files) for act in acts) + 1
            say(f"The daemon watches {place / 'inbox'}; dropping {count} files into it:\n")
            _drop(acts, place)
            receipts = _follow(acts, settings, place, daemon)
            _end(daemon)
        print_table(("file", "slot", "ended", "what was sent, or why not"), _rows(acts, receipts, place))
        wrong = verdict(acts, receipts, stored(url), place / "inbox")
    _farewell(place, receipts.get(acts[_SHOWN].sha256), wrong)
    return 1 if wrong else 0


# --- setting the stage -------------------------------------------------------------------------------------


def _new_directory(given: Path | None) -> Path:
    place = (given or Path(f"ingestd-demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}")).absolute()
    try:
        place.mkdir(parents=True, exist_ok=given is not None)
        if any(place.iterdir()):
            raise ConfigurationError([f"--directory {place}: is not empty; name a new one"])
        (place / "inbox").mkdir()
    except OSError as error:
        raise ConfigurationError([f"--directory {place}: can't be made: {error.strerror}"]) from None
    return place


def _configure(place: Path, url: str) -> Settings:
    """The configuration of config/sandbox.toml, with the port the sandbox got."""
    text = files("ingestd.cli").joinpath("sandbox.toml").read_text(encoding="utf-8")
    path = place / "ingestd.toml"
    for standing, given in (("http://127.0.0.1:8085", url), ("# passwords_file", "passwords_file")):
        assert standing in text
        text = text.replace(standing, given)
    path.write_text(text, encoding="utf-8")
    for name, secret in (("token", "demo-token"), ("pdf-passwords", f"another-one\n{PASSWORD}")):
        (place / name).write_text(f"{secret}\n", encoding="utf-8")
        (place / name).chmod(0o600)
    return load_configuration(path)


@contextmanager
def _program(place: Path, log: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """This very program as another process, its output in a log file; ended when the block ends."""
    with (place / f"{log}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ingestd", *arguments],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log(place: Path, name: str) -> str:
    return (place / f"{name}.log").read_text(encoding="utf-8", errors="replace")


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConfigurationError([f"the demo waited in vain for {what}; its log is beside the inbox"])
        time.sleep(0.05)


def _sandbox_url(place: Path, process: subprocess.Popen[bytes]) -> str:
    found: list[str] = []

    def ready() -> bool:
        found[:] = re.findall(r"http://127\.0\.0\.1:\d+", _log(place, "sandbox"))
        return bool(found)

    _wait_for(ready, process, "the sandbox to start")
    return found[0]


# --- the play ----------------------------------------------------------------------------------------------


def _drop(acts: Sequence[Act], place: Path) -> None:
    for act in acts:
        for path, content in act.files.items():
            _put(place / "inbox" / path, content, path, act.about)


def _put(path: Path, content: bytes, name: str, about: str) -> None:
    """As a scanner would: written in place, while the daemon looks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    typer.echo(f"  {name:<26} {len(content):>10,} bytes   {about}".rstrip())


def _follow(
    acts: Sequence[Act], settings: Settings, place: Path, daemon: subprocess.Popen[bytes]
) -> dict[str, Receipt]:
    """Shows each receipt as it settles; drops the repeat when its first is up; ends when all is said.

    Returns the receipts by the sha256 of their first document.
    """
    shown: set[str] = set()
    copied = False
    receipts: dict[str, Receipt] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    typer.echo("")
    while time.monotonic() < deadline and daemon.poll() is None:
        receipts = {one.sha256: one for one in with_reader(settings, lambda reader: reader.find())}
        for receipt in receipts.values():
            if receipt.settled and receipt.id not in shown:
                shown.add(receipt.id)
                typer.echo(f"  [{len(shown)}/{len(acts)}] {receipt.path}: {receipt.state}")
                if receipt.path == REPEAT_OF and not copied:
                    copied = True
                    _put(
                        place / "inbox" / REPEAT, acts[0].files[REPEAT_OF], REPEAT, "the same file once more"
                    )
        if len(shown) == len(acts) and copied and not _left(acts, place):
            break
        time.sleep(0.2)
    if daemon.poll() is not None:
        typer.echo("The daemon ended early. Its last words: " + _log(place, "daemon")[-500:])
    typer.echo("")
    return receipts


def _left(acts: Sequence[Act], place: Path) -> bool:
    """Whether a file has not reached uploaded/ or rejected/ yet."""
    inbox = place / "inbox"
    wanted = [path for act in acts for path in kept(inbox, act)] + [inbox / "uploaded" / REPEAT]
    return not all(path.exists() for path in wanted)


def _rows(
    acts: Sequence[Act], receipts: Mapping[str, Receipt], place: Path
) -> Iterator[tuple[str, str, str, str]]:
    for act in acts:
        receipt = receipts.get(act.sha256)
        path = act.path if len(act.files) == 1 else f"{act.path} + {len(act.files) - 1} more"
        if receipt is None:
            yield path, act.slot, "MISSING", ""
        else:
            yield path, receipt.slot, str(receipt.state), _outcome(receipt)
    first = receipts.get(acts[0].sha256)
    if (place / "inbox" / "uploaded" / REPEAT).exists() and first is not None:
        yield REPEAT, first.slot, "repeat", f"same as {REPEAT_OF}: not uploaded again"


def _outcome(receipt: Receipt) -> str:
    """For people: what was done to it, or the first sentence of why it was refused."""
    if receipt.image is None or receipt.state is not State.UPLOADED:
        return (receipt.reason or "").split(". ")[0]
    return " ".join(receipt.image.steps) or "as it is"


def _farewell(place: Path, example: Receipt | None, wrong: Sequence[str]) -> None:
    say = typer.echo
    if wrong:
        say("\nNOT AS IT SHOULD BE:")
        for sentence in wrong:
            say(f"  {sentence}")
        say(f"The logs are in {place}")
        return
    config = f"--config {place / 'ingestd.toml'}"
    program = "ingestd" if shutil.which("ingestd") else sys.argv[0]
    say("\nEach file ended as it should, and the sandbox holds exactly what the ledger says.\n")
    say("Look around:")
    say(f"  ls -R {place / 'inbox'}")
    say(f"  cat {place / 'inbox' / 'rejected' / 'bank-statement.pdf.reason.txt'}")
    say(f"  {program} list {config}")
    if example is not None:
        say(f"  {program} show {example.id} {config}")
    say(f"  {program} balance {config}")
    say(f"Next: begin your own configuration with {place / 'ingestd.toml'}; see `{program} run --help`.")
