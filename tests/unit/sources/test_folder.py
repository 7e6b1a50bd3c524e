"""The folder source over a real directory: what is taken, when, and what trouble does to it."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.errors import ContentChanged
from ingestd.domain.routing import Destined
from ingestd.sources import folder as folder_module
from ingestd.sources.watching import Watch
from tests.unit.sources.conftest import INCOMPLETE_S, JPEG, SETTLE_S, WAIT_S, Inbox, next_of, read, until


async def test_a_dropped_file_is_seen_at_once_although_the_rescan_is_far_away(inbox: Inbox) -> None:
    source = inbox.source()
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.scans > 0)
        scans = source.status.scans
        inbox.drop("a.jpg")
        await until(lambda: source.status.scans > scans)
        assert source.status.settling == 1
        async with asyncio.timeout(WAIT_S):
            arrival = await waiting
        assert arrival.origin.path == "a.jpg"


async def test_a_file_still_growing_is_never_taken(inbox: Inbox) -> None:
    whole = b"\xff\xd8\xff" + os.urandom(3000) + b"\xff\xd9"
    path = inbox.path / "slow.jpg"

    async def write_slowly() -> None:
        with path.open("wb") as stream:
            for start in range(0, len(whole), 250):
                stream.write(whole[start : start + 250])
                stream.flush()
                await asyncio.sleep(SETTLE_S * 0.7)

    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        writing = asyncio.create_task(write_slowly())
        arrival = await next_of(arrivals)
        assert writing.done()
        assert read(arrival) == whole


async def test_a_preallocated_copy_is_not_taken_before_its_end_is_written(inbox: Inbox) -> None:
    """Samba sets the full size first: size and date rest while the end is still zeros."""
    path = inbox.drop("copy.pdf", b"%PDF-1.4\n" + bytes(100_000))
    source = inbox.source(settle_incomplete=timedelta(seconds=30))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await asyncio.sleep(4 * SETTLE_S)
        assert not waiting.done() and path.exists()
        with path.open("r+b") as stream:
            stream.seek(-6, os.SEEK_END)
            stream.write(b"%%EOF\n")
        async with asyncio.timeout(WAIT_S):
            assert read(await waiting).endswith(b"%%EOF\n")


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff cut short", bytes(5000)])
async def test_an_unfinished_file_is_judged_like_any_other_in_the_end(inbox: Inbox, data: bytes) -> None:
    inbox.drop("broken.jpg", data)
    started = time.monotonic()
    assert await inbox.collect() == {"broken.jpg": data}
    assert time.monotonic() - started >= INCOMPLETE_S


async def test_a_directory_moved_in_is_walked(inbox: Inbox, tmp_path: Path) -> None:
    outside = tmp_path / "entries" / "E1"
    outside.mkdir(parents=True)
    for n in range(3):
        (outside / f"{n}.jpg").write_bytes(JPEG)
    source = inbox.source()
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.scans > 0)
        outside.parent.rename(inbox.path / "entries")
        async with asyncio.timeout(WAIT_S):
            found = [(await waiting).origin.path, *[(await anext(arrivals)).origin.path for _ in range(2)]]
        assert sorted(found) == [f"entries/E1/{n}.jpg" for n in range(3)]


async def test_sub_directories_are_left_alone_when_not_recursive(inbox: Inbox) -> None:
    inbox.drop("sub/a.jpg")
    inbox.drop("b.jpg")
    assert set(await inbox.collect(recursive=False)) == {"b.jpg"}
    assert "sub/a.jpg" in inbox.names()


async def test_a_folder_removed_and_made_again_is_watched_again(inbox: Inbox) -> None:
    source = inbox.source(rescan=timedelta(seconds=0.3))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.scans > 0)
        shutil.rmtree(inbox.path)
        await until(lambda: source.status.trouble is not None)
        assert str(inbox.path) in (source.status.trouble or "")
        inbox.path.mkdir()
        await until(lambda: source.status.trouble is None)
        inbox.drop("after.jpg")
        async with asyncio.timeout(WAIT_S):
            assert (await waiting).origin.path == "after.jpg"
    assert [name for name, _ in inbox.notes.heard if name.startswith("source.")] == [
        "source.unavailable",
        "source.recovered",
    ]


async def test_a_folder_replaced_between_two_looks_is_watched_anew(inbox: Inbox) -> None:
    """The old watch says nothing any more, and no look ever failed."""
    source = inbox.source(rescan=timedelta(seconds=0.3))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.scans > 0)
        first_watch = source._watch
        inbox.path.rename(inbox.path.with_name("old"))
        inbox.path.mkdir()
        await until(lambda: source._watch is not first_watch and source._watch is not None)
        inbox.drop("new.jpg")
        async with asyncio.timeout(WAIT_S):
            assert (await waiting).origin.path == "new.jpg"


async def test_without_any_event_the_rescan_finds_the_file(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "_matters", lambda *_: False)
    source = inbox.source(rescan=timedelta(seconds=0.3))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.scans > 0)
        inbox.drop("quiet.jpg")
        async with asyncio.timeout(WAIT_S):
            assert (await waiting).origin.path == "quiet.jpg"


async def test_polling_needs_no_events(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "POLL_S", 0.1)
    source = inbox.source(polling=True)
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.scans > 0)
        assert source._watch is None
        inbox.drop("polled.jpg")
        async with asyncio.timeout(WAIT_S):
            assert (await waiting).origin.path == "polled.jpg"


async def test_junk_hidden_and_half_written_names_stay_where_they_are(inbox: Inbox) -> None:
    junk = [
        ".hidden.jpg",
        "._a.jpg",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "~$a.docx",
        "a.jpg~",
        "a.jpg.part",
        "A.JPG.CRDOWNLOAD",
        "a.tmp",
        "a.partial",
        "a.filepart",
        "@eaDir/a.jpg",
        "#recycle/a.jpg",
        ".@__thumb/a.jpg",
        ".stfolder/a.jpg",
        "__MACOSX/a.jpg",
        "$RECYCLE.BIN/a.jpg",
        "lost+found/a.jpg",
        "uploaded/a.jpg",
        "rejected/a.jpg",
    ]
    for name in junk:
        inbox.drop(name)
    inbox.drop("sub/uploaded/real.jpg")
    assert set(await inbox.collect()) == {"sub/uploaded/real.jpg"}
    assert inbox.names() == sorted(junk)


async def test_links_pipes_and_devices_are_never_opened(inbox: Inbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(JPEG)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jpg").write_bytes(JPEG)
    (inbox.path / "link.jpg").symlink_to(secret)
    (inbox.path / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(inbox.path / "pipe.jpg")
    if os.geteuid() == 0:
        os.mknod(inbox.path / "zero.jpg", 0o20666, os.makedev(1, 5))
    inbox.drop("real.jpg")
    assert set(await inbox.collect()) == {"real.jpg"}
    assert secret.exists() and (inbox.path / "link.jpg").is_symlink()


async def test_a_file_swapped_for_a_link_after_it_settled_is_not_followed(
    inbox: Inbox, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(JPEG)
    path = inbox.drop("a.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        claimed = inbox.path / ".ingestd/claimed" / arrival.id / "a.jpg"
        claimed.unlink()
        claimed.symlink_to(secret)
        with pytest.raises(Exception, match="can't be read"):
            read(arrival)
        await arrival.give_back()
    assert path.is_symlink() and secret.exists()


async def test_names_that_are_not_utf_8_arrive_as_text_that_can_be_stored(inbox: Inbox) -> None:
    raw = os.fsencode(inbox.path) + b"/M\xfcller\n.jpg"
    Path(os.fsdecode(raw)).write_bytes(JPEG)
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert arrival.origin.path == "M\ufffdller\n.jpg"
        assert arrival.payloads[0].filename == "M\ufffdller.jpg"
        assert read(arrival) == JPEG
        arrival.origin.path.encode()
        await arrival.acknowledge()
    assert inbox.names() == []


async def test_a_file_changed_while_it_is_copied_goes_back_and_comes_again(inbox: Inbox) -> None:
    path = inbox.drop("a.jpg")
    source = inbox.source()
    seen = []
    async with asyncio.timeout(WAIT_S), aclosing(source.arrivals(once=True)) as arrivals:
        async for arrival in arrivals:
            seen.append(arrival.id)
            with arrival.payloads[0].content.open() as stream:
                stream.read()
            if len(seen) == 1:
                claimed = inbox.path / ".ingestd/claimed" / arrival.id / "a.jpg"
                with claimed.open("ab") as late:
                    late.write(b"more \xff\xd9")
                with pytest.raises(ContentChanged):
                    arrival.payloads[0].content.recheck()
                await arrival.give_back()
                assert path.read_bytes() == JPEG + b"more \xff\xd9"
            else:
                arrival.payloads[0].content.recheck()
                await arrival.acknowledge()
    assert len(seen) == 2
    assert inbox.names() == []


async def test_what_is_written_between_the_copy_and_the_acknowledgement_is_not_lost(inbox: Inbox) -> None:
    inbox.drop("a.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        read(arrival)
        with (inbox.path / ".ingestd/claimed" / arrival.id / "a.jpg").open("ab") as late:
            late.write(b"late")
        await arrival.acknowledge()
        assert (inbox.path / "a.jpg").read_bytes() == JPEG + b"late"


async def test_a_file_that_goes_back_never_overwrites_its_successor(inbox: Inbox) -> None:
    inbox.drop("a.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        inbox.drop("a.jpg", b"another one")
        (inbox.path / ".ingestd/claimed" / arrival.id / "a.jpg").write_bytes(b"changed")
        with pytest.raises(ContentChanged):
            arrival.payloads[0].content.open()
        await arrival.give_back()
    assert {p.name: p.read_bytes() for p in inbox.path.glob("*.jpg")} == {
        "a.jpg": b"another one",
        "a (2).jpg": b"changed",
    }


async def test_a_claim_kept_by_a_crash_keeps_id_path_and_sidecar(inbox: Inbox) -> None:
    inbox.drop("entries/E1/a.jpg")
    inbox.drop("entries/E1/a.jpg.json", b'{"to": "concur:report/123"}')
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first = await next_of(arrivals)
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        again = await next_of(arrivals)
        assert (again.id, again.origin, again.to) == (first.id, first.origin, first.to)
        assert again.to == Destined.parse("concur:report/123")
        await again.acknowledge()
    assert inbox.names() == []
    assert list((inbox.path / ".ingestd/claimed").iterdir()) == []


async def test_half_made_claims_are_cleared_and_their_sidecars_go_back(inbox: Inbox) -> None:
    claimed = inbox.path / ".ingestd" / "claimed"
    empty, half = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
    (claimed / empty / "entries" / "E1").mkdir(parents=True)
    (claimed / half / ".sidecar" / "sub").mkdir(parents=True)
    (claimed / half / ".sidecar" / "sub" / "a.jpg.json").write_bytes(b'{"to": "concur:receipt"}')
    inbox.drop("sub/a.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert arrival.to == Destined.parse("concur:receipt")
        assert [p.name for p in claimed.iterdir()] == [arrival.id]


async def test_a_file_waits_for_its_sidecar_to_settle(inbox: Inbox) -> None:
    inbox.drop("a.jpg")
    sidecar = inbox.drop("a.jpg.json", b'{"to": "concur:rep')

    async def finish_late() -> None:
        for _ in range(6):
            await asyncio.sleep(SETTLE_S / 2)
            sidecar.touch()
        sidecar.write_bytes(b'{"to": "concur:report/1", "note": "Taxi", "pages": 3}')

    finishing = asyncio.create_task(finish_late())
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert finishing.done()
        assert (arrival.to, arrival.fields, arrival.hold) == (
            Destined.parse("concur:report/1"),
            {"note": "Taxi"},
            None,
        )


async def test_a_shared_stem_that_can_mean_two_files_holds_both_and_says_what_to_rename(inbox: Inbox) -> None:
    inbox.drop("one.jpg")
    inbox.drop("one.json", b'{"to": "concur:report/1"}')
    inbox.drop("two.jpg")
    inbox.drop("two.pdf", b"%PDF-1.4 %%EOF")
    inbox.drop("two.json", b'{"to": "concur:report/2"}')
    found = {}
    async with asyncio.timeout(WAIT_S), aclosing(inbox.source().arrivals(once=True)) as arrivals:
        async for arrival in arrivals:
            found[tuple(payload.filename for payload in arrival.payloads)] = arrival
            await arrival.acknowledge()
    assert found.keys() == {("one.jpg",), ("two.jpg", "two.pdf"), ("two.json",)}
    assert str(found["one.jpg",].to) == "concur:report/1"
    assert found["two.json",].hold is None
    held = found["two.jpg", "two.pdf"]
    assert held.to is None
    assert held.hold is not None
    assert "'two.jpg' or 'two.pdf'" in held.hold and "'two.jpg.json' or 'two.pdf.json'" in held.hold


async def test_two_files_with_one_sidecar_are_still_held_after_a_crash(inbox: Inbox) -> None:
    for name in ("two.jpg", "two.pdf"):
        inbox.drop(name)
    inbox.drop("two.json", b'{"to": "concur:report/2"}')
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first = await next_of(arrivals)
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        again = await next_of(arrivals)
        assert (again.id, again.hold, again.to) == (first.id, first.hold, None)
        assert again.hold is not None


async def test_a_sidecar_of_its_own_leaves_the_shared_one_to_the_other_file(inbox: Inbox) -> None:
    inbox.drop("a.jpg")
    inbox.drop("a.jpg.json", b'{"to": "concur:report/1"}')
    inbox.drop("a.pdf", b"%PDF-1.4 %%EOF")
    inbox.drop("a.json", b'{"to": "concur:report/2"}')
    found = {}
    async with asyncio.timeout(WAIT_S), aclosing(inbox.source().arrivals(once=True)) as arrivals:
        async for arrival in arrivals:
            found[arrival.origin.path] = str(arrival.to)
            await arrival.acknowledge()
    assert found == {"a.jpg": "concur:report/1", "a.pdf": "concur:report/2"}


async def test_instructions_that_can_not_be_followed_hold_the_file(inbox: Inbox) -> None:
    inbox.drop("a.jpg")
    inbox.drop("a.jpg.json", b'{"to": "somewhere"}')
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert arrival.to is None
        assert "'somewhere' is not TARGET:SLOT" in (arrival.hold or "")


async def test_a_file_over_the_limit_is_moved_aside_unread(inbox: Inbox) -> None:
    inbox.drop("sub/big.jpg", JPEG * 100)
    source = inbox.source(max_size=1000)
    async with aclosing(source.arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert arrival.payloads == ()
        assert "takes files up to" in arrival.refused[0].reason
        await arrival.acknowledge()
    assert (inbox.path / "rejected/sub/big.jpg").read_bytes() == JPEG * 100
    assert "What to do" in (inbox.path / "rejected/sub/big.jpg.reason.txt").read_text()
    assert len(inbox.names()) == 2


async def test_a_file_over_the_limit_is_kept_even_when_rejected_is_switched_off(inbox: Inbox) -> None:
    inbox.drop("big.jpg", JPEG * 100)
    async with aclosing(inbox.source(max_size=1000, rejected=False).arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        await arrival.acknowledge()
    (kept,) = inbox.names()
    assert kept.startswith(".ingestd/refused/") and (inbox.path / kept).read_bytes() == JPEG * 100


async def test_two_sources_never_watch_the_same_folder(inbox: Inbox) -> None:
    first, second = inbox.source(), inbox.source()
    async with aclosing(first.arrivals(once=False)) as one, aclosing(second.arrivals(once=False)) as two:
        waiting = [asyncio.ensure_future(anext(one))]
        await until(lambda: first.status.scans > 0)
        waiting.append(asyncio.ensure_future(anext(two)))
        await until(lambda: second.status.trouble is not None)
        assert "Another ingestd" in (second.status.trouble or "")
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_five_thousand_files_at_once_each_arrive_once(inbox: Inbox) -> None:
    for n in range(5000):
        (inbox.path / f"{n:05}.jpg").write_bytes(JPEG + b"%d\xff\xd9" % n)
    found = set()
    async with asyncio.timeout(100), aclosing(inbox.source().arrivals(once=True)) as arrivals:
        async for arrival in arrivals:
            found.add(arrival.origin.path)
            await arrival.acknowledge()
    assert found == {f"{n:05}.jpg" for n in range(5000)}
    assert inbox.names() == []


async def test_more_files_than_can_settle_at_once_all_arrive(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestd.sources.scanning.CAPACITY", 7)
    for n in range(30):
        inbox.drop(f"{n}.jpg")
    assert len(await inbox.collect()) == 30


async def test_a_claim_directory_taken_away_under_the_source_is_made_again(inbox: Inbox) -> None:
    source = inbox.source(rescan=timedelta(seconds=0.3))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.scans > 0)
        shutil.rmtree(inbox.path / ".ingestd")
        inbox.drop("a.jpg")
        async with asyncio.timeout(WAIT_S):
            assert read(await waiting) == JPEG


async def test_an_own_directory_that_is_a_link_is_not_followed(inbox: Inbox, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (inbox.path / ".ingestd").symlink_to(victim)
    inbox.drop("a.jpg")
    source = inbox.source()
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.trouble is not None)
        assert list(victim.iterdir()) == [] and (inbox.path / "a.jpg").exists()
        waiting.cancel()
        await asyncio.wait([waiting])


AS_NOBODY = """
import asyncio, os, sys, threading
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from ingestd.clock import process_clock
from ingestd.settings import FolderSettings
from ingestd.sources.folder import FolderSource

