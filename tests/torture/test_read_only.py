"""A disk that fails under the running daemon, and comes back read-only before it comes back.

The daemon ends with 1, which a service manager answers with another start; each start ends with 1 and one
sentence until the disk can be written, and then everything goes on.
"""

import pytest

from ingestd import samples
from tests.acceptance.place import Place, SandboxProcess, end, files_below, wait_until
from tests.torture.disks import cuttable_disk
from tests.torture.drops import Dropped, Kind
from tests.torture.judge import judge

FILES = 40


@pytest.mark.timeout(900)
def test_a_disk_that_fails_and_comes_back_read_only_ends_the_daemon_and_loses_nothing(
    place: Place, sandbox: SandboxProcess
) -> None:
    dropped = [Dropped(f"r{n}.jpg", samples.small_jpeg(n), Kind.GOOD, "receipt") for n in range(FILES)]
    with cuttable_disk(place.directory / "data") as disk:
        process = place.start()
        wait_until(lambda: "run.started" in place.log(), "the daemon runs", place.log)
        for each in dropped:
            place.drop(each.path, each.content)
        wait_until(lambda: len(sandbox.images()) >= 3, "some are uploaded", place.log)
        disk.cut()  # from now on every write fails with EIO
        assert process.wait(60) == 1
        assert "Traceback" not in place.log(), place.log()[-3000:]
        _refused(place, "Input/output error")
        for read_only in (False, True):  # the journal can't be replayed on a device that can't be written
            disk.unmount()
            disk.mount(read_only=read_only)
        _refused(place, "Read-only file system")
        disk.unmount()
        disk.mount()
        with place.daemon() as daemon:
            wait_until(lambda: len(_settled(place)) == FILES, "all are settled", place.log)
            assert end(daemon) == 0
        verdict = judge(place, sandbox.images(), dropped)
        print(verdict)
        verdict.demand_nothing_wrong()


def _refused(place: Place, why: str) -> None:
    done = place.ingestd("run", expect=1)
    assert why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def _settled(place: Place) -> set[str]:
    folders = (place.inbox / "uploaded", place.inbox / "rejected")
    return {name for folder in folders for name in files_below(folder) if name.endswith(".jpg")}
