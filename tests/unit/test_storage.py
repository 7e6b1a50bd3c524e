"""The run lock: one daemon for each storage directory, and nobody who only looks keeps it from starting."""

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from ingestd.clock import Clock
from ingestd.configfile import load_configuration
from ingestd.domain.errors import ConfigurationError, LedgerLocked, StorageUnavailable
from ingestd.settings import Settings
from ingestd.storage import LOOK_SECONDS, daemon_runs, demand_disk, ledger_clock, open_spool, run_lock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "ingestd.toml"
    config.write_text(f'[storage]\ndirectory = "{tmp_path}"\n')
    return load_configuration(config)


def test_a_second_daemon_is_told_who_holds_the_lock(settings: Settings) -> None:
    with run_lock(settings):
        assert daemon_runs(settings)
        with pytest.raises(LedgerLocked, match=rf"\(process {os.getpid()}\)"), run_lock(settings):
            pass
    assert not daemon_runs(settings)
    with run_lock(settings):
        pass


def test_nobody_runs_where_nothing_ever_ran_and_looking_leaves_no_trace(settings: Settings) -> None:
    assert not daemon_runs(settings)
    assert not (settings.storage.directory / "run.lock").exists()


def test_a_command_that_looks_at_the_lock_just_now_keeps_no_daemon_from_starting(settings: Settings) -> None:
    with run_lock(settings):
        pass
    held = threading.Event()

    def look() -> None:
        with (settings.storage.directory / "run.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            held.set()
            time.sleep(LOOK_SECONDS / 4)

    looking = threading.Thread(target=look)
    looking.start()
    assert held.wait(10)
    with run_lock(settings):
        assert daemon_runs(settings)
    looking.join()


def test_who_writes_beside_a_daemon_goes_by_its_clock(settings: Settings) -> None:
    yesterday = Clock(
        wall_ns=time.time_ns() - 86_400 * 10**9, since_boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    )
    with run_lock(settings, yesterday):
        before, beside, after = yesterday(), ledger_clock(settings)(), yesterday()
        assert before <= beside <= after
    assert ledger_clock(settings)() > yesterday() + 86_000 * 10**6


def test_a_clock_that_nobody_wrote_down_is_that_of_the_machine(settings: Settings) -> None:
    with run_lock(settings):
        assert abs(ledger_clock(settings)() - time.time_ns() // 1000) < 5_000_000


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EROFS, StorageUnavailable),
        (errno.EIO, StorageUnavailable),
        (errno.ENOSPC, StorageUnavailable),
        (errno.EACCES, ConfigurationError),
        (errno.ENOTDIR, ConfigurationError),
    ],
)
def test_what_may_be_over_later_is_no_mistake_of_the_configuration(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    """The disk is played: a real one is read-only, and fails, in tests/torture/test_read_only.py."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ingestd.storage.Spool", fail)
    with pytest.raises(kind, match=os.strerror(number)):
        open_spool(settings)


def test_a_disk_that_can_be_written_is_no_matter(settings: Settings) -> None:
    demand_disk(settings)
