"""A disk that gets full: intake waits with everything kept, and all ends well when there is room again."""

from io import BytesIO
from pathlib import Path

import pytest

from ingestd import samples
from ingestd.domain.errors import StorageExhausted
from ingestd.spool import Spool
from tests.acceptance.place import Place, SandboxProcess, files_below, wait_until
from tests.torture.disks import resize, small_disk
from tests.torture.drops import Dropped, Kind
from tests.torture.judge import claimed, judge

FILES, FILE_BYTES = 200, 300_000
MUCH_LATER_SECONDS = 300


@pytest.mark.timeout(900)
def test_a_full_disk_pauses_intake_and_everything_is_uploaded_when_there_is_room(
    place: Place, sandbox: SandboxProcess
) -> None:
    dropped = [
        Dropped(f"scan{n}.png", samples.large_png(FILE_BYTES, n), Kind.GOOD, "receipt") for n in range(FILES)
    ]
    storage = place.directory / "data"
    with small_disk(storage, "20m"), place.daemon() as daemon:
        for each in dropped:
            place.drop(each.path, each.content)
        wait_until(lambda: "intake.paused" in place.log(), "intake pauses", place.log)
        wait_until(lambda: _rests(sandbox), "what was taken in is uploaded", place.log)
        assert daemon.poll() is None, place.log()[-3000:]
        stored = len(sandbox.images())
        assert 0 < stored < FILES
        # The copies in uploaded/ are of what is settled; the others are kept where they were.
        kept = files_below(place.inbox, ignored=("uploaded", "rejected", ".ingestd"))
        assert len(kept) + len(claimed(place)) >= FILES - stored - _under_way(place)
        assert "rejected" not in place.states().values()

        resize(storage, "200m")
        wait_until(
            lambda: daemon.poll() is not None or len(files_below(place.inbox / "uploaded")) == FILES,
            "all are uploaded",
            place.log,
            MUCH_LATER_SECONDS,
        )
        assert "intake.resumed" in place.log()
        assert daemon.poll() is None
        daemon.terminate()
        assert daemon.wait(30) == 0
        verdict = judge(place, sandbox.images(), dropped)
        print(f"{stored} of {FILES} were stored when the disk was full; at the end: {verdict}")
        verdict.demand_nothing_wrong()
        assert verdict.unconfirmed == 0


def test_a_full_disk_leaves_nothing_half_written_in_the_spool_and_heals(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        spool = Spool(disk / "spool", min_free_bytes=0)
        kept = spool.write(BytesIO(b"k" * 700_000)).sha256
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 500_000)
        with pytest.raises(StorageExhausted, match="No space left"):
            spool.write(BytesIO(b"n" * 1_500_000))
        assert files_below(spool.directory) == {f"{kept[:2]}/{kept}"}
        ballast.unlink()
        spool.write(BytesIO(b"n" * 900_000))
        assert spool.read(kept) == b"k" * 700_000


def _rests(sandbox: SandboxProcess) -> bool:
    """No image came for a while."""
    before = len(sandbox.images())
    try:
        wait_until(lambda: len(sandbox.images()) > before, "another image comes", seconds=3)
    except AssertionError:
        return before > 0
    return False


def _under_way(place: Place) -> int:
    """Receipts that are recorded and not uploaded yet."""
    return sum(state != "uploaded" for state in place.states().values())
