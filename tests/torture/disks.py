"""Disks of our own: one whose power can be cut, one that is small. They need root; what is mounted goes away.

A power cut is EXT4_IOC_SHUTDOWN without flushing the log (ext4.h, EXT4_GOING_FLAGS_NOLOGFLUSH): from that
instant nothing more reaches the disk, and what was not yet there is gone. After mounting again the journal is
replayed, as at a boot. What it can't show is a disk that lies about its own cache.
"""

import fcntl
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


class CuttableDisk:
    """An ext4 file system in a file, mounted at `path`."""

    def __init__(self, image: Path, path: Path, size_bytes: int) -> None:
        self.path = path
        self._image = image
        path.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as stream:
            stream.truncate(size_bytes)
        _run("mkfs.ext4", "-q", image)
        self.mount()

    def mount(self, *, read_only: bool = False) -> None:
        _run("mount", "-o", "loop,ro" if read_only else "loop", self._image, self.path)

    def unmount(self) -> None:
        """Waits for the kernel to let go of files of processes that were just killed."""
        for _ in range(100):
            if subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.05)
        _run("umount", self.path)

    def cut(self) -> float:
        """The power goes. Returns the monotonic time just before: what was acknowledged by then must stay."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            before = time.monotonic()
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)
        return before

    def remove(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.unmount()
        self._image.unlink()
        self._image.parent.rmdir()


@contextmanager
def cuttable_disk(path: Path, size_bytes: int = 512 << 20) -> Iterator[CuttableDisk]:
    """Mounted at `path`, which is made; the file it lives in is elsewhere."""
    _need_root()
    image = Path(tempfile.mkdtemp(prefix="disk-")) / "image"
    try:
        disk = CuttableDisk(image, path, size_bytes)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"could not do it here: an ext4 file system can't be made and mounted ({error})")
    try:
        yield disk
    finally:
        disk.remove()


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A tmpfs of that size (as in mount(8)) at `path`."""
    _need_root()
    path.mkdir(parents=True, exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"could not do it here: a tmpfs can't be mounted ({error})")
    try:
        yield path
    finally:
        _run("umount", path)


def resize(path: Path, size: str) -> None:
    """Of a disk of `small_disk`, while it is used."""
    _run("mount", "-o", f"remount,size={size}", path)


def _need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("could not do it here: mounting a disk of its own needs root")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
