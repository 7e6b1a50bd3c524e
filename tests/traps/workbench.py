"""The real normalizer with real limited processes, to be used from tests that are not asynchronous.

It also tells what must never be left behind: processes, and files in the spool's temporary directory.
"""

import asyncio
import io
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Self

from ingestd import sniff
from ingestd.assembly import LARGEST_OUTPUT_BYTES
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.interfaces import Limits, Unpacked
from ingestd.normalizer import JOB
from ingestd.normalizer.normalizing import PreparingNormalizer
from ingestd.offload.errors import WorkerLost
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings
from ingestd.spool import Spool

LIMITS = Limits(types=frozenset({sniff.JPEG, sniff.PNG, sniff.PDF}), max_bytes=10_000_000, max_pages=200)

_NUMBER: ContextVar[int | None] = ContextVar("number", default=None)
"""Of the document that the task is about."""


class CountingOffload(Offload):
    """Keeps what is told of the processes that were lost; a note says with which document."""

    def __init__(self, settings: PreparationSettings) -> None:
        super().__init__(
            JOB, workers=settings.workers, memory_bytes=settings.memory, cpu=settings.cpu, wall=settings.wall,
            output_bytes=LARGEST_OUTPUT_BYTES,
        )  # fmt: skip
        self.losses: list[WorkerLost] = []

    async def run(
        self, request: object, inputs: Sequence[Path | int], outputs: Sequence[Path | int] = ()
    ) -> dict[str, object]:
        try:
            return await super().run(request, inputs, outputs)  # type: ignore[arg-type] # handed on as it is
        except WorkerLost as lost:
            lost.add_note(f"document {_NUMBER.get()}")
            self.losses.append(lost)
            raise


class Workbench:
    """Enter it where no event loop runs. `settings` as in production unless given."""

    def __init__(self, directory: Path, settings: PreparationSettings | None = None) -> None:
        self.settings = settings or PreparationSettings()
        self.spool = Spool(directory / "spool", min_free_bytes=0)
        self.offload = CountingOffload(self.settings)
        self.normalizer = PreparingNormalizer(self.offload, self.spool, self.settings)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self.offload.start()
        self._runner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.run(self.offload.aclose())
        self._runner.close()

    def prepare(
        self, *documents: bytes, limits: Limits = LIMITS, passwords: Sequence[str] = ()
    ) -> ReceiptImage | InvalidDocument:
        """One receipt of these documents."""
        spooled = [self._spooled(document, f"document{n}") for n, document in enumerate(documents)]
        return self._runner.run(self.normalizer.normalize(spooled, limits, passwords=passwords))

    def prepare_each(
        self,
        documents: Iterable[tuple[int, bytes]],
        judge: Callable[[int, bytes, ReceiptImage | InvalidDocument], None],
        limits: Limits = LIMITS,
    ) -> None:
        """A receipt of each numbered document, judged in threads, while the limited processes stay busy.

        Whatever the normalizer raises ends it, with the number of the document in a note.
        """
        waiting = iter(documents)

        async def one_after_the_other() -> None:
            for number, document in waiting:
                _NUMBER.set(number)
                try:
                    spooled = await asyncio.to_thread(self._spooled, document, "document")
                    result = await self.normalizer.normalize([spooled], limits)
                    await asyncio.to_thread(judge, number, document, result)
                except Exception as error:
                    error.add_note(f"document {number}")
                    raise

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(2 * self.settings.workers):
                    group.create_task(one_after_the_other())

        self._runner.run(all_of_them())

    def unpack(self, archive: bytes) -> Unpacked | None:
        return self._runner.run(self.normalizer.unpack(self._spooled(archive, "batch.zip"), "batch.zip"))

    def prepare_file(self, path: Path) -> ReceiptImage | InvalidDocument:
        """As `prepare`, without having the document in memory."""
        return self._runner.run(self.normalizer.normalize([self._spooled(path, path.name)], LIMITS))

    def unpack_file(self, path: Path) -> Unpacked | None:
        return self._runner.run(self.normalizer.unpack(self._spooled(path, path.name), path.name))

    def leftovers(self) -> list[str]:
        """Names below the spool's temporary directories."""
        return [
            str(path.relative_to(self.spool.directory))
            for place in ("tmp", "aside")
            for path in (self.spool.directory / place).rglob("*")
        ]

    def empty_spool(self) -> None:
        """Long runs would fill the disk."""
        for blob in self.spool.directory.glob("[0-9a-f][0-9a-f]/*"):
            blob.unlink()

    def open_files(self) -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def worker_count(self) -> int:
        """Processes below the fork server; waits a moment for those that are ending."""
        server = self.offload._server
        assert server is not None
        deadline = time.monotonic() + 5
        while (count := len(_descendants(server._process.pid))) > self.settings.workers:
            if time.monotonic() > deadline:
                break
            self._runner.run(asyncio.sleep(0.05))
        return count

    def _spooled(self, document: bytes | Path, name: str) -> Document:
        with io.BytesIO(document) if isinstance(document, bytes) else document.open("rb") as content:
            spooled = self.spool.write(content)
        return Document(
            path=spooled.path, filename=name, size=spooled.size, sha256=spooled.sha256, declared_type=None
        )


def _descendants(root: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:  # it ended just now
                continue
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}
