"""Receipts per second of the whole daemon, as a share of a bare aiohttp loop in the same run.

    python bench/throughput.py                      2,000 receipts of about 60 KB, three rounds
    python bench/throughput.py --count 10000 --small --rounds 1
    python bench/throughput.py --mixed              1,000 receipts as people send them, a part from phones
    python bench/throughput.py --mixed --stages     what preparing them costs, by stage; nothing is sent

Both send the same files, eight in flight, to the same sink on this machine, in turn; times are those of whole
processes. ingestd reads, decodes and fsyncs each file, commits six transitions for it and moves it to
uploaded/; the rival only posts. Resident memory and open files are those of the daemon's main process.
"""

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import stages

from ingestd import samples

HERE = Path(__file__).parent

CONFIGURATION = """
[storage]
directory = "data"
min_free = "1MB"
[preparation]
inspect = "{inspect}"
[targets.concur]
kind = "concur-image-v1"
url = "http://127.0.0.1:{port}"
token_file = "token"
[[folders]]
name = "inbox"
path = "inbox"
settle = "1ms"
[[routes]]
send = "concur:receipt"
"""


@dataclass(frozen=True)
class Figures:
    seconds: float
    resident_mb: float = 0.0
    open_files: int = 0


def main() -> None:
    options = _options()
    work = Path(tempfile.mkdtemp(prefix="ingestd-bench-", dir=options.directory))
    try:
        corpus = _drawn(work / "corpus", options)
        if options.stages:
            stages.tell(corpus, options.inspect, say)
        else:
            _race(corpus, work, options)
    finally:
        shutil.rmtree(work)


def _drawn(corpus: Path, options: argparse.Namespace) -> Path:
    if options.mixed:
        mixed_corpus(corpus, options.count)
    else:
        _corpus(corpus, options.count, small=options.small)
    size = sum(path.stat().st_size for path in corpus.iterdir())
    say(f"{options.count} receipts, {size / options.count / 1000:.0f} KB each, inspect={options.inspect}")
    return corpus


def _race(corpus: Path, work: Path, options: argparse.Namespace) -> None:
    sink = subprocess.Popen([sys.executable, HERE / "sink.py"], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        rival: list[Figures] = []
        ours: list[Figures] = []
        for number in range(options.rounds):
            rival.append(_bare_loop(port, corpus))
            ours.append(_ingestd(port, corpus, work / f"round{number}", options))
            _tell(f"round {number + 1}", options.count, rival[-1:], ours[-1:])
        _tell("median", options.count, rival, ours)
    finally:
        sink.terminate()
        sink.wait()
        if sink.stdout is not None:
            sink.stdout.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, help="receipts; default: 2000, of a mixed corpus 1000")
    parser.add_argument("--rounds", type=int, help="default: 3, of a mixed corpus 1")
    parser.add_argument("--small", action="store_true", help="receipts of a few hundred bytes")
    parser.add_argument(
        "--mixed",
        action="store_true",
        help="60 %% JPEG, 20 %% PDF, 10 %% PNG, 5 %% HEIC, 5 %% TIFF; a part of them of several megapixels",
    )
    parser.add_argument(
        "--stages",
        action="store_true",
        help="prepare the receipts in this process and tell the time by stage",
    )
    parser.add_argument(
        "--minutes", type=float, default=15, help="a round that takes the daemon longer is given up"
    )
    parser.add_argument("--inspect", choices=("light", "full"), default="full")
    parser.add_argument(
        "--directory", type=Path, default=None, help="where to work; default: the temporary one"
    )
    options = parser.parse_args()
    options.count = options.count or (1000 if options.mixed else 2000)
    options.rounds = options.rounds or (1 if options.mixed else 3)
    return options


def _corpus(folder: Path, count: int, *, small: bool) -> Path:
    """Distinct receipts: JPEG, PNG and PDF in turn, or small ones."""
    folder.mkdir(parents=True)
    large = [(samples.jpeg(n), "jpg") for n in range(6)] + [(samples.pdf(n), "pdf") for n in range(3)]
    for number in range(count):
        if small:
            content, extension = samples.small_jpeg(number), "jpg"
        else:
            content, extension = large[number % len(large)]
            content = _distinct(content, extension, number)
        (folder / f"{number:06}.{extension}").write_bytes(content)
    return folder


