"""What one operation of the ledger sees of the batch it is part of.

Two things make it fast. Rows that no other operation of the batch can want to read are collected and
inserted together. And the statements of the hot path are compiled once and then handed to the driver as
they are: SQLAlchemy's own execution costs several times what SQLite does with them.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Dialect, Executable, Insert, Select, Table, Update
from sqlalchemy.exc import DBAPIError

from ingestd.ledger.rows import SpoolPath
from ingestd.ledger.schema import metadata

Result = TypeVar("Result")
Values = Mapping[str, Any]
Hot = Insert | Update | Select[Any]
"""A statement that is a constant of its module and has no lists among its parameters."""


class Transaction:
    """Runs statements now, or keeps rows to insert until `flush`."""

    def __init__(self, connection: Connection, statements: "Statements", spool_path: SpoolPath) -> None:
        self.spool_path = spool_path
        self._connection = connection
        self._statements = statements
        self._cursor: Any = connection.connection.cursor()
        self._pending: dict[Table, list[Values]] = {}

    def execute(
        self, statement: Executable, parameters: Values | Sequence[Values] | None = None
    ) -> CursorResult[Any]:
        """Any statement, and its rows with the types of their columns; or one without rows many times."""
        return self._connection.execute(statement, parameters)

    def change(self, statement: Insert | Update, *values: Values) -> int:
        """Run a hot statement for each of `values`; returns how many rows it changed in all."""
        sql, arrange = self._statements.compiled(statement)
        try:
            if len(values) == 1:
                self._cursor.execute(sql, arrange(values[0]))
            else:
                self._cursor.executemany(sql, [arrange(row) for row in values])
        except self._statements.driver_error as error:
            raise self._foreign(error, sql) from error
        rowcount: int = self._cursor.rowcount
        return rowcount

    def is_there(self, statement: "Select[Any]", values: Values) -> bool:
        """Whether a hot SELECT finds a row."""
        sql, arrange = self._statements.compiled(statement)
        try:
            return self._cursor.execute(sql, arrange(values)).fetchone() is not None
        except self._statements.driver_error as error:
            raise self._foreign(error, sql) from error

    def rows(self, statement: "Select[Any]", values: Values) -> list[Sequence[Any]]:
        """What a hot SELECT finds, with the types of its columns."""
        sql, arrange = self._statements.compiled(statement)
        try:
            found: list[Sequence[Any]] = self._cursor.execute(sql, arrange(values)).fetchall()
        except self._statements.driver_error as error:
            raise self._foreign(error, sql) from error
        return self._statements.typed(statement, found)

    def insert(self, table: Table, row: Values) -> None:
        """What the row leaves out becomes NULL."""
        self.change(_INSERTS[table], row)

    def append(self, table: Table, row: Values) -> None:
        """Insert this row with the next flush."""
        self._pending.setdefault(table, []).append(row)

    def flush(self) -> None:
        """To be called before reading documents, receipt_documents, sightings, attempts or history."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        for table in _PARENTS_FIRST:
            if rows := pending.get(table):
                self.change(_INSERTS[table], *rows)

    def forget(self) -> None:
        """Drop what was appended since the last flush."""
        self._pending = {}

    def close(self) -> None:
        self._cursor.close()

    def _foreign(self, error: Exception, sql: str) -> DBAPIError:
        """The error as SQLAlchemy's own execution would raise it, without the parameters."""
        dialect = self._connection.dialect
        raw = self._connection.connection.dbapi_connection
        wrapped: Any = DBAPIError.instance(
            sql,
            None,
            error,
            self._statements.driver_error,
            hide_parameters=True,
            connection_invalidated=dialect.is_disconnect(error, raw, self._cursor),  # type: ignore[arg-type]  # typed for its own errors only
            dialect=dialect,
        )
        assert isinstance(wrapped, DBAPIError)
        return wrapped


class Statements:
    """Each hot statement as the text its driver understands, and how its parameters are handed over."""

    def __init__(self, dialect: Dialect) -> None:
        driver: Any = dialect.loaded_dbapi
        self.driver_error: type[Exception] = driver.Error
        self._dialect = dialect
        self._compiled: dict[Hot, tuple[str, _Arrange]] = {}
        self._results: dict[Select[Any], _Converters] = {}

    def compiled(self, statement: Hot) -> "tuple[str, _Arrange]":
        known = self._compiled.get(statement)
        if known is None:
            known = self._compiled[statement] = self._compile(statement)
        return known

    def typed(self, statement: Select[Any], rows: list[Sequence[Any]]) -> list[Sequence[Any]]:
        """The rows as a driver gives them, as what the columns of this statement stand for."""
        convert = self._results.get(statement)
        if convert is None:
            types = [column.type.dialect_impl(self._dialect) for column in statement.selected_columns]
            found = [
                (index, type_.result_processor(self._dialect, None)) for index, type_ in enumerate(types)
            ]
            convert = self._results[statement] = [(index, one) for index, one in found if one is not None]
        if not convert:
            return rows
        mutable = [list(row) for row in rows]
        for row in mutable:
            for index, processor in convert:
                row[index] = processor(row[index])
        return [*mutable]

    def _compile(self, statement: Hot) -> "tuple[str, _Arrange]":
        compiled: Any = statement.compile(dialect=self._dialect)
        names = list(compiled.positiontup or compiled.bind_names.values())
        parameters = {name: compiled.binds[name] for name in names}
        convert = {}
        for name, parameter in parameters.items():
            processor = parameter.type.dialect_impl(self._dialect).bind_processor(self._dialect)
            if processor is not None:
                convert[name] = processor
        # The constants of the statement; and what an INSERT leaves out is NULL.
        optional = isinstance(statement, Insert)
        defaults = {n: p.value for n, p in parameters.items() if optional or not p.required}
        return str(compiled), _arranger(names, defaults, convert, positional=compiled.positional)


Operation = Callable[[Transaction], Result]
"""One all-or-nothing change. It may be run more than once: what it did before was rolled back."""

_Arrange = Callable[[Values], Any]
_Converters = Sequence[tuple[int, Callable[[Any], Any]]]


def _arranger(
    names: Sequence[str], defaults: Values, convert: Mapping[str, Callable[[Any], Any]], *, positional: bool
) -> _Arrange:
    pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    converted = [(index, convert[name]) for index, name in enumerate(names) if name in convert]

    def in_order(values: Values) -> Sequence[Any]:
        row: tuple[Any, ...] = pick({**defaults, **values})
        if not converted:
            return row
        mutable = list(row)
        for index, processor in converted:
            if mutable[index] is not None:
                mutable[index] = processor(mutable[index])
        return mutable

    def by_name(values: Values) -> Mapping[str, Any]:
        return dict(zip(names, in_order(values), strict=True))

    return in_order if positional else by_name


_PARENTS_FIRST = metadata.sorted_tables
_INSERTS: dict[Table, Insert] = {table: table.insert() for table in metadata.tables.values()}