class Told:
    def note(self, event, /, *, level="info", **fields):
        print(event, fields.get("path", ""), flush=True)

async def main():
    settings = FolderSettings(name="inbox", path=Path(sys.argv[1]), settle=timedelta(seconds=0.1),
                              settle_incomplete=timedelta(seconds=0.2), rescan=timedelta(seconds=0.2))
    source = FolderSource(settings, clock=process_clock(), observer=Told())
    async with asyncio.timeout(30), aclosing(source.arrivals(once=False)) as arrivals:
        async for arrival in arrivals:
            with arrival.payloads[0].content.open() as stream:
                stream.read()
            await arrival.acknowledge()
            print("arrived", arrival.origin.path, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def open_to_all() -> Iterator[Inbox]:
    """A folder that belongs to the user nobody, in a place that user can reach."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    with tempfile.TemporaryDirectory(prefix="ingestd-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        os.chown(path, 65534, 65534)
        yield Inbox(path)


def as_nobody(inbox: Inbox) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            sys.executable,
            "-c",
            AS_NOBODY,
            inbox.path,
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def next_line(process: "subprocess.Popen[str]", start: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line.strip()
    raise AssertionError(f"it ended without saying {start}")


def test_an_unreadable_file_is_reported_and_taken_when_it_can_be_read(open_to_all: Inbox) -> None:
    locked = open_to_all.drop("locked.jpg")
    locked.chmod(0o600)
    with as_nobody(open_to_all) as process:
        try:
            assert next_line(process, "file.blocked") == "file.blocked locked.jpg"
            open_to_all.drop("good.jpg").chmod(0o644)
            assert next_line(process, "arrived") == "arrived good.jpg"
            assert locked.exists()
            locked.chmod(0o644)
            assert next_line(process, "arrived") == "arrived locked.jpg"
        finally:
            process.kill()


def test_a_folder_that_loses_its_permission_recovers_with_it(open_to_all: Inbox) -> None:
    with as_nobody(open_to_all) as process:
        try:
            open_to_all.drop("before.jpg").chmod(0o644)
            assert next_line(process, "arrived") == "arrived before.jpg"
            open_to_all.path.chmod(0o000)
            next_line(process, "source.unavailable")
            open_to_all.drop("after.jpg").chmod(0o644)
            open_to_all.path.chmod(0o755)
            next_line(process, "source.recovered")
            assert next_line(process, "arrived") == "arrived after.jpg"
        finally:
            process.kill()


async def test_bytes_arrive_unchanged(inbox: Inbox) -> None:
    data = b"\xff\xd8\xff" + os.urandom(3_000_000) + b"\xff\xd9"
    inbox.drop("a.jpg", data)
    found = await inbox.collect()
    assert hashlib.sha256(found["a.jpg"]).digest() == hashlib.sha256(data).digest()
