"""Asking the limited processes, and reading what they wrote. Runs in the daemon."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Offload(Protocol):
    """Runs one job function in a limited process."""

    async def run(
        self,
        request: Mapping[str, object],
        inputs: Sequence[Path | int],
        outputs: Sequence[Path | int] = (),
    ) -> Mapping[str, object]:
        """Raises WorkerLost when the process was ended by its limits or ended itself."""
        ...


def stretch(descriptor: int, offset: int, size: int) -> io.BufferedReader:
    """So many bytes of an output, as a stream; another one's place in the file is not moved."""
    return io.BufferedReader(_Stretch(descriptor, offset, size))


class _Stretch(io.RawIOBase):
    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._position = offset
        self._end = offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "io.WriteableBuffer") -> int:  # type: ignore[name-defined] # typeshed's own name
        view = memoryview(buffer).cast("B")
        piece = os.pread(self._descriptor, min(len(view), self._end - self._position), self._position)
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)
