"""storage.max_size: intake waits with everything kept, uploads go on; a higher limit lets the rest in."""

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import SandboxProcess, end, files_below, wait_until
from tests.torture.drops import Dropped, Kind
from tests.torture.judge import judge

FILES, FILE_BYTES = 15, 300_000


def test_a_full_spool_pauses_intake_with_everything_kept_and_a_higher_limit_resumes_it(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(storage='max_size = "2MB"')
    dropped = [
        Dropped(f"scan{n}.png", samples.large_png(FILE_BYTES, n), Kind.GOOD, "receipt") for n in range(FILES)
    ]
    with place.daemon() as daemon:
        for each in dropped:
            place.drop(each.path, each.content)
        wait_until(lambda: "intake.paused" in place.log(), "intake pauses", place.log)
        wait_until(
            lambda: 0 < len(sandbox.images()) == len(place.states()) < FILES,
            "what is in is uploaded",
            place.log,
        )
        assert "max_size" in place.log()
        assert daemon.poll() is None
        assert end(daemon) == 0
    kept = files_below(place.inbox, ignored=("uploaded",)) - {".ingestd/lock"}
    assert {path.rpartition("/")[2] for path in kept if path.endswith(".png")} == {
        each.path for each in dropped if not (place.inbox / "uploaded" / each.path).exists()
    }

    place.config.write_text(place.config.read_text().replace('max_size = "2MB"', 'max_size = "200MB"'))
    place.ingestd("run", "--until-idle")
    judge(place, sandbox.images(), dropped).demand_nothing_wrong()
    assert len(sandbox.images()) == FILES
