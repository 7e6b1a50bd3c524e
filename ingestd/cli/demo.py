"""`ingestd demo`: the main job on real files, with a local sandbox and the real daemon as they would run.

The judge is the sandbox: a file counts as uploaded when the sandbox holds its bytes in the right slot.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import typer

from ingestd import samples
from ingestd.cli.rendering import print_table
from ingestd.cli.session import with_reader
from ingestd.configfile import load_configuration
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import SETTLED, State
from ingestd.settings import Settings

PATIENCE_SECONDS = 55.0
REPEAT_OF = "taxi.jpg"
REPEAT = "taxi (copy).jpg"


@dataclass(frozen=True)
class _Sample:
    """A file to drop, where it must end, and a word its reason must have."""

    path: str
    make: Callable[[], bytes]
    slot: str
    state: State
    word: str = ""


SAMPLES: Sequence[_Sample] = (
    _Sample("taxi.jpg", lambda: samples.jpeg(1), "receipt", State.UPLOADED),
    _Sample("parking.png", lambda: samples.png(2), "receipt", State.UPLOADED),
    _Sample("hotel.pdf", lambda: samples.pdf(3, pages=2), "receipt", State.UPLOADED),
    _Sample("entries/E-1042/dinner.jpg", lambda: samples.jpeg(4), "expenseentry/E-1042", State.UPLOADED),
    _Sample("reports/R-2207/flight.pdf", lambda: samples.pdf(5), "report/R-2207", State.UPLOADED),
    _Sample("invoices/I-77/printer.png", lambda: samples.png(6), "invoice/I-77", State.UPLOADED),
    _Sample("bank-statement.pdf", lambda: samples.encrypted_pdf(password="secret"), "receipt",  # noqa: S106 - of a sample
            State.REJECTED, "password"),
    _Sample("scan-12MB.png", lambda: samples.large_png(12_000_000), "receipt", State.REJECTED, "10"),
    _Sample("half-a-photo.jpg", lambda: samples.truncated(samples.jpeg(7)), "receipt", State.REJECTED, ""),
    _Sample("notes.pdf", samples.text, "receipt", State.REJECTED, "text"),
)  # fmt: skip


def play(directory: Path | None) -> int:
    """Plays the demo and returns the exit code: 0 only if each file ended as it should."""
    place = _new_directory(directory)
    say = typer.echo
    say(f"The demo plays in {place}")
    with _program(place, "sandbox", "sandbox", "--port", "0") as sandbox:
        url = _sandbox_url(place, sandbox)
        say(f"A local stand-in for Concur listens on {url}")
        settings = _configure(place, url)
        with _program(place, "daemon", "run", "--config", str(place / "ingestd.toml")) as daemon:
            _wait_for(lambda: "run.started" in _log(place, "daemon"), daemon, "the daemon to start")
            say(f"The daemon watches {place / 'inbox'}; dropping {len(SAMPLES) + 1} files into it:\n")
            _drop(place)
            receipts = _follow(settings, place, daemon)
            _end(daemon)
        stored = _stored(url)
        print_table(("file", "slot", "ended", "image ID or reason"), _rows(receipts, place))
        wrong = _verdict(receipts, stored, place)
    _farewell(place, wrong)
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
    path.write_text(text.replace("http://127.0.0.1:8085", url), encoding="utf-8")
    (place / "token").write_text("demo-token\n", encoding="utf-8")
    (place / "token").chmod(0o600)
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


def _drop(place: Path) -> None:
    for sample in SAMPLES:
        _put(place / "inbox" / sample.path, sample.make())


def _put(path: Path, content: bytes) -> None:
    """As a scanner would: written in place, while the daemon looks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    typer.echo(f"  {path.name:<22} {len(content):>10,} bytes")


