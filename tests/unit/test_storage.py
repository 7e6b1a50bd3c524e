"""The run lock: one daemon for each storage directory, and nobody who only looks keeps it from starting."""

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from ingestd.configfile import load_configuration
from ingestd.domain.errors import LedgerLocked
from ingestd.settings import Settings
from ingestd.storage import LOOK_SECONDS, daemon_runs, run_lock


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
