"""The spool: whole files only, each durable, none lost to a purge."""

import errno
import hashlib
import io
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd import spool as spool_module
from ingestd.domain.errors import ContentUnavailable, StorageExhausted
from ingestd.spool import PIECE_BYTES, Spool, SpoolDamaged, SpoolUnavailable

TWO_DAYS_S = 2 * 86400


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "storage" / "spool", min_free_bytes=0)


def put(spool: Spool, data: bytes) -> str:
    return spool.write(io.BytesIO(data)).sha256


def age(path: Path) -> None:
    then = time.time() - TWO_DAYS_S
    os.utime(path, (then, then))


def everything_in(spool: Spool) -> list[str]:
    return sorted(str(p.relative_to(spool.directory)) for p in spool.directory.rglob("*") if p.is_file())


def test_what_is_written_is_found_by_its_sha256(spool: Spool) -> None:
    data = os.urandom(3 * PIECE_BYTES + 17)
    spooled = spool.write(io.BytesIO(data))
    assert spooled.sha256 == hashlib.sha256(data).hexdigest()
    assert spooled.size == len(data)
    assert spooled.path == spool.path(spooled.sha256) and spooled.path.read_bytes() == data
    assert spool.read(spooled.sha256) == data


def test_an_empty_stream_is_a_blob_like_any_other(spool: Spool) -> None:
    assert spool.read(put(spool, b"")) == b""


def test_nobody_else_may_look_into_the_spool(spool: Spool) -> None:
    path = spool.path(put(spool, b"private"))
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent, spool.directory)]
    assert modes == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_only_a_sha256_names_a_blob(spool: Spool, name: str) -> None:
    with pytest.raises(ValueError, match="no sha256"):
        spool.path(name)


def test_the_same_bytes_are_stored_once_and_made_young_again(spool: Spool) -> None:
    path = spool.path(put(spool, b"twice"))
    inode = path.stat().st_ino
    age(path)
    put(spool, b"twice")
    assert path.stat().st_ino == inode
    assert time.time() - path.stat().st_mtime < 60
    assert everything_in(spool) == [f"{path.name[:2]}/{path.name}"]


def test_a_blob_of_the_wrong_size_is_replaced_by_the_good_bytes(spool: Spool) -> None:
    path = spool.path(put(spool, b"good bytes"))
    path.write_bytes(b"good")
    assert spool.read(put(spool, b"good bytes")) == b"good bytes"


def test_damaged_and_missing_originals_are_never_handed_out(spool: Spool) -> None:
    sha256 = put(spool, b"invoice 1")
    spool.path(sha256).write_bytes(b"invoice 2")
    with pytest.raises(SpoolDamaged, match="damaged"):
        spool.read(sha256)
    spool.path(sha256).unlink()
    with pytest.raises(SpoolDamaged, match="missing"):
        spool.read(sha256)


