"""uploaded/ and rejected/: what the person who dropped the file finds there."""

import asyncio
import ctypes
import json
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ingestd.domain.document import Document, Instant, Origin, OriginKind
from ingestd.domain.receipt import new_id
from ingestd.domain.states import SETTLED, State
from ingestd.interfaces import Report, SourceUnavailable
from ingestd.sources import filesystem
from ingestd.sources.folder import FolderSource
from ingestd.spool import Spool
from tests.unit.sources.conftest import JPEG, Inbox

AT = Instant(1_795_000_000_000_000)
DAY = 86_400_000_000


class Desk:
    """A spool and a source over one folder."""

    def __init__(self, inbox: Inbox, spool: Spool) -> None:
        self.inbox = inbox
        self.spool = spool

    def report(self, state: State, path: str = "a.jpg", data: bytes = JPEG) -> Report:
        spooled = self.spool.write(BytesIO(data))
        document = Document(
            path=spooled.path, filename="a.jpg", size=len(data), sha256=spooled.sha256, declared_type=None
        )
        return Report(
            origin=Origin(kind=OriginKind.FILE, source="inbox", path=path),
            arrival=new_id(AT),
            receipt=new_id(AT),
            documents=(document,),
            state=state,
            destined="concur:receipt",
            image_id="IMG1" if state is State.UPLOADED else None,
            reason="The PDF is encrypted. Save it without a password.",
            at=AT,
            repeat=False,
            place=None,
        )

    async def tell(self, report: Report) -> str | None:
        return await self.inbox.source().report(report)

    def shown(self) -> list[str]:
        return [name for name in self.inbox.names() if not name.startswith(".ingestd/")]

    def read(self, name: str) -> str:
        return (self.inbox.path / name).read_text()


@pytest.fixture
def desk(inbox: Inbox, tmp_path: Path) -> Desk:
    return Desk(inbox, Spool(tmp_path / "spool", min_free_bytes=0))


async def test_an_uploaded_file_is_a_hard_link_that_nobody_can_write_to(desk: Desk) -> None:
    desk.inbox.path.chmod(0o2770)
    os.chown(desk.inbox.path, -1, 12345)
    report = desk.report(State.UPLOADED, "entries/E1/a.jpg")
    assert await desk.tell(report) == "uploaded/entries/E1/a.jpg"
    found = (desk.inbox.path / "uploaded/entries/E1/a.jpg").stat()
    assert found.st_ino == report.documents[0].path.stat().st_ino
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o440, 12345)
    directory = (desk.inbox.path / "uploaded/entries").stat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_gid) == (0o2770, 12345)


async def test_an_uploaded_file_is_copied_where_no_link_can_be_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    report = desk.report(State.UPLOADED)
    assert await desk.tell(report) == "uploaded/a.jpg"
    copy = desk.inbox.path / "uploaded/a.jpg"
    assert copy.read_bytes() == JPEG and copy.stat().st_nlink == 1
    assert await desk.tell(report) == "uploaded/a.jpg"
    assert desk.shown() == ["uploaded/a.jpg"]


@pytest.mark.parametrize("state", sorted(SETTLED - {State.UPLOADED}))
async def test_every_other_end_puts_the_file_and_its_reason_into_rejected(desk: Desk, state: State) -> None:
    report = desk.report(state, "sub/a.jpg")
    assert await desk.tell(report) == "rejected/sub/a.jpg"
    assert desk.shown() == ["rejected/sub/a.jpg", "rejected/sub/a.jpg.reason.txt"]
    text = desk.read("rejected/sub/a.jpg.reason.txt")
    for part in ("a.jpg", "The PDF is encrypted", "What to do", report.receipt, "2026-11-18", str(state)):
        assert part in text
    assert (state is State.DROPPED) or f"ingestd retry {report.receipt}" in text


async def test_a_rejected_file_never_shares_its_bytes_with_the_spool(desk: Desk) -> None:
    """It may be tried again: what somebody does to the file in the folder must not reach the original."""
    report = desk.report(State.HELD)
    await desk.tell(report)
    assert (desk.inbox.path / "rejected/a.jpg").stat().st_ino != report.documents[0].path.stat().st_ino


