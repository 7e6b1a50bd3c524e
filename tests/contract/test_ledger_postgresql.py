"""The ledger contract on a real PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.contract.ledger_contract import LedgerContract
from tests.contract.postgres import Server, postgresql_server

__all__ = ["postgresql_server"]  # a fixture is found by its name in the module that uses it


class TestPostgresql(LedgerContract):
    @pytest.fixture
    def url(self, postgresql_server: Server) -> Iterator[str]:
        url = postgresql_server.new_database()
        yield url
        postgresql_server.drop_database(url)
