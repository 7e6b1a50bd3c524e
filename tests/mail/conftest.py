"""One Dovecot for all tests of a run that do it no harm, and a mailbox of its own for each of them."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.mail.dovecot import Dovecot

__all__ = ["dovecot", "user"]


@pytest.fixture(scope="session")
def dovecot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    """Shared: a test that kills it, or pauses it, starts one for itself."""
    with Dovecot(tmp_path_factory.mktemp("dovecot")) as server:
        yield server


@pytest.fixture
def user() -> str:
    """Nobody else's."""
    return f"user-{uuid4().hex}"