async def test_a_later_upload_moves_the_file_and_the_reason_goes(desk: Desk) -> None:
    report = desk.report(State.REJECTED, "sub/a.jpg")
    place = await desk.tell(report)
    inode = (desk.inbox.path / "rejected/sub/a.jpg").stat().st_ino
    uploaded = replace(report, state=State.UPLOADED, place=place)
    assert await desk.tell(uploaded) == "uploaded/sub/a.jpg"
    assert desk.shown() == ["uploaded/sub/a.jpg"]
    assert (desk.inbox.path / "uploaded/sub/a.jpg").stat().st_ino == inode
    assert not (desk.inbox.path / "rejected/sub").exists()
    assert await desk.tell(uploaded) == "uploaded/sub/a.jpg", "told again after a crash"
    assert desk.shown() == ["uploaded/sub/a.jpg"]


async def test_a_crash_between_the_move_and_the_end_of_the_report_is_made_good(desk: Desk) -> None:
    report = desk.report(State.REJECTED)
    place = await desk.tell(report)
    (desk.inbox.path / "uploaded").mkdir()
    (desk.inbox.path / "rejected/a.jpg").rename(desk.inbox.path / "uploaded/a.jpg")
    assert await desk.tell(replace(report, state=State.UPLOADED, place=place)) == "uploaded/a.jpg"
    assert desk.shown() == ["uploaded/a.jpg"]


async def test_a_change_from_held_to_failed_updates_the_text_in_place(desk: Desk) -> None:
    report = desk.report(State.HELD)
    place = await desk.tell(report)
    failed = replace(report, state=State.FAILED, reason="The entry does not exist.", place=place)
    assert await desk.tell(failed) == place
    assert "The entry does not exist." in desk.read("rejected/a.jpg.reason.txt")
    assert len(desk.shown()) == 2


async def test_files_of_the_same_name_never_overwrite_each_other(desk: Desk) -> None:
    places = [await desk.tell(desk.report(State.UPLOADED, data=JPEG + bytes([n]))) for n in range(12)]
    assert places[:3] == ["uploaded/a.jpg", "uploaded/a (2).jpg", "uploaded/a (3).jpg"]
    assert len(set(places)) == 12
    assert sorted((desk.inbox.path / p).read_bytes() for p in places if p) == [
        JPEG + bytes([n]) for n in range(12)
    ]


async def test_many_reports_on_one_name_at_once_all_find_a_place(desk: Desk) -> None:
    source = desk.inbox.source()
    reports = [desk.report(State.REJECTED, data=JPEG + b"%d" % n) for n in range(30)]
    places = await asyncio.gather(*(source.report(report) for report in reports))
    for place, report in zip(places, reports, strict=True):
        assert place is not None
        assert (desk.inbox.path / place).read_bytes() == report.documents[0].path.read_bytes()
        assert report.receipt in desk.read(place + ".reason.txt")


async def test_what_a_person_put_there_is_left_alone(desk: Desk) -> None:
    theirs = {"rejected/a.jpg": b"mine", "rejected/a (2).jpg.reason.txt": b"my notes"}
    for name, data in theirs.items():
        desk.inbox.drop(name, data)
    place = await desk.tell(desk.report(State.REJECTED))
    assert place == "rejected/a (3).jpg"
    assert all((desk.inbox.path / name).read_bytes() == data for name, data in theirs.items())


async def test_a_rejected_file_that_a_person_edited_is_not_called_uploaded(desk: Desk) -> None:
    report = desk.report(State.REJECTED)
    place = await desk.tell(report)
    edited = desk.inbox.path / "rejected/a.jpg"
    edited.unlink()
    edited.write_bytes(b"edited")
    await desk.tell(replace(report, state=State.UPLOADED, place=place))
    assert edited.read_bytes() == b"edited"
    assert (desk.inbox.path / "uploaded/a.jpg").read_bytes() == JPEG


async def test_a_repeat_is_told_with_the_first_image_id(desk: Desk) -> None:
    first = desk.report(State.UPLOADED)
    await desk.tell(first)
    repeat = replace(first, repeat=True, arrival=new_id(AT), origin=replace(first.origin, path="copy.jpg"))
    assert await desk.tell(repeat) == "uploaded/copy.jpg"
    text = desk.read("uploaded/copy.jpg.repeat.txt")
    assert "IMG1" in text and "2026-11-18" in text
    assert await desk.tell(repeat) == "uploaded/copy.jpg"
    assert desk.shown() == ["uploaded/a.jpg", "uploaded/copy.jpg", "uploaded/copy.jpg.repeat.txt"]


