"""The file that keeps a refresh token: replaced as a whole, durable before its access token is used.

Owned by the owner of the storage directory and by nobody else readable, also when root writes it. A lock
beside it lets one process refresh at a time: a server that rotates refresh tokens takes each of them once.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import stat
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingestd.domain.document import Instant
from ingestd.http.oauth_refusals import OAuthUnavailable
from ingestd.http.tokens import LONGEST_SECRET_BYTES

FILE_BYTES = 4 * LONGEST_SECRET_BYTES
LOCK_SECONDS = 90.0
"""Longest wait for another process; a refresh can't take longer."""
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A refresh token and what it belongs to. `seed` is the sha256 of the configured one it grew from.

    `expires_at`: when a person has to log in again, and `home`: the base URL of the data centre that the
    login lives in, for servers that tell them.
    """

    refresh_token: str = field(repr=False)
    client_id: str
    token_url: str
    seed: str | None = None
    expires_at: Instant | None = None
    home: str | None = None


class StoreUnusable(OAuthUnavailable):
    """The token file can't be used; the message says why and what to do."""


class Damaged(StoreUnusable):
    """The token file is there and holds nothing that could be used."""


def fingerprint(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class TokenStore:
    """One file. `path` has a directory of its own in the storage directory, made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Kept | None:
        """None: there is nothing yet. Raises StoreUnusable, Damaged."""
        try:
            directory = _opened_directory(self._path.parent)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        try:
            return self._loaded(directory)
        finally:
            os.close(directory)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator["Reserved"]:
        """Alone among all processes, with room on the disk for what will be saved. Raises StoreUnusable."""
        try:
            directory = await asyncio.to_thread(self._made_directory)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            with self._lock_file(directory) as lock:
                await self._take(lock)
                with self._room(directory) as (descriptor, name):
                    yield Reserved(self, directory, descriptor, name)
        finally:
            os.close(directory)

    def saved(self, directory: int, descriptor: int, name: str, kept: Kept) -> None:
        """Blocks until it is on the disk. Raises OSError."""
        content = json.dumps(
            {
                "version": 1,
                "token_url": kept.token_url,
                "client_id": kept.client_id,
                "seed": kept.seed,
                "expires_at": kept.expires_at,
                "home": kept.home,
                "refresh_token": kept.refresh_token,
            }
        ).encode()
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
        os.rename(name, self._path.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)

    def _loaded(self, directory: int) -> Kept | None:
        try:
            # O_NONBLOCK: a FIFO in its place must not block.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path.name, flags, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        try:
            self._check(os.fstat(descriptor), os.fstat(directory))
            return self._understood(os.read(descriptor, FILE_BYTES + 1))
        except OSError as error:
            raise self._unusable(error) from None
        finally:
            os.close(descriptor)

    def _check(self, found: os.stat_result, directory: os.stat_result) -> None:
        """What another user put there would upload, or read mail, as another user."""
        if not stat.S_ISREG(found.st_mode):
            raise StoreUnusable(f"{self._path} is not a file; remove it")
        if found.st_uid not in {0, directory.st_uid}:
            raise StoreUnusable(
                f"{self._path} belongs to user {found.st_uid} and not to the owner of the storage directory; "
                "remove it, and log in again with ingestd login"
            )

    def _understood(self, content: bytes) -> Kept:
        try:
            told = json.loads(content)
            values = [told[name] for name in ("refresh_token", "client_id", "token_url")]
            seed = told["seed"]
            # Not in the files of earlier versions.
            expires_at, home = told.get("expires_at"), told.get("home")
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._damaged() from None
        token, client_id, token_url = values
        if told.get("version") != 1 or not all(isinstance(v, str) and v for v in values):
            raise self._damaged()
        if not all(v is None or isinstance(v, str) for v in (seed, home)) or len(content) > FILE_BYTES:
            raise self._damaged()
        return Kept(
            refresh_token=token,
            client_id=client_id,
            token_url=token_url,
            seed=seed,
            expires_at=Instant(expires_at) if type(expires_at) is int else None,
            home=home,
        )

    def _damaged(self) -> Damaged:
        return Damaged(f"the token file {self._path} is damaged; log in again with ingestd login")

    def _made_directory(self) -> int:
        """Raises OSError."""
        directory = self._path.parent
        try:
            return _opened_directory(directory)
        except FileNotFoundError:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        descriptor = _opened_directory(directory)
        _give_to_owner_of(directory.parent.stat(), descriptor)
        return descriptor

    @contextmanager
    def _lock_file(self, directory: int) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            lock = os.open(f"{self._path.name}.lock", flags, 0o600, dir_fd=directory)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            _give_to_owner_of(os.fstat(directory), lock)
            yield lock
        finally:
            os.close(lock)

    async def _take(self, lock: int) -> None:
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                while True:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        await asyncio.sleep(_LOOK_SECONDS)
                    else:
                        return
        except TimeoutError:
            raise StoreUnusable(
                f"{self._path} is locked by another ingestd for more than {LOCK_SECONDS:g} s; end that one"
            ) from None

    @contextmanager
    def _room(self, directory: int) -> Iterator[tuple[int, str]]:
        """A new file with its blocks: a full disk must be met before the old refresh token is spent."""
        name = f".{self._path.name}.{uuid.uuid4().hex}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._remove_leftovers(directory)
            descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            try:
                _give_to_owner_of(os.fstat(directory), descriptor)
                os.posix_fallocate(descriptor, 0, FILE_BYTES)
            except OSError as error:
                raise self._unusable(error) from None
            yield descriptor, name
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)

    def _remove_leftovers(self, directory: int) -> None:
        """Of processes that were killed. The lock is held: nobody else has one."""
        for name in os.listdir(directory):
            if name.startswith(f".{self._path.name}."):
                os.unlink(name, dir_fd=directory)

    def _unusable(self, error: OSError) -> StoreUnusable:
        return StoreUnusable(
            f"the token file {self._path} can't be used: {error.strerror or error}; it must belong to the "
            "owner of the storage directory, and its disk needs room"
        )


class Reserved:
    """The store while it is locked."""

    def __init__(self, store: TokenStore, directory: int, descriptor: int, name: str) -> None:
        self._store = store
        self._place = directory, descriptor, name

    def load(self) -> Kept | None:
        return self._store.load()

    async def save(self, kept: Kept) -> None:
        """Durable when it returns; once only. Raises StoreUnusable."""
        try:
            await asyncio.to_thread(self._store.saved, *self._place, kept)
        except OSError as error:
            raise StoreUnusable(f"the new refresh token can't be kept: {error.strerror or error}") from None


def _opened_directory(path: Path) -> int:
    """Never through a symbolic link in its last part: root may write there."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _give_to_owner_of(directory: os.stat_result, descriptor: int) -> None:
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != directory.st_uid:
        os.fchown(descriptor, directory.st_uid, directory.st_gid)