def mixed_corpus(folder: Path, count: int) -> None:
    """As people send them; every receipt shows another picture, so that none looks like one before it.

    Drawn by all processors, a minute or two for 1,000.
    """
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_draw, [folder] * count, range(count), chunksize=10))


def _draw(folder: Path, number: int) -> None:
    """Receipt `number`; of twenty in a row the kinds have their shares."""
    match number % 20:
        case 0 | 1 | 2 | 3:  # a phone's photo of 12 million pixels
            content, extension = samples.jpeg(number, width=2800), "jpg"
        case 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11:
            content, extension = samples.jpeg(number), "jpg"
        case 12 | 13 | 14 | 15:
            content, extension = samples.pdf(number, pages=1 + number % 3), "pdf"
        case 16 | 17:
            content, extension = samples.png(number), "png"
        case 18:
            content, extension = samples.heic(number, width=1400, lying=number % 40 == 18), "heic"
        case _:
            content, extension = samples.tiff(number, pages=1 + number % 3), "tif"
    (folder / f"{number:06}.{extension}").write_bytes(content)


def _distinct(content: bytes, extension: str, number: int) -> bytes:
    """The same picture with another hash: a comment at a place where the format has one."""
    mark = hashlib.sha256(str(number).encode()).hexdigest().encode()
    if extension == "jpg":
        return content[:2] + b"\xff\xfe" + (len(mark) + 2).to_bytes(2) + mark + content[2:]
    return content + b"%" + mark + b"\n%%EOF\n"


def _bare_loop(port: int, corpus: Path) -> Figures:
    started = time.perf_counter()
    url = f"http://127.0.0.1:{port}/api/image/v1.0/receipt"
    subprocess.run([sys.executable, HERE / "bare_loop.py", url, corpus], check=True)
    return Figures(time.perf_counter() - started)


def _ingestd(port: int, corpus: Path, place: Path, options: argparse.Namespace) -> Figures:
    place.mkdir()
    shutil.copytree(corpus, place / "inbox")
    (place / "token").write_text("bench")
    (place / "token").chmod(0o600)
    (place / "ingestd.toml").write_text(CONFIGURATION.format(port=port, inspect=options.inspect))
    time.sleep(0.1)
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "ingestd",
        "run",
        "--until-idle",
        "--config",
        str(place / "ingestd.toml"),
    ]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, cwd=HERE.parent)
    peak = Peak(process.pid)
    try:
        code = process.wait(60 * options.minutes)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        raise SystemExit(f"given up after {options.minutes:g} minutes: {_books(place)}") from None
    figures = Figures(time.perf_counter() - started, peak.resident_mb, peak.open_files)
    assert code == 0, (place / "log").read_text()[-2000:]
    _judge(place, len(list(corpus.iterdir())))
    return figures


def _judge(place: Path, count: int) -> None:
    books = _books(place)
    assert books["closed"] and books["uploaded"] == count, books


def _books(place: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "ingestd", "balance", "--json", "--config", str(place / "ingestd.toml")]
    books: dict[str, object] = json.loads(
        subprocess.run(command, check=True, capture_output=True, cwd=HERE.parent).stdout
    )
    return books


class Peak:
    """Watches a process until it ends: the most memory (VmHWM) and open files it had."""

    def __init__(self, pid: int) -> None:
        self.resident_mb = 0.0
        self.open_files = 0
        self._proc = Path("/proc") / str(pid)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                status = (self._proc / "status").read_text()
                self.open_files = max(self.open_files, sum(1 for _ in (self._proc / "fd").iterdir()))
            except OSError:
                return
            if "VmHWM:" not in status:
                return
            self.resident_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
            time.sleep(0.05)


def _tell(name: str, count: int, rival: list[Figures], ours: list[Figures]) -> None:
    bare = statistics.median(figures.seconds for figures in rival)
    mine = statistics.median(figures.seconds for figures in ours)
    resident = max(figures.resident_mb for figures in ours)
    files = max(figures.open_files for figures in ours)
    say(
        f"{name}: bare loop {count / bare:,.0f}/s, ingestd {count / mine:,.0f}/s = {bare / mine:.3f} of it; "
        f"ingestd's peak {resident:.0f} MB resident, {files} open files"
    )


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a bench prints


if __name__ == "__main__":
    main()