async def test_a_repeat_under_the_same_name_needs_no_second_file(desk: Desk) -> None:
    first = desk.report(State.UPLOADED)
    await desk.tell(first)
    await desk.tell(replace(first, repeat=True))
    assert desk.shown() == ["uploaded/a.jpg", "uploaded/a.jpg.repeat.txt"]


async def test_an_original_that_was_purged_is_not_missed(desk: Desk) -> None:
    report = desk.report(State.UPLOADED)
    report.documents[0].path.unlink()
    assert await desk.tell(report) is None
    assert desk.shown() == []


async def test_a_purged_original_still_moves_from_rejected_to_uploaded(desk: Desk) -> None:
    report = desk.report(State.REJECTED)
    place = await desk.tell(report)
    report.documents[0].path.unlink()
    assert await desk.tell(replace(report, state=State.UPLOADED, place=place)) == "uploaded/a.jpg"
    assert desk.shown() == ["uploaded/a.jpg"]


async def test_switched_off_trees_stay_empty(desk: Desk) -> None:
    source = desk.inbox.source(uploaded=False, rejected=False)
    assert await source.report(desk.report(State.UPLOADED)) is None
    assert await source.report(desk.report(State.REJECTED)) is None
    assert desk.shown() == []


async def test_without_uploaded_a_later_upload_still_clears_rejected(desk: Desk) -> None:
    report = desk.report(State.REJECTED)
    place = await desk.tell(report)
    source = desk.inbox.source(uploaded=False)
    assert await source.report(replace(report, state=State.UPLOADED, place=place)) is None
    assert desk.shown() == []


@pytest.mark.parametrize("tree", ["uploaded", "rejected", ".ingestd"])
async def test_a_planted_link_is_never_written_through(desk: Desk, tmp_path: Path, tree: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    link = desk.inbox.path / tree
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim)
    state = State.REJECTED if tree == "rejected" else State.UPLOADED
    with pytest.raises(SourceUnavailable):
        await desk.tell(desk.report(state, "sub/a.jpg"))
    assert list(victim.iterdir()) == []


