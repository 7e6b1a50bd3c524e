"""Passwords for encrypted PDFs: files with one password in each line, read each time they are needed.

A password may begin or end with blanks, so only the end of the line is taken away. Only the place of a file
is ever told, never a line of it.
"""

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingestd.domain.errors import IngestdError
from ingestd.domain.routing import InvalidSlot, first_match
from ingestd.pipeline.flow import Flow

MOST_PASSWORDS = 200
LARGEST_FILE_BYTES = 100_000
"""So much that all passwords of a request, however they are written there, take a small part of its frame."""
LONGEST_PASSWORD_BYTES = 200
"""PDF uses 127 bytes of a password at most (ISO 32000-2, 7.6.4.3.3)."""


class PasswordsUnavailable(IngestdError):
    """A file of passwords can't be used; the message says why and what to do, never what is in it."""


class Passwords:
    """Those to try on a receipt. A file that can't be used is told once for each reason."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._told: dict[Path, str] = {}

    async def for_facts(self, facts: Mapping[str, str]) -> Sequence[str]:
        """Those of the first route that matches, then those for everybody; none twice."""
        files = [self._file_of_route(facts), self._flow.preparation.passwords_file]
        found: dict[str, None] = {}
        for path in files:
            if path is not None:
                found |= dict.fromkeys(await self._read(path))
        return tuple(found)[:MOST_PASSWORDS]

    def _file_of_route(self, facts: Mapping[str, str]) -> Path | None:
        try:
            found = first_match(self._flow.routes, facts)
        except InvalidSlot:
            return None
        return None if found is None else found[0].passwords_file

    async def _read(self, path: Path) -> Sequence[str]:
        try:
            passwords = await asyncio.to_thread(read_passwords, path)
        except PasswordsUnavailable as error:
            if self._told.get(path) != str(error):
                self._told[path] = str(error)
                self._flow.observer.note("passwords.unavailable", level="warning", reason=str(error))
            return ()
        self._told.pop(path, None)
        return passwords


def read_passwords(path: Path) -> tuple[str, ...]:
    """The passwords in the file, in order; blank lines are none. Raises PasswordsUnavailable. Blocks."""
    content = _content(path)
    if len(content) > LARGEST_FILE_BYTES:
        raise PasswordsUnavailable(f"file {path} is too long; put only the passwords there, one in each line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PasswordsUnavailable(f"file {path} is no UTF-8 text; save it as UTF-8") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    for number, line in enumerate(lines, 1):
        if len(line.encode()) > LONGEST_PASSWORD_BYTES:
            raise PasswordsUnavailable(
                f"file {path}, line {number}: longer than any password of a PDF; one password in each line"
            )
        if line.strip() and not line.isprintable():
            raise PasswordsUnavailable(
                f"file {path}, line {number}: holds a character that can't be printed; type it anew"
            )
    passwords = tuple(line for line in lines if line.strip())
    if len(passwords) > MOST_PASSWORDS:
        raise PasswordsUnavailable(
            f"file {path} holds {len(passwords)} passwords; at most {MOST_PASSWORDS} are tried, remove some"
        )
    return passwords


def problems(path: Path) -> tuple[str, ...]:
    """Why this file can't be used, as sentences for a person; empty when it can."""
    try:
        read_passwords(path)
    except PasswordsUnavailable as error:
        return (str(error),)
    return ()


def warnings(path: Path) -> tuple[str, ...]:
    """What is unwise about where the passwords are kept."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ()
    if mode & stat.S_IRWXO:
        return (f"file {path} can be read by every user of this machine; run: chmod o= {path}",)
    return ()


def _content(path: Path) -> bytes:
    try:
        # A FIFO in its place must not block: O_NONBLOCK opens it, the type check refuses it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PasswordsUnavailable(f"{path} is not a file; name a file with a password in each line")
            return file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise PasswordsUnavailable(
            f"file {path} does not exist; put the passwords there, one in each line"
        ) from None
    except OSError as error:
        raise PasswordsUnavailable(f"file {path} can't be read: {error.strerror}") from None
