"""What an audit calls wrong, and the words it has for it."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ingestd.cli.audit_spool import _Listing
from ingestd.cli.proving import MOST_NAMED, Flaw, Flaws, flaw_in_blob, flaw_in_chain
from ingestd.domain.states import State
from ingestd.interfaces import Chain, Kept
from tests.unit.evidence.test_bundle import chain

WHOLE = chain("r1", 4)
HISTORY = Chain(receipt="r1", version=4, head=WHOLE[-1].digest, entries=WHOLE)


def test_a_whole_chain_has_no_flaw() -> None:
    assert flaw_in_chain(HISTORY, None) is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (replace(HISTORY, entries=[]), "it has no history"),
        (replace(HISTORY, entries=WHOLE[1:]), "row 1 of its history is missing"),
        (replace(HISTORY, entries=[*WHOLE[:1], *WHOLE[2:]]), "row 2 of its history is missing"),
        (replace(HISTORY, entries=WHOLE[:2]), "the last 2 row(s) of its history are missing"),
        (replace(HISTORY, version=3), "doesn't name the last one"),
        (replace(HISTORY, head="0" * 64), "doesn't name the last one"),
        (
            replace(HISTORY, entries=[*WHOLE[:2], replace(WHOLE[2], actor="eve"), WHOLE[3]]),
            "row 3 of its history (ask) was changed",
        ),
        (
            replace(HISTORY, entries=[*WHOLE[:2], replace(WHOLE[2], after=State.UPLOADED), WHOLE[3]]),
            "row 3 of its history (ask) was changed",
        ),
    ],
)
def test_each_way_of_changing_a_history_has_its_words(changed: Chain, told: str) -> None:
    assert told in (flaw_in_chain(changed, None) or "")


@pytest.fixture
def blob(tmp_path: Path) -> tuple[Path, Kept]:
    path = tmp_path / "blob"
    path.write_bytes(b"lunch")
    return path, Kept(sha256=hashlib.sha256(b"lunch").hexdigest(), size=5)


def test_a_blob_is_read_unless_it_has_to_be_quick(blob: tuple[Path, Kept]) -> None:
    path, kept = blob
    assert flaw_in_blob(path, kept, quick=False) is None
    path.write_bytes(b"hotel")
    assert flaw_in_blob(path, kept, quick=True) is None
    assert "its bytes were changed" in (flaw_in_blob(path, kept, quick=False) or "")


@pytest.mark.parametrize("quick", [False, True])
def test_a_blob_that_is_no_longer_what_it_was_is_told(blob: tuple[Path, Kept], quick: bool) -> None:
    path, kept = blob
    path.write_bytes(b"lunc")
    assert "4 bytes instead of 5" in (flaw_in_blob(path, kept, quick=quick) or "")
    path.unlink()
    assert flaw_in_blob(path, kept, quick=quick) == "is missing in the spool"
    path.mkdir()
    assert flaw_in_blob(path, kept, quick=quick) == "is no file in the spool"
    path.rmdir()
    path.symlink_to("/etc/hostname")
    assert "can't be opened" in (flaw_in_blob(path, kept, quick=quick) or "")
    path.unlink()


def test_a_pipe_in_the_place_of_a_blob_holds_up_nobody(blob: tuple[Path, Kept]) -> None:
    path, kept = blob
    path.unlink()
    os.mkfifo(path)
    assert flaw_in_blob(path, kept, quick=False) == "is no file in the spool"


def test_flaws_are_all_counted_and_named_as_far_as_memory_is_bounded() -> None:
    flaws = Flaws()
    for n in range(MOST_NAMED + 10):
        flaws.add(Flaw(what=f"{n}", fix=""))
    assert (flaws.count, len(flaws.named), flaws.named[-1].what) == (MOST_NAMED + 10, MOST_NAMED, "999")


def test_every_file_that_was_not_met_is_unknown(tmp_path: Path) -> None:
    hashes = sorted(hashlib.sha256(bytes([n])).hexdigest() for n in range(60))
    for sha256 in hashes:
        shard = tmp_path / sha256[:2]
        shard.mkdir(exist_ok=True)
        (shard / sha256).touch()
        (shard / f"{sha256}.jpg").touch()  # a thumbnail is no blob
    for met in (hashes, hashes[::2], hashes[:7], hashes[-1:], []):
        listing = _Listing(tmp_path)
        for n in range(0, len(met), 5):
            listing.meet([Kept(sha256=sha256, size=0) for sha256 in met[n : n + 5]])
        assert listing.unknown() == 60 - len(met)