async def test_a_planted_link_below_a_tree_is_gone_around(desk: Desk, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (desk.inbox.path / "uploaded").mkdir()
    (desk.inbox.path / "uploaded/sub").symlink_to(victim)
    assert await desk.tell(desk.report(State.UPLOADED, "sub/a.jpg")) == "uploaded/sub__a.jpg"
    assert list(victim.iterdir()) == []


async def test_a_file_named_like_a_directory_hides_no_report(desk: Desk) -> None:
    await desk.tell(desk.report(State.UPLOADED, "entries"))
    place = await desk.tell(desk.report(State.UPLOADED, "entries/E1/a.jpg"))
    assert place == "uploaded/entries__E1__a.jpg"


async def test_a_planted_link_instead_of_a_text_is_replaced_not_followed(desk: Desk, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    (desk.inbox.path / "rejected").mkdir()
    (desk.inbox.path / "rejected/a.jpg.reason.txt").symlink_to(victim)
    await desk.tell(desk.report(State.REJECTED))
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("place", ["../../etc/passwd", "rejected/../../x", "elsewhere/a.jpg", "rejected", ""])
async def test_a_place_from_the_ledger_is_data(desk: Desk, place: str) -> None:
    assert await desk.tell(replace(desk.report(State.UPLOADED), place=place)) == "uploaded/a.jpg"


@pytest.mark.parametrize("path", ["../a.jpg", "/etc/a.jpg", "x//a.jpg", "./a.jpg", "."])
async def test_a_path_from_the_ledger_never_leads_out(desk: Desk, path: str) -> None:
    assert await desk.tell(desk.report(State.UPLOADED, path)) == "uploaded/a.jpg"


async def test_the_longest_name_has_room_for_its_reason(desk: Desk) -> None:
    name = "\u00e9" * 125 + ".jpg"
    place = await desk.tell(desk.report(State.REJECTED, name))
    assert place is not None and (desk.inbox.path / place).exists()
    assert (desk.inbox.path / (place + ".reason.txt")).exists()


async def test_a_folder_that_is_away_defers_the_report(desk: Desk, tmp_path: Path) -> None:
    desk.inbox.path.rename(tmp_path / "away")
    with pytest.raises(SourceUnavailable, match="not there"):
        await desk.tell(desk.report(State.UPLOADED))


async def test_what_is_not_settled_needs_no_report(desk: Desk) -> None:
    assert await desk.tell(replace(desk.report(State.READY), place="rejected/x")) == "rejected/x"
    assert desk.shown() == []


def tidier(desk: Desk, days: int) -> FolderSource:
    source = desk.inbox.source(keep_uploaded=timedelta(days=30))
    source._clock = lambda: Instant(AT + days * DAY)
    return source


async def test_uploaded_is_emptied_of_what_was_put_there_and_of_nothing_else(desk: Desk) -> None:
    first = desk.report(State.UPLOADED, "sub/a.jpg")
    await desk.tell(first)
    await desk.tell(replace(first, repeat=True))
    replaced = await desk.tell(desk.report(State.UPLOADED, "b.jpg", JPEG + b"b"))
    await desk.tell(desk.report(State.REJECTED, "c.jpg", JPEG + b"c"))
    later = replace(desk.report(State.UPLOADED, "d.jpg", JPEG + b"d"), at=Instant(AT + 20 * DAY))
    await desk.tell(later)
    desk.inbox.drop("uploaded/theirs.jpg")
    (desk.inbox.path / str(replaced)).unlink()
    desk.inbox.drop(str(replaced), b"somebody's own")
    await tidier(desk, 29).tidy()
    assert "uploaded/sub/a.jpg" in desk.shown()
    await tidier(desk, 32).tidy()
    assert desk.shown() == [
        "rejected/c.jpg",
        "rejected/c.jpg.reason.txt",
        "uploaded/b.jpg",
        "uploaded/d.jpg",
        "uploaded/theirs.jpg",
    ]
    assert not (desk.inbox.path / "uploaded/sub").exists()
    assert first.documents[0].path.exists()


# --- receipts of several documents


def of_several(desk: Desk, state: State, *paths: str, bytes_of: dict[str, bytes] | None = None) -> Report:
    """Each document has bytes of its own, unless `bytes_of` says otherwise."""
    documents = []
    for number, path in enumerate(paths):
        data = (bytes_of or {}).get(path, JPEG + b"%d" % number)
        (document,) = desk.report(state, data=data).documents
        documents.append(replace(document, arrived_as=path, filename=path.rpartition("/")[2] or "unnamed"))
    return replace(desk.report(state, paths[0]), documents=tuple(documents))


PAGES = ("entries/E1/p1.jpg", "entries/E1/p2.jpg", "entries/E1/p10.jpg")


async def test_every_page_of_an_uploaded_receipt_is_placed_under_its_own_path(desk: Desk) -> None:
    report = of_several(desk, State.UPLOADED, *PAGES)
    place = await desk.tell(report)
    assert place is not None and json.loads(place) == [f"uploaded/{path}" for path in PAGES]
    assert desk.shown() == sorted(f"uploaded/{path}" for path in PAGES)
    for path, document in zip(PAGES, report.documents, strict=True):
        assert (desk.inbox.path / "uploaded" / path).read_bytes() == document.path.read_bytes()


async def test_every_page_of_a_rejected_receipt_says_with_which_others_it_belongs(desk: Desk) -> None:
    report = of_several(desk, State.REJECTED, *PAGES)
    await desk.tell(report)
    for path in PAGES:
        text = desk.read(f"rejected/{path}.reason.txt")
        assert "This receipt is made of 3 files: p1.jpg, p2.jpg, p10.jpg." in text
        assert f"Came as:        {path}" in text and report.receipt in text
    assert len(desk.shown()) == 6


async def test_told_twice_or_with_the_places_returned_nothing_changes(desk: Desk) -> None:
    report = of_several(desk, State.REJECTED, *PAGES)
    place = await desk.tell(report)
    shown = desk.shown()
    assert await desk.tell(report) == place
    assert await desk.tell(replace(report, place=place)) == place
    assert desk.shown() == shown


async def test_a_later_upload_moves_every_file_and_takes_every_reason_away(desk: Desk) -> None:
    report = of_several(desk, State.HELD, *PAGES)
    place = await desk.tell(report)
    inodes = [(desk.inbox.path / "rejected" / path).stat().st_ino for path in PAGES]
    uploaded = replace(report, state=State.UPLOADED, place=place)
    after = await desk.tell(uploaded)
    assert desk.shown() == sorted(f"uploaded/{path}" for path in PAGES)
    assert [(desk.inbox.path / "uploaded" / path).stat().st_ino for path in PAGES] == inodes
    assert await desk.tell(uploaded) == after, "told again after a crash"
    assert desk.shown() == sorted(f"uploaded/{path}" for path in PAGES)


@pytest.mark.parametrize("moved", range(4))
async def test_a_crash_between_two_files_is_made_good(desk: Desk, moved: int) -> None:
    report = of_several(desk, State.REJECTED, *PAGES)
    place = await desk.tell(report)
    for path in PAGES[:moved]:
        target = desk.inbox.path / "uploaded" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (desk.inbox.path / "rejected" / path).rename(target)
    after = await desk.tell(replace(report, state=State.UPLOADED, place=place))
    assert after is not None and json.loads(after) == [f"uploaded/{path}" for path in PAGES]
    assert desk.shown() == sorted(f"uploaded/{path}" for path in PAGES)


async def test_every_call_of_a_report_on_several_files_can_be_the_last(desk: Desk) -> None:
    """The disk fails at the n-th call that changes something; the report is told again afterwards."""
    for state, suffix in ((State.REJECTED, ".reason.txt"), (State.UPLOADED, "")):
        for last in range(1, 200):
            report = of_several(desk, State.REJECTED, *PAGES)
            place = await desk.tell(report) if state is State.UPLOADED else None
            report = replace(report, state=state, place=place)
            with pytest.MonkeyPatch.context() as patch:
                calls = fail_at(patch, last)
                with suppress(SourceUnavailable):
                    await desk.tell(report)
            assert await desk.tell(report) is not None
            tree = "rejected" if state is State.REJECTED else "uploaded"
            assert desk.shown() == sorted(f"{tree}/{p}{s}" for p in PAGES for s in {"", suffix}), last
            shutil.rmtree(desk.inbox.path / tree)
            if len(calls) < last:
                break
        assert last > 10


def fail_at(patch: pytest.MonkeyPatch, last: int) -> list[str]:
    calls: list[str] = []

    def failing(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) >= last:
                raise OSError(5, "Input/output error")
            return real(*args, **kwargs)

        patch.setattr(os, name, call)

    for name in ("rename", "unlink", "rmdir", "mkdir", "fsync", "link", "write"):
        failing(name)
    real_renameat2 = filesystem._RENAMEAT2

    def renameat2(*args: Any) -> Any:
        calls.append("renameat2")
        if len(calls) >= last:
            ctypes.set_errno(5)
            return -1
        assert real_renameat2 is not None
        return real_renameat2(*args)

    patch.setattr(filesystem, "_RENAMEAT2", renameat2)
    return calls


async def test_members_of_an_archive_lie_in_a_directory_of_its_name(desk: Desk) -> None:
    await desk.tell(
        of_several(desk, State.UPLOADED, "sub/batch.zip/taxi.jpg", "sub/batch.zip/day 2/hotel.pdf")
    )
    assert desk.shown() == ["uploaded/sub/batch.zip/day 2/hotel.pdf", "uploaded/sub/batch.zip/taxi.jpg"]


async def test_a_file_named_like_the_archive_does_not_hide_its_members(desk: Desk) -> None:
    await desk.tell(desk.report(State.UPLOADED, "batch.zip"))
    await desk.tell(of_several(desk, State.UPLOADED, "batch.zip/taxi.jpg", "batch.zip/hotel.jpg"))
    assert desk.shown() == [
        "uploaded/batch.zip",
        "uploaded/batch.zip__hotel.jpg",
        "uploaded/batch.zip__taxi.jpg",
    ]
    await desk.tell(of_several(desk, State.UPLOADED, "new.zip/taxi.jpg", "new.zip/hotel.jpg"))
    assert await desk.tell(desk.report(State.UPLOADED, "new.zip", b"other")) == "uploaded/new (2).zip"


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/cron.d/x",
        "/etc/passwd",
        "a//b.jpg",
        "..",
        ".",
        "",
        "x\0y.jpg",
        "\ud800.jpg",
        "d" * 300 + "/x.jpg",
        "x" * 5000,
        "a/" * 3000 + "x.jpg",
        "x.jpg.reason.txt",
        "uploaded/x.jpg",
        ".ingestd/lock",
    ],
)
@pytest.mark.parametrize("state", [State.REJECTED, State.UPLOADED])
async def test_names_from_an_archive_never_lead_out_and_never_stop_a_report(
    desk: Desk, name: str, state: State
) -> None:
    report = of_several(desk, state, "batch.zip/x.jpg", f"batch.zip/{name}")
    before = {path for path in desk.inbox.path.parent.rglob("*") if "inbox" not in path.parts}
    place = await desk.tell(report)
    assert place is not None
    for each, document in zip(json.loads(place), report.documents, strict=True):
        found = desk.inbox.path / each
        assert found.resolve().is_relative_to(desk.inbox.path / each.partition("/")[0])
        assert found.read_bytes() == document.path.read_bytes()
    assert {path for path in desk.inbox.path.parent.rglob("*") if "inbox" not in path.parts} == before
    assert await desk.tell(replace(report, place=place)) == place
    assert await desk.tell(report) == place


