import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, MetaData, Table, create_engine, select

from ingestd.ledger.schema import ForeignText

TABLE = Table("foreign", MetaData(), Column("text", ForeignText))


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        TABLE.create(connection)
        yield connection
    engine.dispose()


@given(text=st.text(st.characters(exclude_categories=())) | st.sampled_from(["\ufdd0dcff", "\udcff\0", "é"]))
def test_any_text_comes_back_as_it_was(connection: Connection, text: str) -> None:
    connection.execute(TABLE.delete())
    connection.execute(TABLE.insert(), {"text": text})
    assert connection.execute(select(TABLE.c.text)).scalar_one() == text


def test_ordinary_text_is_stored_as_it_is(connection: Connection) -> None:
    connection.execute(TABLE.delete())
    connection.execute(TABLE.insert(), {"text": "Grüße, 領収書.pdf"})
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    assert raw.execute('SELECT text FROM "foreign"').fetchone() == ("Grüße, 領収書.pdf",)
