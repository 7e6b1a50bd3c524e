"""Fixtures for the tests of the mailbox source: an office over the shared server, or over one of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.sources.mail import connecting, mailbox, taking
from tests.mail.dovecot import Dovecot
from tests.unit.sources.mail.office import Office

__all__ = ["office", "own", "soon"]


@pytest.fixture
def office(dovecot: Dovecot, user: str, tmp_path: Path) -> Office:
    return Office(dovecot, user, tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Office]]:
    """Makes an office with a server of its own, which may be killed or lack abilities."""
    servers: list[Dovecot] = []

    def make(user: str = "ann", **options: Any) -> Office:
        directory = tmp_path / "server"
        directory.mkdir()
        servers.append(Dovecot(directory, **options).__enter__())
        return Office(servers[-1], user, tmp_path)

    yield make
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that people do not notice; tests would."""
    monkeypatch.setattr(connecting, "FIRST_S", 0.05)
    monkeypatch.setattr(connecting, "LONGEST_S", 0.2)
    monkeypatch.setattr(taking, "RETRY_S", 0.2)
    monkeypatch.setattr(mailbox, "RETRY_S", 0.2)
    monkeypatch.setattr(mailbox, "STORAGE_LOOK_S", 0.1)
    monkeypatch.setattr(mailbox, "WAITING_LOOK_S", 0.1)