async def test_names_that_differ_only_in_case_get_different_ones(desk: Desk) -> None:
    report = of_several(
        desk, State.UPLOADED, "b.zip/Taxi.jpg", "b.zip/taxi.JPG", "b.zip/ta\u0301.jpg", "b.zip/t\u00e1.jpg"
    )
    place = await desk.tell(report)
    names = [each.rpartition("/")[2] for each in json.loads(place or "[]")]
    assert names == ["Taxi.jpg", "taxi (2).JPG", "ta\u0301.jpg", "t\u00e1 (2).jpg"]
    assert await desk.tell(report) == place
    assert len(desk.shown()) == 4


async def test_twins_of_the_same_path_and_bytes_share_one_place(desk: Desk) -> None:
    twins = {"b.zip/a.jpg": JPEG}
    report = of_several(desk, State.REJECTED, "b.zip/a.jpg", "b.zip/a.jpg", bytes_of=twins)
    place = await desk.tell(report)
    assert desk.shown() == ["rejected/b.zip/a.jpg", "rejected/b.zip/a.jpg.reason.txt"]
    await desk.tell(replace(report, state=State.UPLOADED, place=place))
    assert desk.shown() == ["uploaded/b.zip/a.jpg"]


async def test_a_purged_page_is_not_missed_beside_the_others(desk: Desk) -> None:
    report = of_several(desk, State.UPLOADED, *PAGES)
    report.documents[1].path.unlink()
    place = await desk.tell(report)
    assert json.loads(place or "") == [f"uploaded/{PAGES[0]}", None, f"uploaded/{PAGES[2]}"]
    assert await desk.tell(replace(report, place=place)) == place


