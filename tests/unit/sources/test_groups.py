"""Groups over a real directory: files that become one receipt arrive as one, once all of them are quiet."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.routing import Destined
from ingestd.interfaces import Arrival
from ingestd.sources import claims, custody, filesystem, judging, scanning, taking
from ingestd.sources.folder import FolderSource
from tests.unit.sources.conftest import (
    JPEG,
    QUIET_S,
    SETTLE_S,
    WAIT_S,
    Inbox,
    next_of,
    pages_and_entries,
    read_payload,
    until,
)


@pytest.fixture
def inbox(inbox: Inbox) -> Inbox:
    inbox.group_of = pages_and_entries
    return inbox


async def arrivals_of(source: FolderSource) -> list[Arrival]:
    """One full pass, everything read and acknowledged."""
    found = []
    async with asyncio.timeout(WAIT_S), aclosing(source.arrivals(once=True)) as arrivals:
        async for arrival in arrivals:
            for payload in arrival.payloads:
                read_payload(payload)
            found.append(arrival)
            await arrival.acknowledge()
    return found


def paths(arrival: Arrival) -> list[str]:
    return [payload.arrived_as or arrival.origin.path for payload in arrival.payloads]


async def test_files_of_one_entry_arrive_as_one_in_the_order_people_expect(inbox: Inbox) -> None:
    names = ["page_10.jpg", "page_2.jpg", "Page_1.jpg", "summary.pdf"]
    for name in names:
        inbox.drop(f"entries/E1/{name}", JPEG + name.encode() + b"\xff\xd9")
    (arrival,) = await arrivals_of(inbox.source())
    ordered = [f"entries/E1/{name}" for name in ("Page_1.jpg", "page_2.jpg", "page_10.jpg", "summary.pdf")]
    assert paths(arrival) == ordered
    assert arrival.origin.path == "entries/E1/Page_1.jpg"
    assert [payload.filename for payload in arrival.payloads] == [path.rpartition("/")[2] for path in ordered]
    assert inbox.names() == []


async def test_groups_of_several_directories_and_single_files_stay_apart(inbox: Inbox) -> None:
    dropped = [
        "taxi.jpg",
        "h_p1.jpg",
        "h_p2.jpg",
        "sub/h_p1.jpg",
        "sub/h_p2.jpg",
        "entries/A/x.jpg",
        "entries/B/x.jpg",
    ]
    for name in dropped:
        inbox.drop(name)
    found = sorted(tuple(paths(arrival)) for arrival in await arrivals_of(inbox.source()))
    assert found == [
        ("entries/A/x.jpg",),
        ("entries/B/x.jpg",),
        ("h_p1.jpg", "h_p2.jpg"),
        ("sub/h_p1.jpg", "sub/h_p2.jpg"),
        ("taxi.jpg",),
    ]


async def test_a_single_file_has_no_path_of_its_own_and_no_group_no_manifest(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert [payload.arrived_as for payload in arrival.payloads] == [""]
        assert inbox.names() == [f".ingestd/claimed/{arrival.id}/h_p1.jpg"]


async def test_a_group_waits_until_it_is_quiet_and_every_late_page_extends_the_wait(inbox: Inbox) -> None:
    source = inbox.source(group_quiet=timedelta(seconds=1.5))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        for number in range(1, 5):
            last = time.monotonic()
            inbox.drop(f"h_p{number}.jpg")
            await asyncio.sleep(0.4)
            assert not waiting.done()
        assert source.status.settling == 4
        async with asyncio.timeout(WAIT_S):
            arrival = await waiting
        assert time.monotonic() - last >= 0.6
        assert paths(arrival) == [f"h_p{number}.jpg" for number in range(1, 5)]


async def test_a_file_alone_in_its_group_waits_for_others_as_well_and_one_without_a_group_does_not(
    inbox: Inbox,
) -> None:
    inbox.drop("entries/E1/only.jpg")
    inbox.drop("taxi.jpg")
    async with aclosing(inbox.source(group_quiet=timedelta(seconds=4)).arrivals(once=False)) as arrivals:
        started = time.monotonic()
        assert (await next_of(arrivals)).origin.path == "taxi.jpg"
        assert (await next_of(arrivals)).origin.path == "entries/E1/only.jpg"
        assert time.monotonic() - started >= 3.9


async def test_a_page_that_is_still_written_keeps_the_others_waiting(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    path = inbox.path / "h_p2.jpg"

    async def write_slowly() -> None:
        with path.open("wb") as stream:
            for piece in [JPEG[:8], *[b"x"] * 10, b"\xff\xd9"]:
                stream.write(piece)
                stream.flush()
                await asyncio.sleep(SETTLE_S / 2)

    source = inbox.source(group_quiet=timedelta(0))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        writing = asyncio.create_task(write_slowly())
        await asyncio.sleep(0)
        assert paths(await next_of(arrivals)) == ["h_p1.jpg", "h_p2.jpg"]
        assert writing.done()


async def test_a_page_that_never_stops_changing_does_not_starve_the_others(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LONGEST_QUIETS", 2)
    inbox.drop("h_p1.jpg")
    restless = inbox.drop("h_p2.jpg")

    async def touch_for_ever() -> None:
        while True:
            os.utime(restless)
            await asyncio.sleep(0.02)

    touching = asyncio.create_task(touch_for_ever())
    try:
        async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
            arrival = await next_of(arrivals)
            assert paths(arrival) == ["h_p1.jpg"]
    finally:
        touching.cancel()


async def test_a_page_that_can_not_be_read_is_said_and_waited_for(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads everything, so a broken disk stands in for a missing permission."""
    monkeypatch.setattr(judging, "LONGEST_QUIETS", 0)
    monkeypatch.setattr(scanning, "_BLOCKED_WAIT_S", 0.2)
    broken = True
    patience = judging.Judge._patience

    def fail(judge: judging.Judge, name: str) -> float:
        if broken and name == "h_p2.jpg":
            raise OSError(5, "Input/output error")
        return patience(judge, name)

    monkeypatch.setattr(judging.Judge, "_patience", fail)
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    source = inbox.source()
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.trouble is not None)
        await asyncio.sleep(3 * QUIET_S)
        assert not waiting.done()
        assert "'h_p2.jpg'" in (source.status.trouble or "")
        broken = False
        async with asyncio.timeout(WAIT_S):
            assert paths(await waiting) == ["h_p1.jpg", "h_p2.jpg"]


