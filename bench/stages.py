"""Where the CPU time of a receipt's preparation goes: the job of the limited processes, in this process.

Times are of the processor, in milliseconds. A stage begins where a library is entered (Pillow's load and
save, PDFium's render) or a step of the job is, and has only its own time: what it calls is counted there.
"""

import hashlib
import io
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pypdfium2
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile
from pillow_heif import HeifImageFile

from ingestd import sniff
from ingestd.normalizer import comparing, look, work
from ingestd.normalizer.exchange import Input, Level, PrepareRequest

_COMPARISONS = 10

_ENTRIES: Mapping[str, Sequence[tuple[Any, str]]] = {
    "read": [(work, "_read")],
    "decode": [(ImageFile, "load"), (TiffImageFile, "load"), (HeifImageFile, "load")],
    "draw": [(pypdfium2.PdfPage, "render")],
    "encode": [(Image.Image, "save")],
    "look": [(look, "look_at")],
}
STAGES = ("read", "hash", "decode", "draw", "encode", "look", "rest")
"""rest: the walk through the file's structure, the parsing of PDFs, colours, turning and resizing."""


@dataclass(slots=True)
class _Clock:
    """One stage runs at a time; entering another one stops it until that one ends."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _running: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def _charge(self) -> None:
        now = time.process_time()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


def tell(corpus: Path, level: Level, say: Callable[[str], None]) -> None:
    """One line for each kind of file and one for all of them: milliseconds per receipt, stage by stage."""
    work.warm_up()
    paths = sorted(corpus.iterdir())
    by_kind: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        by_kind[path.suffix].append(path)
    clocks = {kind: _clock_of(chosen, level) for kind, chosen in sorted(by_kind.items())}
    say("CPU ms per receipt  " + "".join(f"{name:>9}" for name in (*STAGES, "all")))
    for kind, clock in clocks.items():
        say(_line(kind, len(by_kind[kind]), clock.seconds))
    total = {name: sum(clock.seconds[name] for clock in clocks.values()) for name in STAGES}
    say(_line("all", len(paths), total))
    pictures = by_kind.get(".jpg", [])[:_COMPARISONS]
    if pictures:
        same, other = _comparisons(pictures)
        say(f"one comparison of two JPEGs: {same:.0f} ms for one receipt saved twice, {other:.0f} ms for two")


def _line(kind: str, count: int, seconds: Mapping[str, float]) -> str:
    times = [1000 * seconds[name] / count for name in STAGES]
    return f"{kind.lstrip('.'):<8}{count:>10}  " + "".join(f"{ms:9.1f}" for ms in (*times, sum(times)))


def _clock_of(paths: Sequence[Path], level: Level) -> _Clock:
    clock = _Clock()
    with ExitStack() as stack:
        for name, places in _ENTRIES.items():
            for owner, attribute in places:
                timed = _timed(clock, name, getattr(owner, attribute))
                stack.enter_context(patch.object(owner, attribute, timed))
        for path in paths:
            _prepare(clock, path, level)
    return clock


def _timed(clock: _Clock, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        with clock.stage(name):
            return function(*arguments, **options)

    return timed


def _prepare(clock: _Clock, path: Path, level: Level) -> None:
    """As the daemon asks for it, for a target that takes what Concur's Image v1 takes."""
    with clock.stage("hash"):
        hashlib.sha256(path.read_bytes()).hexdigest()
    with (
        path.open("rb") as document,
        tempfile.TemporaryFile() as image,
        tempfile.TemporaryFile() as thumbnail,
    ):
        head = document.read(sniff.HEAD_BYTES)
        document.seek(0)
        asked = PrepareRequest(
            documents=(Input(mime_type=sniff.sniff(head), size=path.stat().st_size),),
            types=frozenset({sniff.JPEG, sniff.PNG, sniff.PDF}),
            max_bytes=10_000_000,
            max_pages=None,
            level=level,
            max_pixels=100_000_000,
        )
        with clock.stage("rest"):
            answer = work.work(asked.write(), [document.fileno()], [image.fileno(), thumbnail.fileno()])
    assert "fingerprint" in answer, (path, answer)


def _comparisons(paths: Sequence[Path]) -> tuple[float, float]:
    """Milliseconds: of each receipt with itself saved anew, and with the one after it."""
    files = [path.read_bytes() for path in paths]
    again = [_saved_again(data) for data in files]
    return _comparing(files, again), _comparing(files, [*files[1:], files[0]])


def _saved_again(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
        buffer = io.BytesIO()
        picture.resize((picture.width * 9 // 10, picture.height * 9 // 10)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _comparing(firsts: Sequence[bytes], seconds: Sequence[bytes]) -> float:
    started = time.process_time()
    for first, second in zip(firsts, seconds, strict=True):
        comparing.same((sniff.JPEG, first), (sniff.JPEG, second), max_pixels=100_000_000)
    return 1000 * (time.process_time() - started) / len(firsts)
