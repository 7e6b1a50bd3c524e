"""Secrets: read where a Secret points to, each time they are needed, and kept out of every text.

Only their place is ever shown. A changed file is noticed by itself, so that a new token needs no restart.
"""

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from ingestd.domain.errors import IngestdError
from ingestd.settings import Secret

LONGEST_SECRET_BYTES = 16 * 1024
"""JWTs are 1 to 4 KB; whatever is longer is another file."""
_SHORTEST_REDACTED = 6
"""Shorter secrets are not searched for in texts: they would blacken half of every sentence."""
REDACTED = "[secret]"

_FileIdentity = tuple[int, int, int, int]


class SecretUnavailable(IngestdError):
    """A secret can't be read; the message says why and what to do, never what it is."""


class SecretReader:
    """Reads one secret; a file is opened again only when it changed. Safe to call from any thread."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._cached: tuple[_FileIdentity, str] | None = None

    def __call__(self) -> str:
        """The secret, stripped. Raises SecretUnavailable."""
        path = self._secret.file
        if path is None:
            return read_secret(self._secret)
        try:
            identity = _identity(path.stat())
        except OSError:
            return read_secret(self._secret)
        cached = self._cached
        if cached is not None and cached[0] == identity:
            return cached[1]
        value = read_secret(self._secret)
        self._cached = (identity, value)
        return value


def read_secret(secret: Secret) -> str:
    """The secret, stripped of surrounding blanks. Raises SecretUnavailable."""
    value = _raw(secret).strip()
    if not value:
        raise SecretUnavailable(f"{secret} is empty; put the token there, on one line")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise SecretUnavailable(
            f"{secret} holds more than one word; put the token there alone, on one line, without 'Bearer'"
        )
    return value


def read_password(secret: Secret) -> str:
    """A password: one line, blanks within it included. Raises SecretUnavailable.

    App passwords are shown in groups of letters, and a passphrase may be in any language.
    """
    value = _raw(secret).strip()
    if not value:
        raise SecretUnavailable(f"{secret} is empty; put the password there, on one line")
    if not value.isprintable() or "\ufffd" in value:
        raise SecretUnavailable(
            f"{secret} holds more than one line, or no UTF-8; put the password there alone, on one line"
        )
    return value


def problems(secret: Secret, read: Callable[[Secret], str] = read_secret) -> tuple[str, ...]:
    """Why this secret can't be used, as sentences for a person; empty when it can.

    `read`: read_secret for a token, read_password for a password.
    """
    try:
        read(secret)
    except SecretUnavailable as error:
        return (str(error),)
    return ()


def warnings(secret: Secret) -> tuple[str, ...]:
    """What is unwise about where this secret is kept."""
    if secret.file is None:
        return ()
    try:
        mode = secret.file.stat().st_mode
    except OSError:
        return ()
    if mode & stat.S_IRWXO:
        return (f"{secret} can be read by every user of this machine; run: chmod o= {secret.file}",)
    return ()


def holds(text: str, secrets: Iterable[str]) -> bool:
    """Whether any of the secrets is in it, in whatever case: names of hosts have none."""
    return any(len(value) >= _SHORTEST_REDACTED and value.lower() in text.lower() for value in secrets)


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` without any of the secrets; one that holds another goes as a whole."""
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= _SHORTEST_REDACTED:
            text = text.replace(value, REDACTED)
    return text


def _raw(secret: Secret) -> str:
    return _from_file(secret.file) if secret.file else _from_environment(secret.environment or "")


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise SecretUnavailable(f"environment variable {name} is not set")
    return value


def _from_file(path: Path) -> str:
    try:
        # A FIFO in its place must not block: O_NONBLOCK opens it, the type check refuses it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SecretUnavailable(f"{path} is not a file; name a file that holds the secret alone")
            content = file.read(LONGEST_SECRET_BYTES + 1)
    except FileNotFoundError:
        raise SecretUnavailable(f"file {path} does not exist; put the secret there") from None
    except OSError as error:
        raise SecretUnavailable(f"file {path} can't be read: {error.strerror}") from None
    if len(content) > LONGEST_SECRET_BYTES:
        raise SecretUnavailable(f"file {path} is too long for a secret; put it there alone")
    return content.decode("utf-8-sig", "replace")


def _identity(status: os.stat_result) -> _FileIdentity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