def _follow(settings: Settings, place: Path, daemon: subprocess.Popen[bytes]) -> list[Receipt]:
    """Shows each receipt as it settles; drops the repeat when its first is up; ends when all is said."""
    shown: set[str] = set()
    copied = False
    deadline = time.monotonic() + PATIENCE_SECONDS
    typer.echo("")
    while time.monotonic() < deadline and daemon.poll() is None:
        receipts = list(with_reader(settings, lambda reader: reader.find()))
        for receipt in receipts:
            if receipt.state in SETTLED and receipt.id not in shown:
                shown.add(receipt.id)
                typer.echo(f"  [{len(shown)}/{len(SAMPLES)}] {receipt.path}: {receipt.state}")
                if receipt.path == REPEAT_OF and not copied:
                    copied = True
                    _put(place / "inbox" / REPEAT, SAMPLES[0].make())
        if len(shown) == len(SAMPLES) and copied and not _left(place):
            break
        time.sleep(0.2)
    if daemon.poll() is not None:
        typer.echo("The daemon ended early. Its last words: " + _log(place, "daemon")[-500:])
    typer.echo("")
    return list(with_reader(settings, lambda reader: reader.find()))


def _left(place: Path) -> bool:
    """Whether a file has not reached uploaded/ or rejected/ yet."""
    inbox = place / "inbox"
    wanted = [_kept(inbox, sample) for sample in SAMPLES] + [inbox / "uploaded" / REPEAT]
    return not all(path.exists() for path in wanted)


def _kept(inbox: Path, sample: _Sample) -> Path:
    return inbox / ("uploaded" if sample.state is State.UPLOADED else "rejected") / sample.path


def _rows(receipts: Sequence[Receipt], place: Path) -> Iterator[tuple[str, str, str, str]]:
    by_path = {receipt.path: receipt for receipt in receipts}
    for sample in SAMPLES:
        receipt = by_path.get(sample.path)
        if receipt is None:
            yield sample.path, sample.slot, "MISSING", ""
        else:
            yield sample.path, receipt.slot, str(receipt.state), receipt.image_id or receipt.reason or ""
    first = by_path.get(REPEAT_OF)
    if (place / "inbox" / "uploaded" / REPEAT).exists() and first is not None:
        yield REPEAT, first.slot, "repeat", f"same as {REPEAT_OF}: {first.image_id}; not uploaded again"


# --- the judgement -----------------------------------------------------------------------------------------


def _stored(url: str) -> list[tuple[str, str, str | None]]:
    """What the sandbox holds: slot, sha256 and image ID of each image."""
    with urllib.request.urlopen(f"{url}/_sandbox/images", timeout=10) as answer:  # noqa: S310 - our own sandbox
        images = json.load(answer)["images"]
    return [(_place(image), image["sha256"], image["image_id"]) for image in images]


def _place(image: dict[str, str | None]) -> str:
    return f"{image['slot']}/{image['id']}" if image["id"] else str(image["slot"])


def _verdict(
    receipts: Sequence[Receipt], stored: Sequence[tuple[str, str, str | None]], place: Path
) -> list[str]:
    """What is not as it should be, a sentence each."""
    wrong: list[str] = []
    by_path = {receipt.path: receipt for receipt in receipts}
    for sample in SAMPLES:
        receipt = by_path.get(sample.path)
        if receipt is None or receipt.state is not sample.state:
            wrong.append(f"{sample.path} should be {sample.state}")
            continue
        if sample.word not in (receipt.reason or "").lower():
            wrong.append(f"the reason of {sample.path} should speak of {sample.word!r}")
        sha256 = hashlib.sha256(sample.make()).hexdigest()
        held = [image for image in stored if image[1] == sha256]
        expected = [(sample.slot, sha256, receipt.image_id)] if sample.state is State.UPLOADED else []
        if held != expected:
            wrong.append(f"the sandbox should hold {sample.path} {len(expected)} times, in {sample.slot}")
        if not _kept(place / "inbox", sample).exists():
            wrong.append(f"{_kept(place / 'inbox', sample)} should be there")
    if len(stored) != sum(sample.state is State.UPLOADED for sample in SAMPLES):
        wrong.append(f"the sandbox holds {len(stored)} images")
    if not (place / "inbox" / "uploaded" / REPEAT).exists():
        wrong.append(f"{REPEAT} should be in uploaded/, as a repeat")
    return wrong


def _farewell(place: Path, wrong: Sequence[str]) -> None:
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
    say(f"  {program} balance {config}")
    say(f"Next: begin your own configuration with {place / 'ingestd.toml'}; see `{program} run --help`.")
