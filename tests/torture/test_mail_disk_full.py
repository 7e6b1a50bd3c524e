"""A disk that gets full while mail comes in: what there is no room for stays untouched in the mailbox.

Full as ingestd sees it (`min_free`), and full to the last byte, as when another program fills the disk.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd import samples
from tests.acceptance.letterbox import Keeper, Letterbox, letter, smtp_server
from tests.acceptance.place import Place, SandboxProcess, wait_until
from tests.mail.conftest import dovecot, user
from tests.mail.dovecot import Dovecot
from tests.torture.disks import resize, small_disk

__all__ = ["dovecot", "user"]

MESSAGES, FILE_BYTES = 40, 300_000
MUCH_LATER_SECONDS = 300.0
FULL_SECONDS = 20.0


@pytest.fixture
def keeper() -> Iterator[tuple[int, Keeper]]:
    with smtp_server() as running:
        yield running


@pytest.mark.timeout(900)
def test_a_full_disk_leaves_mail_untouched_until_there_is_room(
    place: Place, sandbox: SandboxProcess, dovecot: Dovecot, user: str, keeper: tuple[int, Keeper]
) -> None:
    box = Letterbox(place, dovecot, user, keeper[0])
    storage = place.directory / "data"
    with small_disk(storage, "12m"):
        with place.daemon() as daemon:
            for number in range(MESSAGES):
                box.receive(receipt(number))
            wait_until(lambda: paused(place), "the mailbox waits", place.log)
            wait_until(lambda: rests(place, box), "what was taken in is filed", place.log, MUCH_LATER_SECONDS)
            assert daemon.poll() is None
            stored = len(sandbox.images())
            assert 0 < stored < MESSAGES
            assert len(box.filed("Uploaded")) == stored
            untouched(box, MESSAGES - stored)
            resize(storage, "200m")
            all_are_answered(place, keeper[1])
            assert daemon.poll() is None
        judge(place, sandbox, box, keeper[1])
    print(f"{stored} of {MESSAGES} were stored when the disk was full")


@pytest.mark.timeout(900)
def test_a_disk_filled_to_the_last_byte_by_others_costs_no_mail(
    place: Place, sandbox: SandboxProcess, dovecot: Dovecot, user: str, keeper: tuple[int, Keeper]
) -> None:
    box = Letterbox(place, dovecot, user, keeper[0])
    storage = place.directory / "data"
    with small_disk(storage, "200m"):
        with place.daemon() as daemon:
            for number in range(MESSAGES // 2):
                box.receive(receipt(number))
            wait_until(lambda: len(sandbox.images()) > 2, "the first are uploaded", place.log)
            ballast = storage / "ballast"
            fill(ballast)
            for number in range(MESSAGES // 2, MESSAGES):
                box.receive(receipt(number))
            ends = time.monotonic() + FULL_SECONDS
            while time.monotonic() < ends:
                fill(ballast)  # what ingestd gave free is taken, too
                time.sleep(0.2)
            assert paused(place), place.log()
            ended = daemon.poll()
            ballast.unlink()
            print(f"while the disk was full the daemon {'ran' if ended is None else f'ended: {ended}'}")
            if ended is None:
                all_are_answered(place, keeper[1])
        if ended is not None:  # systemd would
            with place.daemon():
                all_are_answered(place, keeper[1])
        judge(place, sandbox, box, keeper[1])


def receipt(number: int) -> bytes:
    return letter((f"r{number}.png", samples.large_png(FILE_BYTES, number)), subject=f"receipt {number}")


def fill(ballast: Path) -> None:
    """Appends until not a byte is left."""
    with ballast.open("ab", buffering=0) as stream:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue


def paused(place: Place) -> bool:
    return "mailbox.paused" in place.log() or "intake.paused" in place.log()


def rests(place: Place, box: Letterbox) -> bool:
    """Everything that was taken in is uploaded, and nothing came for a while."""
    before = place.states()
    time.sleep(3)
    states = Counter(each["state"] for each in place.receipts())
    return len(before) > 0 and states == {"uploaded": len(box.filed("Uploaded"))}


def untouched(box: Letterbox, number: int) -> None:
    assert [message.flags for message in box.inbox()] == [frozenset()] * number


def all_are_answered(place: Place, keeper: Keeper) -> None:
    wait_until(lambda: len(keeper.kept) == MESSAGES, "all are answered", place.log, MUCH_LATER_SECONDS)


def judge(place: Place, sandbox: SandboxProcess, box: Letterbox, keeper: Keeper) -> None:
    stored = Counter(sandbox.content(image) for image in sandbox.images())
    assert stored == Counter(samples.large_png(FILE_BYTES, number) for number in range(MESSAGES))
    assert Counter(each["state"] for each in place.receipts()) == {"uploaded": MESSAGES}
    assert box.inbox() == []
    assert len(box.filed("Uploaded")) == MESSAGES
    answered = Counter(str(message["In-Reply-To"]) for _, _, message in keeper.kept)
    assert (len(answered), max(answered.values())) == (MESSAGES, 1)
    assert place.balance()["closed"]