async def test_a_place_written_for_one_file_is_still_understood(desk: Desk) -> None:
    """By a version that placed only the first of several."""
    report = of_several(desk, State.REJECTED, *PAGES)
    await desk.tell(report)
    old = replace(report, state=State.UPLOADED, place=f"rejected/{PAGES[0]}")
    await desk.tell(old)
    assert not any(name.startswith(f"rejected/{PAGES[0]}") for name in desk.shown())
    assert {name for name in desk.shown() if name.startswith("uploaded/")} == {
        f"uploaded/{path}" for path in PAGES
    }


@pytest.mark.parametrize(
    "place", ["[", "[]", '["../../x"]', "[1, null, {}]", '{"a": 1}', '["uploaded/a.jpg/../b"]']
)
async def test_a_list_of_places_from_the_ledger_is_data(desk: Desk, place: str) -> None:
    await desk.tell(replace(of_several(desk, State.UPLOADED, *PAGES), place=place))
    assert desk.shown() == sorted(f"uploaded/{path}" for path in PAGES)


async def test_a_repeat_of_several_files_is_told_beside_each(desk: Desk) -> None:
    report = replace(of_several(desk, State.UPLOADED, *PAGES), repeat=True)
    await desk.tell(report)
    assert all("made of 3 files" in desk.read(f"uploaded/{path}.repeat.txt") for path in PAGES)


async def test_many_files_are_counted_and_some_are_named(desk: Desk) -> None:
    report = of_several(desk, State.REJECTED, *(f"entries/E1/{n}.jpg" for n in range(100)))
    await desk.tell(report)
    text = desk.read("rejected/entries/E1/0.jpg.reason.txt")
    assert "made of 100 files: 0.jpg, 1.jpg" in text and "19.jpg and 80 more." in text
