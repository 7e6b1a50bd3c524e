"""Where a fetched image goes: a new file that appears whole or not at all, or standard output.

Nothing that is there already is replaced without being asked, not even what appears in the same instant.
"""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ingestd import sniff
from ingestd.domain.document import display_name
from ingestd.domain.errors import ConfigurationError, IngestdError

SUFFIXES = {sniff.PDF: ".pdf", sniff.JPEG: ".jpg", sniff.PNG: ".png", "image/tiff": ".tiff"}
_COPY_BYTES = 1 << 20
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Of file systems without hard links (FAT, some network ones)."""


def check_place(place: Path, *, force: bool) -> None:
    """Before anything is asked. Raises ConfigurationError."""
    if _is_stdout(place):
        if sys.stdout.isatty():
            raise ConfigurationError(["-o -: standard output is a terminal; add > FILE"])
    elif place.exists() and not place.is_dir():
        if not place.is_file():
            raise ConfigurationError([f"-o {place}: that is no ordinary file; use -o - > {place}"])
        if not force:
            raise _is_there(place)
    elif not place.exists() and not place.parent.is_dir():
        raise ConfigurationError([f"-o {place}: there is no directory {place.parent}"])


@contextmanager
def unfinished(place: Path) -> Iterator[BinaryIO]:
    """A file that nobody takes for the whole one, and that does not stay. Raises IngestdError."""
    if _is_stdout(place):
        with tempfile.TemporaryFile() as file:
            yield file
        return
    directory = place if place.is_dir() else place.parent
    try:
        descriptor, name = tempfile.mkstemp(dir=directory, prefix=".ingestd-", suffix=".part")
    except OSError as error:
        raise not_written(place, error) from None
    try:
        with open(name, "w+b", opener=lambda *_: descriptor) as file:
            yield file
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def put(file: BinaryIO, place: Path, stem: str, suffix: str, *, force: bool) -> str:
    """Makes it the whole one; `stem` and `suffix` name it in a directory. Says where it is.

    Raises ConfigurationError for a file that is there already, IngestdError when it can't be written.
    """
    try:
        if _is_stdout(place):
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer, _COPY_BYTES)
            sys.stdout.buffer.flush()
            return "standard output"
        final = place / display_name(stem.replace("/", "_") + suffix) if place.is_dir() else place
        os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.fsync(file.fileno())
        _name(Path(str(file.name)), final, force=force)
        _fsync(final.parent)
    except FileExistsError:
        raise _is_there(final) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise not_written(place, error) from None
    return str(final)


def type_in(file: BinaryIO) -> str:
    """By its first and last bytes; sniff.UNKNOWN: they tell nothing."""
    size = file.seek(0, os.SEEK_END)
    head = os.pread(file.fileno(), sniff.HEAD_BYTES, 0)
    return sniff.sniff(head, os.pread(file.fileno(), sniff.TAIL_BYTES, max(0, size - sniff.TAIL_BYTES)))


def not_written(place: Path, error: OSError) -> IngestdError:
    where = "standard output" if _is_stdout(place) else str(place)
    fix = ""
    if isinstance(error, PermissionError):
        fix = "; root acts as the owner of the storage directory here: write where that user may, or use -o -"
    return IngestdError(f"{where} can't be written: {error.strerror or error}{fix}")


def _is_stdout(place: Path) -> bool:
    return str(place) == "-"


def _is_there(place: Path) -> ConfigurationError:
    return ConfigurationError([f"-o {place}: is there already; --force replaces it"])


def _name(whole: Path, final: Path, *, force: bool) -> None:
    """Raises FileExistsError: a link never replaces anything."""
    if force:
        whole.replace(final)
        return
    try:
        final.hardlink_to(whole)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if final.exists():
            raise FileExistsError from None
        whole.rename(final)


def _fsync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
