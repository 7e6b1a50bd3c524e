"""Hard times for the machinery: two daemons on one storage, clocks that jump, storage that can't be written,
few open files. Each has one defined end, and none of them loses a receipt.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from ingestd import samples
from tests.acceptance.conftest import MakePlace
from tests.acceptance.place import ROOT, Place, SandboxProcess, end, wait_until
from tests.contract.postgres import Server, postgresql_server

__all__ = ["postgresql_server"]  # a fixture is found by its name in the module that uses it

HOUR = timedelta(hours=1)
QUICK = 'inspect = "light"\nnear_duplicates = "off"'


def command_line(*command: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# --- two daemons ------------------------------------------------------------------------------------------


def test_a_second_daemon_is_refused_by_any_path_while_the_first_lives_and_not_when_it_was_killed(
    place: Place, sandbox: SandboxProcess
) -> None:
    beside = place.directory / "beside.toml"
    (place.directory / "link").symlink_to(place.directory / "data")
    beside.write_text(
        place.config.read_text().replace(f'"{place.directory}/data"', f'"{place.directory}/link"')
    )
    with place.daemon() as first:
        first.send_signal(signal.SIGSTOP)  # it answers nothing, and may be woken at any time
        for config in (place.config, beside):
            second = command_line(*place.command("run")[:-1], str(config))
            assert second.returncode == 2
            assert re.fullmatch(
                rf"ingestd: storage\.directory .*: another `ingestd run` \(process {first.pid}\) .*\n",
                second.stderr,
            )
        first.kill()
        first.wait()
    with place.daemon():
        place.drop("lunch.jpg", samples.small_jpeg(1))
        wait_until(lambda: len(sandbox.images()) == 1, "it is uploaded", place.log)


@pytest.fixture
def postgresql(postgresql_server: Server) -> Iterator[str]:
    url = postgresql_server.new_database()
    yield url
    postgresql_server.drop_database(url)


@pytest.mark.timeout(300)
def test_two_nodes_on_one_postgresql_with_a_spool_in_common_upload_each_receipt_once(
    make_place: MakePlace, sandbox: SandboxProcess, postgresql: str
) -> None:
    nodes = [make_place(storage=f'ledger = "{postgresql}"', preparation=QUICK) for _ in range(2)]
    for number, node in enumerate(nodes):
        node.config.write_text(node.config.read_text().replace('name = "inbox"', f'name = "inbox{number}"'))
        (node.directory / "data").mkdir()
        (node.directory / "data/spool").symlink_to(nodes[0].directory.parent / "spool")
    (nodes[0].directory.parent / "spool").mkdir()
    nodes[0].ingestd("migrate")
    with nodes[0].daemon(), nodes[1].daemon():
        for number in range(100):
            nodes[number % 2].drop(f"receipt{number}.jpg", samples.small_jpeg(number))
        wait_until(lambda: len(sandbox.images()) >= 100, "all are uploaded", nodes[0].log)
        # What came into a folder goes to uploaded/ of that folder, whoever uploaded it.
        for node in nodes:
            wait_until(lambda node=node: len([*(node.inbox / "uploaded").iterdir()]) == 50, "told", node.log)  # type: ignore[misc]  # a lambda's default has no type
    assert len({image["sha256"] for image in sandbox.images()}) == len(sandbox.images()) == 100
    books = nodes[1].balance()
    assert books["closed"] and books["uploaded"] == books["seen"] == 100
    assert all("attempt.finished" in node.log() for node in nodes)


# --- the clock --------------------------------------------------------------------------------------------


class TurnedClock:
    """The wall clock of a place's daemon, and of commands that are run with `command`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.turn(timedelta())

    def turn(self, by: timedelta) -> None:
        """By so much away from the real time, at once."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{by.total_seconds():.0f}")
        new.rename(self._file)

    def command(self, place: Place, *words: str) -> list[str]:
        turned = [sys.executable, "-m", "tests.acceptance.turned", str(self._file)]
        return [*turned, *words, "--config", str(place.config)]


@pytest.fixture
def turned(tmp_path: Path) -> TurnedClock:
    return TurnedClock(tmp_path / "turned-by")


def shown(place: Place, receipt_id: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(place.ingestd("show", receipt_id, "--json").stdout)
    return document


def by_path(place: Place) -> dict[str, dict[str, object]]:
    return {receipt["path"]: receipt for receipt in place.receipts()}


def moment(text: object) -> datetime:
    assert isinstance(text, str)
    return datetime.fromisoformat(text)


WAITS_LONG = 'first = "30m"\nceiling = "50m"\nunavailable = "30m"'
"""Longer than the test, and shorter than the clock jumps."""


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_jumps_while_the_daemon_runs_hurries_nothing_and_holds_nothing_up(
    make_place: MakePlace, turned: TurnedClock, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    place = make_place(pauses=WAITS_LONG)
    monkeypatch.setattr(place, "command", partial(turned.command, place))
    with place.daemon() as daemon:
        place.drop("reports/deadlock-400-x1/waits.jpg", samples.small_jpeg(1))
        place.drop("nowhere/refused.jpg", samples.small_jpeg(2))
        wait_until(
            lambda: (
                {r["state"] for r in place.receipts()} == {"ready", "failed"}
                and all(r["attempts"] == 1 for r in place.receipts())
            ),
            "one waits and one was refused",
            place.log,
        )
        before = by_path(place)["reports/deadlock-400-x1/waits.jpg"]

        turned.turn(jump)
        wait_until(lambda: "clock.set" in place.log(), "the jump is spoken of", place.log)
        place.drop("after.jpg", samples.small_jpeg(3))
        wait_until(lambda: by_path(place).get("after.jpg", {}).get("state") == "uploaded", "flows", place.log)

        # A person's commands see the clock that jumped, and nothing of theirs waits for the difference.
        refused = by_path(place)["nowhere/refused.jpg"]["id"]
        file = place.directory / "handed.jpg"
        file.write_bytes(samples.small_jpeg(4))
        for words in (("retry", str(refused)), ("submit", str(file), "--to", "concur:receipt")):
            done = command_line(*place.command(*words))
            assert done.returncode == 0, done.stderr
        wait_until(lambda: place.states().get("handed.jpg") == "uploaded", "the submission flows", place.log)
        wait_until(
            lambda: len(shown(place, str(refused))["tries"]) == 2,  # type: ignore[arg-type]  # JSON
            "the retry is tried",
            place.log,
        )
        history = shown(place, str(refused))["history"]
        assert isinstance(history, list)
        assert [h["at"] for h in history] == sorted(h["at"] for h in history)
        after = by_path(place)["reports/deadlock-400-x1/waits.jpg"]
        assert (after["state"], after["due_at"], after["attempts"]) == ("ready", before["due_at"], 1)
        assert "receipts.recovered" not in place.log()
        assert end(daemon) == 0
    assert place.balance()["closed"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("jump", [-10 * 365 * 24 * HOUR, -HOUR, 10 * 365 * 24 * HOUR])
def test_a_clock_that_jumps_between_two_runs_makes_nothing_wait_for_it(
    make_place: MakePlace, turned: TurnedClock, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    place = make_place(pauses=WAITS_LONG)
    monkeypatch.setattr(place, "command", partial(turned.command, place))
    with place.daemon() as daemon:
        place.drop("reports/deadlock-400-x1/waits.jpg", samples.small_jpeg(1))
        wait_until(lambda: [r["attempts"] for r in place.receipts()] == [1], "one waits", place.log)
        place.drop("reports/timeout/hangs.jpg", samples.small_jpeg(2))
        wait_until(lambda: "uploading" in place.states().values(), "one is being uploaded", place.log)
        daemon.kill()
        daemon.wait()
    first = {receipt["id"] for receipt in place.receipts()}

    turned.turn(jump)
    with place.daemon():
        place.drop("after.jpg", samples.small_jpeg(3))
        wait_until(lambda: place.states().get("after.jpg") == "uploaded", "what is new flows", place.log)
        now = datetime.now(UTC) + jump
        longest = timedelta(hours=1)  # no receipt waits longer for an attempt, domain.retry
        found = by_path(place)
        waits, hangs = found["reports/deadlock-400-x1/waits.jpg"], found["reports/timeout/hangs.jpg"]
        if jump > longest:
            wait_until(
                lambda: place.states()["reports/deadlock-400-x1/waits.jpg"] == "uploaded", "due", place.log
            )
        else:
            assert waits["state"] == "ready"
            assert now - longest < moment(waits["due_at"]) <= now + longest
        # Nobody knows whether it got there, and a report can't be asked: no clock may hide that.
        assert hangs["state"] == "unconfirmed"
        new = next(receipt["id"] for receipt in place.receipts() if receipt["id"] not in first)
        assert str(new)[14] == "7"
        for receipt in place.receipts():
            steps = shown(place, receipt["id"])["history"]
            assert isinstance(steps, list)
            assert all(a["after"] == b["before"] for a, b in pairwise(steps))
    books = place.balance()
    assert books["closed"] and books["seen"] == 3


# --- storage that can't be written ------------------------------------------------------------------------


def test_a_ledger_that_is_replaced_under_the_daemon_ends_it_before_anything_is_lost(
    place: Place, sandbox: SandboxProcess
) -> None:
    ledger = place.directory / "data/ledger.db"
    place.ingestd("migrate")
    older = place.directory / "older.db"
    place.ingestd("backup", str(older))
    with place.daemon() as daemon:
        older.rename(ledger)
        place.drop("lunch.jpg", samples.small_jpeg(1))
        assert daemon.wait(30) == 1
    assert "was replaced or removed while it was in use" in place.log()
    place.ingestd("run", "--until-idle")
    assert len(sandbox.images()) == 1
    assert place.balance()["closed"]


def without_privileges(*command: str) -> list[str]:
    """The command so that permissions hold for it, also when root starts it."""
    if os.geteuid() != 0:
        return [*command]
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]


def test_a_storage_that_becomes_unwritable_stops_intake_and_says_so_and_is_used_again_by_itself(
    place: Place, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = place.command
    monkeypatch.setattr(place, "command", lambda *words: without_privileges(*plain(*words)))
    spool = place.directory / "data/spool"
    with place.daemon() as daemon:
        place.drop("first.jpg", samples.small_jpeg(1))
        wait_until(lambda: len(sandbox.images()) == 1, "all is well", place.log)
        for path in (spool, *spool.iterdir()):
            path.chmod(0o500)
        place.drop("second.jpg", samples.small_jpeg(2))
        wait_until(lambda: "intake.paused" in place.log(), "intake stops", place.log)
        assert "Permission denied" in place.log()
        assert daemon.poll() is None
        assert len(sandbox.images()) == 1
        for path in (spool, *spool.iterdir()):
            path.chmod(0o700)
        wait_until(lambda: len(sandbox.images()) == 2, "it goes on by itself", place.log)
        assert end(daemon) == 0
    assert place.balance()["closed"]


# --- few open files ---------------------------------------------------------------------------------------


def test_five_hundred_files_are_uploaded_with_sixty_four_open_files(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(preparation=QUICK)
    for number in range(500):
        place.drop(f"receipt{number}.jpg", samples.small_jpeg(number))
    done = command_line("prlimit", "--nofile=64:64", *place.command("run", "--until-idle"))
    assert done.returncode == 0, done.stderr[-3000:]
    lacking = [line for line in done.stderr.splitlines() if "open files" in line]
    assert all('"feedback.deferred"' in line for line in lacking), "a file moved a moment later is no harm"
    assert len({image["sha256"] for image in sandbox.images()}) == len(sandbox.images()) == 500
    books = place.balance()
    assert books["closed"] and books["uploaded"] == 500


def test_too_few_open_files_are_said_at_the_start_and_a_low_soft_limit_is_raised(
    make_place: MakePlace, sandbox: SandboxProcess
) -> None:
    place = make_place(preparation=QUICK)
    place.drop("lunch.jpg", samples.small_jpeg(1))
    refused = command_line("prlimit", "--nofile=40:40", *place.command("run", "--until-idle"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("ingestd: open files: this process may have 40, and needs ")
    assert "LimitNOFILE=" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert (place.inbox / "lunch.jpg").exists()
    done = command_line("prlimit", "--nofile=40:1024", *place.command("run", "--until-idle"))
    assert done.returncode == 0, done.stderr
    assert len(sandbox.images()) == 1