def test_every_name_is_fsynced_after_its_bytes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that a power cut needs: file, rename, shard, and the spool itself when the shard is new."""
    done: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append("file" if target.parent.name == "tmp" else str(target.relative_to(spool.directory)))
        real_fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    shard = put(spool, b"ordered")[:2]
    assert done == [".", "file", "rename", shard]
    done.clear()
    put(spool, b"ordered")
    assert done == [shard]


def test_a_failed_fsync_is_not_accepted_and_not_tried_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += stat.S_ISREG(os.fstat(descriptor).st_mode)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SpoolUnavailable, match="Input/output error"):
        put(spool, b"lost")
    assert calls == 1
    assert everything_in(spool) == []


def test_a_name_whose_directory_could_not_be_fsynced_is_taken_back(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = spool_module._fsync_directory

    def fails_for_shards(directory: Path) -> None:
        if directory != spool.directory:
            raise OSError(errno.EIO, "Input/output error")
        real(directory)

    before = everything_in(spool)
    monkeypatch.setattr(spool_module, "_fsync_directory", fails_for_shards)
    with pytest.raises(SpoolUnavailable):
        put(spool, b"not durable")
    assert everything_in(spool) == before


def test_a_source_that_can_not_be_read_is_no_trouble_of_the_spool(spool: Spool) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(ContentUnavailable, match="Input/output error"):
        spool.write(Broken())
    assert everything_in(spool) == []


def test_intake_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", min_free_bytes=1 << 60)
    with pytest.raises(StorageExhausted, match="min_free"):
        spool.check_room()
    with pytest.raises(StorageExhausted, match="min_free"):
        put(spool, b"x")
    assert everything_in(spool) == []


def test_max_size_counts_blobs_once_and_from_before_the_start(tmp_path: Path) -> None:
    put(Spool(tmp_path / "spool", min_free_bytes=0), b"a" * 600_000)
    spool = Spool(tmp_path / "spool", min_free_bytes=0, max_bytes=1_000_000, grace=timedelta(0))
    for _ in range(5):
        put(spool, b"b" * 150_000)
    with pytest.raises(StorageExhausted, match="max_size"):
        put(spool, b"c" * 300_000)
    spool.check_room()
    assert spool.purge(hashlib.sha256(b"a" * 600_000).hexdigest())
    put(spool, b"c" * 300_000)
    assert len(everything_in(spool)) == 2


def test_a_purge_takes_an_old_blob_and_leaves_a_young_one(spool: Spool) -> None:
    old, young = put(spool, b"old"), put(spool, b"young")
    age(spool.path(old))
    assert spool.purge(old) and not spool.path(old).exists()
    assert not spool.purge(young) and spool.read(young) == b"young"
    assert spool.purge(old)


def test_a_purge_restores_what_a_writer_used_again_in_the_same_moment(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = put(spool, b"race")
    age(spool.path(sha256))
    real_rename = Path.rename

    def used_just_before(self: Path, target: Path) -> Path:
        if self == spool.path(sha256):
            os.utime(self)
        return real_rename(self, target)

    monkeypatch.setattr(Path, "rename", used_just_before)
    assert not spool.purge(sha256)
    assert spool.read(sha256) == b"race"


def test_what_write_returned_is_there_whatever_purges_run_beside_it(tmp_path: Path) -> None:
    writer = Spool(tmp_path / "spool", min_free_bytes=0)
    purger = Spool(tmp_path / "spool", min_free_bytes=0)
    contents = [bytes([n]) * 2000 for n in range(3)]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    stop = threading.Event()

    def purge_for_ever() -> None:
        while not stop.is_set():
            for sha256 in hashes:
                purger.purge(sha256)

    def write_again_and_again(content: bytes, sha256: str) -> None:
        for _ in range(100):
            with suppress(FileNotFoundError):
                age(writer.path(sha256))
            put(writer, content)
            assert writer.read(sha256) == content

    with ThreadPoolExecutor(5) as pool:
        purges = [pool.submit(purge_for_ever) for _ in range(2)]
        writers = list(map(pool.submit, [write_again_and_again] * 3, contents, hashes))
        wait(writers)
        stop.set()
        for future in purges + writers:
            future.result()


def test_a_purge_cut_short_by_a_crash_is_undone_at_the_next_start(spool: Spool) -> None:
    sha256 = put(spool, b"half purged")
    spool.path(sha256).rename(spool.directory / "aside" / sha256)
    again = Spool(spool.directory, min_free_bytes=0)
    assert again.read(sha256) == b"half purged"
    assert list((spool.directory / "aside").iterdir()) == []


def test_old_temporary_files_go_at_the_start_and_fresh_ones_stay(spool: Spool) -> None:
    old, fresh = spool.directory / "tmp" / "old", spool.directory / "tmp" / "fresh"
    old.touch()
    fresh.touch()
    age(old)
    Spool(spool.directory, min_free_bytes=0)
    assert fresh.exists() and not old.exists()


def test_only_blobs_past_their_grace_are_offered_as_orphans(spool: Spool) -> None:
    old = {put(spool, bytes([n])) for n in range(20)}
    put(spool, b"young")
    for sha256 in old:
        age(spool.path(sha256))
    assert set(spool.old_blobs()) == old


# --- scratch files


def test_a_scratch_file_has_no_name_and_leaves_nothing(spool: Spool) -> None:
    with spool.scratch() as scratch:
        scratch.write(b"from a limited process")
        assert everything_in(spool) == []
        scratch.seek(0)
        spooled = spool.write(scratch)
    assert scratch.closed
    assert spool.read(spooled.sha256) == b"from a limited process"
    assert everything_in(spool) == [f"{spooled.sha256[:2]}/{spooled.sha256}"]


def test_what_another_process_wrote_to_a_scratch_file_is_there_to_be_read(spool: Spool) -> None:
    with spool.scratch() as scratch:
        child = os.fork()
        if child == 0:
            os.write(scratch.fileno(), b"x" * (2 * PIECE_BYTES + 1))
            os._exit(0)
        os.waitpid(child, 0)
        scratch.seek(0)
        assert spool.write(scratch).size == 2 * PIECE_BYTES + 1


def test_a_file_system_without_nameless_files_gets_one_whose_name_is_gone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def without_o_tmpfile(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", without_o_tmpfile)
    with spool.scratch() as scratch:
        scratch.write(b"abc")
        scratch.seek(0)
        assert scratch.read() == b"abc"
        assert everything_in(spool) == []


def test_open_scratch_files_count_as_used_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", min_free_bytes=0, max_bytes=1_000_000)
    with spool.scratch() as scratch:
        scratch.write(b"a" * 1_000_001)
        with pytest.raises(StorageExhausted, match="max_size"):
            spool.check_room()
        with pytest.raises(StorageExhausted, match="max_size"), spool.scratch():
            pass
    spool.check_room()
    put(spool, b"small")


# --- thumbnails


def test_a_thumbnail_stands_beside_its_blob_and_goes_with_it(spool: Spool) -> None:
    sha256 = put(spool, b"receipt")
    assert spool.thumbnail(sha256) is None
    assert spool.write_thumbnail(sha256, b"small") and spool.write_thumbnail(sha256, b"smaller")
    path = spool.thumbnail(sha256)
    assert path is not None and path.read_bytes() == b"smaller"
    assert everything_in(spool) == [f"{sha256[:2]}/{sha256}", f"{sha256[:2]}/{sha256}.jpg"]
    age(spool.path(sha256))
    assert spool.purge(sha256)
    assert spool.thumbnail(sha256) is None and everything_in(spool) == []


def test_a_thumbnail_that_can_not_be_stored_is_no_error(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not spool.write_thumbnail("0" * 64, b"of nothing")
    sha256 = put(spool, b"receipt")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    assert not spool.write_thumbnail(sha256, b"small")
    assert everything_in(spool) == [f"{sha256[:2]}/{sha256}"]
    assert not Spool(tmp_path / "full", min_free_bytes=1 << 60).write_thumbnail(sha256, b"small")


def test_a_thumbnail_is_never_taken_for_a_blob(spool: Spool) -> None:
    sha256 = put(spool, b"receipt")
    spool.write_thumbnail(sha256, b"small")
    thumbnail = spool.thumbnail(sha256)
    assert thumbnail is not None
    age(thumbnail)
    assert list(spool.old_blobs()) == []
    age(spool.path(sha256))
    assert list(spool.old_blobs()) == [sha256]


def test_thumbnails_without_a_blob_are_swept_and_others_stay(spool: Spool) -> None:
    kept, lone, aside = put(spool, b"kept"), put(spool, b"lone"), put(spool, b"aside")
    for sha256 in (kept, lone, aside):
        spool.write_thumbnail(sha256, b"small")
    spool.path(lone).unlink()
    spool.path(aside).rename(spool.directory / "aside" / aside)
    assert spool.remove_lone_thumbnails() == 1
    assert spool.thumbnail(lone) is None
    assert spool.thumbnail(kept) is not None and spool.thumbnail(aside) is not None


def test_thumbnails_count_towards_max_size_once_and_from_before_the_start(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool", min_free_bytes=0)
    sha256 = put(first, b"receipt")
    first.write_thumbnail(sha256, b"s" * 600_000)
    spool = Spool(tmp_path / "spool", min_free_bytes=0, max_bytes=1_000_000, grace=timedelta(0))
    for _ in range(3):
        assert spool.write_thumbnail(sha256, b"s" * 700_000)
    with pytest.raises(StorageExhausted, match="max_size"):
        put(spool, b"c" * 400_000)
    assert spool.purge(sha256)
    put(spool, b"c" * 400_000)
