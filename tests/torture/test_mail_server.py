"""A mail server that dies and freezes while mail keeps coming: nothing lost, nothing twice, back by itself.

TORTURE_SERVER_KILLS says how often it is killed, TORTURE_FROZEN for how many seconds it is frozen.
"""

import email
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd import samples
from tests.acceptance.letterbox import Keeper, Letterbox, letter, smtp_server
from tests.acceptance.place import Place, SandboxProcess, wait_until
from tests.mail.dovecot import Dovecot
from tests.torture.conftest import dial

KILLS = dial("SERVER_KILLS", 50)
FROZEN_SECONDS = dial("FROZEN", 90)
A_KILL_SECONDS = 2.5
BACK_SECONDS = 400.0
"""After so many failures in a row the pauses between two tries are minutes long."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Dovecot]:
    directory = tmp_path / "dovecot"
    directory.mkdir()
    with Dovecot(directory) as dovecot:
        yield dovecot


@pytest.fixture
def keeper() -> Iterator[tuple[int, Keeper]]:
    with smtp_server() as running:
        yield running


@pytest.mark.timeout(1800)
def test_a_mail_server_killed_again_and_again_costs_no_message_and_doubles_none(
    place: Place, sandbox: SandboxProcess, server: Dovecot, keeper: tuple[int, Keeper], seed: int
) -> None:
    chance = random.Random(seed)
    letterbox = Letterbox(place, server, "ann", keeper[0], mailbox='flood = "100000/1h"')
    sent = 0
    with place.daemon():
        for _ in range(KILLS):
            for _ in range(chance.randint(1, 4)):
                letterbox.receive(
                    letter((f"r{sent}.pdf", samples.small_pdf(sent)), subject=f"receipt {sent}")
                )
                sent += 1
            time.sleep(chance.random() * A_KILL_SECONDS)
            server.kill9()
            time.sleep(chance.random() * 0.5)
            server.start()
        wait_until(lambda: _are_filed(letterbox, sent), "all are filed", place.log, BACK_SECONDS)
    _judge(place, sandbox, letterbox, keeper[1], sent)


@pytest.mark.timeout(600)
def test_a_frozen_mail_server_is_noticed_and_read_again_when_it_thaws(
    place: Place, sandbox: SandboxProcess, server: Dovecot, keeper: tuple[int, Keeper]
) -> None:
    letterbox = Letterbox(place, server, "ann", keeper[0])
    with place.daemon():
        letterbox.receive(letter(("r0.pdf", samples.small_pdf(0))))
        wait_until(lambda: _are_filed(letterbox, 1), "the first is filed", place.log)
        letterbox.receive(letter(("r1.pdf", samples.small_pdf(1))))
        thaw = threading.Timer(FROZEN_SECONDS, server.resume)
        with server.paused():
            thaw.start()
            wait_until(
                lambda: "source.unavailable" in place.log(), "the daemon notices", place.log, FROZEN_SECONDS
            )
            thaw.join()
        letterbox.receive(letter(("r2.pdf", samples.small_pdf(2))))
        wait_until(lambda: _are_filed(letterbox, 3), "it reads again", place.log, BACK_SECONDS)
        assert "source.recovered" in place.log()
    _judge(place, sandbox, letterbox, keeper[1], 3)


def _are_filed(letterbox: Letterbox, sent: int) -> bool:
    return len(set(_uploaded(letterbox))) == sent and not letterbox.inbox()


def _uploaded(letterbox: Letterbox) -> list[str]:
    """The Message-IDs in Ingestd/Uploaded."""
    return [str(email.message_from_bytes(stored.raw)["Message-ID"]) for stored in letterbox.filed("Uploaded")]


def _judge(place: Place, sandbox: SandboxProcess, letterbox: Letterbox, keeper: Keeper, sent: int) -> None:
    number_of = {samples.small_pdf(number): number for number in range(sent)}
    stored = Counter(number_of[sandbox.content(image)] for image in sandbox.images())
    assert stored == Counter(range(sent)), "each receipt once"
    assert Counter(receipt["state"] for receipt in place.receipts()) == {"uploaded": sent}
    answered = Counter(str(message["In-Reply-To"]) for _, _, message in keeper.kept)
    assert (len(answered), max(answered.values())) == (sent, 1), "each message is answered once"
    # To move is, for Dovecot, to copy and then to expunge: a kill in between leaves both for a while.
    assert Counter(_uploaded(letterbox)) == Counter(dict.fromkeys(answered, 1)), "each message is filed once"
    books = place.balance()
    assert books["closed"], books
    print(f"{sent} messages, each uploaded, filed and answered once", flush=True)
