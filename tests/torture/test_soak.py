"""`make soak`: an hour of steady files and mails while the target has its bad days; or SOAK_SECONDS of it.

The daemon must stay as large as it is: memory, descriptors, threads, processes, the log of the ledger.
"""

import os
from collections.abc import Iterator

import pytest

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.letterbox import Letterbox, letter, smtp_server
from tests.acceptance.place import SandboxProcess, end
from tests.mail.conftest import dovecot, user
from tests.mail.dovecot import Dovecot
from tests.torture.soaking import Flat, Soak, judge_end, judge_growth

__all__ = ["dovecot", "user"]

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
SAMPLES_EVERY_SECONDS = 10.0
A_MAIL_EVERY_DROPS = 20

FLAT = (
    # SQLite's cache of pages fills as the ledger grows (32 MB in all); the rest is noise of the allocator.
    Flat("memory_bytes", 40_000_000),
    Flat("memory_of_others_bytes", 40_000_000),
    Flat("descriptors", 6),
    Flat("descriptors_of_others", 6),
    Flat("threads", 3),
    Flat("processes", 1),
    Flat("temporary_files", 4),
)

TARGET = "verify = true"


@pytest.fixture
def smtp_port() -> Iterator[int]:
    with smtp_server() as (port, _):
        yield port


@pytest.mark.timeout(SECONDS * 2 + 1200)
def test_a_daemon_that_runs_for_long_stays_as_large_as_it_is(
    make_place: MakePlace, sandbox: SandboxProcess, dovecot: Dovecot, user: str, smtp_port: int, seed: int
) -> None:
    place = make_place(target=TARGET)
    letterbox = Letterbox(place, dovecot, user, smtp_port, poll="30s")
    mails = 0

    def mail(number: int) -> None:
        nonlocal mails
        if number % A_MAIL_EVERY_DROPS == 0:
            mails += 1
            letterbox.receive(letter((f"taxi{number}.pdf", samples.small_pdf(50_000_000 + number))))

    soak = Soak(place, sandbox, seed, SECONDS, SAMPLES_EVERY_SECONDS, also=mail)
    with place.daemon() as daemon:
        soak.run(daemon.pid)
        assert daemon.poll() is None, place.log()[-3000:]
        assert end(daemon) == 0
    place.ingestd("run", "--until-idle", "--wait", "2m", expect=None, timeout=1000)
    problems = judge_growth(soak.samples, FLAT) + judge_end(place, sandbox, soak.drops, mails)
    assert not problems, "\n".join(problems)
