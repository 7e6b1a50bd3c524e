"""A short soak: what grows much for ever grows here already. `make soak` goes on for an hour."""

import pytest

from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import SandboxProcess, end
from tests.torture.soaking import Flat, Sample, Soak, growth, judge_end, judge_growth

SECONDS, SAMPLES_EVERY_SECONDS, SEED = 20.0, 1.0, 5

FLAT = (
    # It has just started: the ledger's cache of pages fills, decoders load what they need.
    Flat("memory_bytes", 30_000_000),
    Flat("memory_of_others_bytes", 150_000_000),
    Flat("descriptors", 12),
    Flat("descriptors_of_others", 12),
    Flat("threads", 6),
    Flat("processes", 2),
    Flat("temporary_files", 8),
)


@pytest.mark.timeout(300)
def test_a_daemon_under_steady_load_and_trouble_stays_as_large_as_it_is(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(target="verify = true")
    soak = Soak(place, sandbox, SEED, SECONDS, SAMPLES_EVERY_SECONDS)
    with place.daemon() as daemon:
        soak.run(daemon.pid)
        assert daemon.poll() is None, place.log()[-3000:]
        assert end(daemon) == 0
    place.ingestd("run", "--until-idle", expect=None)
    problems = judge_growth(soak.samples, FLAT) + judge_end(place, sandbox, soak.drops)
    assert not problems, "\n".join(problems)


def test_a_leak_of_one_descriptor_in_ten_seconds_is_seen_through_the_noise() -> None:
    noise = [3, 0, 5, 1, 4, 2]
    leaking = [sample(10.0 * n, descriptors=30 + n + noise[n % 6]) for n in range(60)]
    steady = [sample(10.0 * n, descriptors=30 + noise[n % 6]) for n in range(60)]
    assert judge_growth(leaking, [Flat("descriptors", 6)])
    assert judge_growth(steady, [Flat("descriptors", 6)]) == []


def test_growth_at_the_start_alone_is_none() -> None:
    warming = [sample(n, memory=min(n, 20) * 1_000_000) for n in range(60)]
    assert judge_growth(warming, [Flat("memory_bytes", 1)]) == []
    assert growth([(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]) == pytest.approx(2.0)


def sample(seconds: float, *, descriptors: int = 0, memory: int = 0) -> Sample:
    return Sample(
        seconds=seconds,
        memory_bytes=memory,
        memory_of_others_bytes=0,
        descriptors=descriptors,
        descriptors_of_others=0,
        threads=0,
        processes=0,
        wal_bytes=0,
        ledger_bytes=0,
        spool_files=0,
        temporary_files=0,
        dropped=0,
    )