async def test_waiting_for_quiet_is_no_busy_loop_and_takes_no_longer_than_needed(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p1.jpg.json", b'{"note": "x"}')
    inbox.drop("h_p2.jpg")
    source = inbox.source(group_quiet=timedelta(seconds=1.5))
    started = time.monotonic()
    async with aclosing(source.arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert len(arrival.payloads) == 2
    assert 1.5 <= time.monotonic() - started < 4
    assert source.status.scans <= 20


async def test_a_pass_ends_only_after_every_group_was_quiet(inbox: Inbox) -> None:
    source = inbox.source()
    for name in ("h_p1.jpg", "entries/E1/a.jpg"):
        inbox.drop(name)
    assert len(await arrivals_of(source)) == 2
    assert source.status.settling == 0


async def test_a_group_larger_than_an_arrival_comes_in_several(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "GROUP_FILES", 4)
    for number in range(1, 11):
        inbox.drop(f"h_p{number}.jpg")
    found = await arrivals_of(inbox.source())
    assert [paths(arrival) for arrival in found] == [
        [f"h_p{number}.jpg" for number in numbers] for numbers in (range(1, 5), range(5, 9), range(9, 11))
    ]


async def test_one_hundred_files_are_one_arrival(inbox: Inbox) -> None:
    for number in range(1, 101):
        inbox.drop(f"entries/E1/{number}.jpg")
    (arrival,) = await arrivals_of(inbox.source())
    assert paths(arrival) == [f"entries/E1/{number}.jpg" for number in range(1, 101)]
    assert inbox.names() == []


def too_many(count: int, where: str, most: int) -> str:
    limit = f"at most {most} can become one receipt. Send fewer, or one PDF."
    return f"{count} files belong together ({where}); {limit}"


async def test_every_part_of_a_group_of_too_many_files_is_held_and_says_how_many_there_are(
    inbox: Inbox,
) -> None:
    for number in range(1, 111):
        inbox.drop(f"entries/E3/{number}.jpg")
    first, rest = await arrivals_of(inbox.source())
    assert (len(first.payloads), len(rest.payloads)) == (100, 10)
    assert first.hold == rest.hold == too_many(110, "entries/E3", 100)
    assert inbox.names() == []


async def test_instructions_for_more_files_than_one_arrival_takes_are_followed_for_none(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single file is left: alone with the instructions it would be the only image of its slot."""
    monkeypatch.setattr(judging, "GROUP_FILES", 2)
    for number in range(1, 4):
        inbox.drop(f"h_p{number}.jpg")
    inbox.drop("h.json", b'{"to": "concur:report/1"}')
    inbox.drop("h_p1.jpg.json", b'{"to": "concur:report/1"}')
    found = await arrivals_of(inbox.source())
    assert [paths(arrival) for arrival in found] == [["h_p1.jpg", "h_p2.jpg"], ["h_p3.jpg"]]
    expected = too_many(3, "h_p1.jpg and others", 2)
    assert [(arrival.to, arrival.hold) for arrival in found] == [(None, expected)] * 2
    assert inbox.names() == []


async def test_a_group_that_just_fits_waits_for_one_file_more(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "GROUP_FILES", 2)
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    source = inbox.source(group_quiet=timedelta(seconds=1.5))
    arriving = asyncio.create_task(arrivals_of(source))
    await until(lambda: source.status.settling == 2)
    await asyncio.sleep(3 * SETTLE_S)
    inbox.drop("h_p3.jpg")
    found = await arriving
    assert [paths(arrival) for arrival in found] == [["h_p1.jpg", "h_p2.jpg"], ["h_p3.jpg"]]
    assert {arrival.hold for arrival in found} == {too_many(3, "h_p1.jpg and others", 2)}


async def test_a_part_of_too_many_files_that_comes_back_is_held_again(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are gone by then, so it is as small as any group."""
    monkeypatch.setattr(judging, "GROUP_FILES", 2)
    for number in range(1, 4):
        inbox.drop(f"h_p{number}.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first, rest = await next_of(arrivals), await next_of(arrivals)
        await rest.acknowledge()
        inbox.drop("other.jpg")
        await (await next_of(arrivals)).acknowledge()
        await first.give_back(anew=True)
        again = await next_of(arrivals)
        assert paths(again) == ["h_p1.jpg", "h_p2.jpg"]
        assert again.hold == first.hold == too_many(3, "h_p1.jpg and others", 2)


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_the_rest_of_too_many_files_is_held_after_a_restart_too(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, acknowledged: bool
) -> None:
    """By then it is as small as any group, and nothing in the folder tells that there was more."""
    monkeypatch.setattr(judging, "GROUP_FILES", 2)
    for number in range(1, 5):
        inbox.drop(f"entries/K\udcfc/{number}.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first = await next_of(arrivals)
        if acknowledged:
            await first.acknowledge()
    inbox.drop("entries/E2/1.jpg")
    found = {arrival.origin.path: arrival for arrival in await arrivals_of(inbox.source())}
    alone, rest = found.pop("entries/E2/1.jpg"), found.pop("entries/K\ufffd/3.jpg")
    assert (alone.hold, rest.hold) == (None, first.hold)
    assert rest.hold == too_many(4, "entries/K\ufffd", 2)
    assert [(arrival.id, arrival.hold) for arrival in found.values()] == (
        [] if acknowledged else [(first.id, first.hold)]
    )
    inbox.drop("entries/K\udcfc/5.jpg")
    (late,) = await arrivals_of(inbox.source())
    assert late.hold is None, "all of them are gone, so this is another group"
    assert inbox.names() == []


async def test_a_part_left_by_a_crash_that_comes_back_is_still_a_part_of_too_many(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in a claim when the first scan finds nothing else of its group in the folder."""
    monkeypatch.setattr(judging, "GROUP_FILES", 2)
    for number in range(1, 4):
        inbox.drop(f"h_p{number}.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first, rest = await next_of(arrivals), await next_of(arrivals)
        await rest.acknowledge()
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        again = await next_of(arrivals)
        assert (again.id, again.hold) == (first.id, first.hold)
        await again.give_back(anew=True)
        anew = await next_of(arrivals)
        assert anew.id != first.id
        assert anew.hold == first.hold == too_many(3, "h_p1.jpg and others", 2)


async def test_nothing_is_taken_of_too_many_files_that_can_not_be_remembered(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "GROUP_FILES", 2)
    in_the_way = inbox.path / ".ingestd" / "excess.new"
    in_the_way.mkdir(parents=True)
    for number in range(1, 4):
        inbox.drop(f"h_p{number}.jpg")
    source = inbox.source()
    arriving = asyncio.create_task(arrivals_of(source))
    await until(lambda: source.status.trouble is not None)
    assert inbox.names() == ["h_p1.jpg", "h_p2.jpg", "h_p3.jpg"]
    in_the_way.rmdir()
    first, rest = await arriving
    assert first.hold == rest.hold == too_many(3, "h_p1.jpg and others", 2)


async def test_a_file_that_tells_no_groups_is_passed_over(inbox: Inbox) -> None:
    for content in (b"not JSON", b"\xff", b"[1]", b'{"a": 1}', b"null"):
        inbox.drop(".ingestd/excess", content)
        inbox.drop("h_p1.jpg")
        (arrival,) = await arrivals_of(inbox.source())
        assert arrival.hold is None


async def test_too_many_files_are_forgotten_when_the_last_is_gone(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "GROUP_FILES", 2)
    for number in range(1, 4):
        inbox.drop(f"h_p{number}.jpg")
    source = inbox.source()
    assert len(await arrivals_of(source)) == 2
    inbox.drop("h_p1.jpg")
    (arrival,) = await arrivals_of(source)
    assert arrival.hold is None


async def test_no_group_is_torn_when_more_files_wait_than_can_settle(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "CAPACITY", 7)
    for number in range(12):
        for page in range(1, 4):
            inbox.drop(f"r{number}_p{page}.jpg")
    found = await arrivals_of(inbox.source())
    assert sorted(paths(arrival) for arrival in found) == sorted(
        [f"r{number}_p{page}.jpg" for page in range(1, 4)] for number in range(12)
    )


async def test_a_group_kept_by_a_crash_keeps_id_order_and_instructions(inbox: Inbox) -> None:
    for name in ("10.jpg", "9.jpg"):
        inbox.drop(f"entries/E1/{name}")
    inbox.drop("entries/E1/10.jpg.json", b'{"to": "concur:report/7"}')
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first = await next_of(arrivals)
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        again = await next_of(arrivals)
        assert (again.id, again.origin, again.to) == (first.id, first.origin, first.to)
        assert again.to == Destined.parse("concur:report/7")
        assert paths(again) == paths(first) == ["entries/E1/9.jpg", "entries/E1/10.jpg"]
        await again.acknowledge()
    assert inbox.names() == []
    assert list((inbox.path / ".ingestd/claimed").iterdir()) == []


async def test_a_part_left_by_a_crash_joins_the_rest_again(inbox: Inbox) -> None:
    """The rest lies in the folder, and one more page came meanwhile."""
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        torn = (await next_of(arrivals)).id
    (inbox.path / ".ingestd/claimed" / torn / "h_p2.jpg").rename(inbox.path / "h_p2.jpg")
    inbox.drop("h_p3.jpg")
    (arrival,) = await arrivals_of(inbox.source())
    assert arrival.id != torn
    assert paths(arrival) == ["h_p1.jpg", "h_p2.jpg", "h_p3.jpg"]
    assert inbox.notes.named("claim.returned")


async def test_what_an_acknowledgement_left_is_handed_over_under_the_same_id(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first = (await next_of(arrivals)).id
    claim = inbox.path / ".ingestd/claimed" / first
    (claim / ".group").rename(claim / ".committed")
    (claim / "h_p1.jpg").unlink()
    (arrival,) = await arrivals_of(inbox.source())
    assert (arrival.id, paths(arrival)) == (first, ["h_p2.jpg"])
    assert inbox.names() == []


@pytest.mark.parametrize(
    "torn", [b"", b"{", b'{"files": [["../../../etc/x", null]], "shared": [], "hold": null}']
)
async def test_a_torn_manifest_puts_back_what_is_there(inbox: Inbox, torn: bytes) -> None:
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first = (await next_of(arrivals)).id
    (inbox.path / ".ingestd/claimed" / first / ".group").write_bytes(torn)
    (arrival,) = await arrivals_of(inbox.source())
    assert paths(arrival) == ["h_p1.jpg", "h_p2.jpg"] and arrival.id != first
    assert inbox.names() == []


async def test_a_page_that_goes_away_before_the_group_is_taken_leaves_the_others_whole(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody moves a page just when its group is ready."""
    for number in (1, 2, 3):
        inbox.drop(f"h_p{number}.jpg")
    ready = judging.Judge._take
    moved: list[bool] = []

    def take(*args: object) -> object:
        if not moved:
            (inbox.path / "h_p2.jpg").unlink()
            moved.append(True)
        return ready(*args)  # type: ignore[arg-type]  # whatever it is called with

    monkeypatch.setattr(judging.Judge, "_take", take)
    (arrival,) = await arrivals_of(inbox.source())
    assert paths(arrival) == ["h_p1.jpg", "h_p3.jpg"]
    assert inbox.names() == []


async def test_a_part_that_can_not_go_back_now_keeps_the_rest_waiting(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails while the second page is taken, and again while the first is put back."""
    monkeypatch.setattr(scanning, "_BLOCKED_WAIT_S", 0.1)
    monkeypatch.setattr(custody, "AGAIN_S", 3.0)
    failing = {"h_p2.jpg", "h_p1.jpg"}

    def fail_once(real: Callable[..., None], wanted: str) -> Callable[..., None]:
        def call(source: object, name: str, *rest: object) -> None:
            if name == wanted and wanted in failing:
                failing.discard(wanted)
                raise OSError(5, "Input/output error")
            real(source, name, *rest)

        return call

    monkeypatch.setattr(taking, "rename", fail_once(filesystem.rename, "h_p2.jpg"))
    monkeypatch.setattr(claims, "rename_new", fail_once(filesystem.rename_new, "h_p1.jpg"))
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    (arrival,) = await arrivals_of(inbox.source())
    assert not failing
    assert paths(arrival) == ["h_p1.jpg", "h_p2.jpg"]


async def test_a_part_somebody_else_left_goes_back_before_the_rest_is_taken(
    inbox: Inbox, tmp_path: Path
) -> None:
    """On a share: it is away while another node takes a group, and that node crashes half way."""
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    source = inbox.source(group_quiet=timedelta(seconds=2), rescan=timedelta(seconds=0.3))
    async with aclosing(source.arrivals(once=False)) as arrivals:
        waiting = asyncio.ensure_future(anext(arrivals))
        await until(lambda: source.status.settling == 2 and source.status.scans > 2)
        away = tmp_path / "away"
        inbox.path.rename(away)
        await until(lambda: source.status.trouble is not None)
        claim = away / ".ingestd/claimed/01900000-0000-7000-8000-000000000001"
        claim.mkdir()
        files = [["h_p1.jpg", None], ["h_p2.jpg", None]]
        (claim / ".group").write_text(json.dumps({"files": files, "shared": [], "hold": None}))
        (away / "h_p1.jpg").rename(claim / "h_p1.jpg")
        await asyncio.sleep(2)
        away.rename(inbox.path)
        async with asyncio.timeout(WAIT_S):
            assert paths(await waiting) == ["h_p1.jpg", "h_p2.jpg"]


async def test_names_that_are_not_utf_8_survive_a_crash_in_a_group(inbox: Inbox) -> None:
    for name in (b"M\xfcller_p1.jpg", b"M\xfcller_p2.jpg"):
        inbox.drop(os.fsdecode(name))
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        first = await next_of(arrivals)
    async with aclosing(inbox.source().arrivals(once=False)) as arrivals:
        again = await next_of(arrivals)
        assert again.id == first.id
        assert paths(again) == ["M\ufffdller_p1.jpg", "M\ufffdller_p2.jpg"]
        await again.acknowledge()
    assert inbox.names() == []


async def test_a_page_over_the_limit_is_refused_and_the_others_are_held(inbox: Inbox) -> None:
    inbox.drop("entries/E1/1.jpg")
    inbox.drop("entries/E1/2.jpg", JPEG * 100)
    inbox.drop("entries/E1/3.jpg")
    (arrival,) = await arrivals_of(inbox.source(max_size=1000))
    assert paths(arrival) == ["entries/E1/1.jpg", "entries/E1/3.jpg"]
    assert [refusal.filename for refusal in arrival.refused] == ["2.jpg"]
    assert arrival.hold == (
        "1 of the 3 files that belong together was not taken ('2.jpg' is larger than this folder takes): "
        "without it the receipt would not be whole. Make it smaller and drop all of the files again."
    )
    assert inbox.names() == ["rejected/entries/E1/2.jpg", "rejected/entries/E1/2.jpg.reason.txt"]


# --- sidecars


async def told(inbox: Inbox) -> Arrival:
    (arrival,) = await arrivals_of(inbox.source())
    assert inbox.names() == []
    return arrival


async def test_fields_of_all_sidecars_are_merged_and_the_first_wins(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    inbox.drop("h_p2.jpg.json", b'{"note": "second", "date": "2026-11-21"}')
    inbox.drop("h_p1.json", b'{"note": "first", "to": "concur:report/1"}')
    inbox.drop("h.json", b'{"note": "all", "name": "Hotel", "to": "concur:report/1"}')
    arrival = await told(inbox)
    assert arrival.fields == {"note": "first", "date": "2026-11-21", "name": "Hotel"}
    assert (str(arrival.to), arrival.hold) == ("concur:report/1", None)


async def test_different_places_hold_the_arrival(inbox: Inbox) -> None:
    for number in (1, 2):
        inbox.drop(f"h_p{number}.jpg")
        inbox.drop(f"h_p{number}.jpg.json", b'{"to": "concur:report/%d"}' % number)
    arrival = await told(inbox)
    assert arrival.to is None
    assert "concur:report/1 and concur:report/2" in (arrival.hold or "")


async def test_one_sidecar_that_can_not_be_followed_holds_all(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    inbox.drop("h_p1.jpg.json", b'{"to": "concur:report/1"}')
    inbox.drop("h_p2.jpg.json", b"not JSON")
    arrival = await told(inbox)
    assert arrival.to is None and "'h_p2.jpg.json'" in (arrival.hold or "")


async def test_the_stem_of_the_pages_names_the_sidecar_of_the_group(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    inbox.drop("h.json", b'{"to": "concur:report/1"}')
    arrival = await told(inbox)
    assert str(arrival.to) == "concur:report/1"


async def test_a_group_waits_for_its_sidecar_to_settle(inbox: Inbox) -> None:
    inbox.drop("h_p1.jpg")
    inbox.drop("h_p2.jpg")
    sidecar = inbox.drop("h.json", b'{"to": "con')

    async def finish_late() -> None:
        for _ in range(8):
            await asyncio.sleep(SETTLE_S / 2)
            sidecar.touch()
        sidecar.write_bytes(b'{"to": "concur:report/1"}')

    finishing = asyncio.create_task(finish_late())
    async with aclosing(inbox.source(group_quiet=timedelta(0)).arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        assert finishing.done() and str(arrival.to) == "concur:report/1"


async def test_instructions_for_a_file_or_the_pages_of_its_name_hold_all_of_them(inbox: Inbox) -> None:
    for name in ("h.pdf", "h_p1.jpg", "h_p2.jpg"):
        inbox.drop(name)
    inbox.drop("h.json", b'{"to": "concur:report/1"}')
    arrival, _alone = await arrivals_of(inbox.source())
    assert paths(arrival) == ["h.pdf", "h_p1.jpg", "h_p2.jpg"]
    assert "'h.pdf' or 'h_p1.jpg'" in (arrival.hold or "") and arrival.to is None


async def test_a_file_of_instructions_without_a_file_is_no_page(inbox: Inbox) -> None:
    inbox.drop("entries/E1/a.jpg")
    inbox.drop("entries/E1/other.json", b"{}")
    found = await arrivals_of(inbox.source())
    assert [paths(arrival) for arrival in found] == [["entries/E1/a.jpg"], ["entries/E1/other.json"]]
