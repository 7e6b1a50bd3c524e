"""One thread owns the connection that writes, and commits everything it finds in its queue at once.

That is natural group commit: while one batch is on its way to the disk the next gathers, so that the cost of
an fsync is shared by all who wait for it. An operation is answered only after the commit; a commit that
fails means "not accepted" for every operation of its batch, and the connection is thrown away.
"""

import asyncio
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from ingestd.domain.errors import LedgerUnavailable
from ingestd.ledger.engine import BUSY_RETRIES, is_busy, is_transient, translated
from ingestd.ledger.rows import SpoolPath
from ingestd.ledger.transaction import Operation, Statements, Transaction

Result = TypeVar("Result")

BATCH = 256
"""Operations in one transaction. More would make the first wait for the last."""

RETRIES = 5
"""How often a batch, or one operation, is run again when another node got in its way."""


class Writer:
    """Runs operations in the order they were given, many in one transaction, each all or nothing."""

    def __init__(self, engine: Engine, *, spool_path: SpoolPath, path: Path | None) -> None:
        """`path`: the SQLite file, if it is one."""
        self._engine = engine
        self._statements = Statements(engine.dialect)
        self._spool_path = spool_path
        self._path = path
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None
        """Device and inode of the SQLite file that the connection has open."""
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ledger writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Operation[Result]) -> Result:
        """The result, once it is durable.

        Cancelling the wait leaves open whether the operation happens; it never happens by halves.
        """
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")
        loop = asyncio.get_running_loop()
        job = _Job(operation, loop, loop.create_future())
        self._queue.put(job)
        result: Result = await job.future
        return result

    async def aclose(self) -> None:
        """Ends after everything that was given before. Idempotent."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        going_on = True
        while going_on:
            jobs, going_on = self._gather()
            wanted = [job for job in jobs if not job.future.cancelled()]
            if wanted:
                _answer(wanted, self._commit(wanted))
        self._drop_connection()
        self._engine.dispose()

    def _gather(self) -> "tuple[list[_Job], bool]":
        """What waits in the queue, at least one; False at the end."""
        jobs: list[_Job] = []
        job = self._queue.get()
        try:
            while job is not None:
                jobs.append(job)
                if len(jobs) == BATCH:
                    return jobs, True
                job = self._queue.get_nowait()
        except Empty:
            return jobs, True
        return jobs, False

    def _commit(self, jobs: "Sequence[_Job]") -> "list[_Answer]":
        """Never raises: whatever goes wrong is the answer to those who wait."""
        try:
            return self._run_again_if_in_the_way(jobs)
        except SQLAlchemyError as error:
            failure: BaseException = translated(error, self._path)
        except BaseException as error:
            # Broad on purpose: a dead writer would leave its callers waiting for ever.
            failure = error
        self._drop_connection()
        return [_Answer(error=failure)] * len(jobs)

    def _run_again_if_in_the_way(self, jobs: "Sequence[_Job]") -> "list[_Answer]":
        retries = busy = 0
        while True:
            try:
                # Hoping that all succeed saves two statements for each operation; one that fails costs the
                # batch a second run, with savepoints.
                answers = self._transact(jobs, _all_or_nothing)
                if answers is None:
                    answers = self._transact(jobs, _each_for_itself)
                assert answers is not None
                return answers
            except DBAPIError as error:
                if is_busy(error) and busy < BUSY_RETRIES:
                    busy += 1
                elif is_transient(error) and retries < RETRIES:
                    retries += 1
                else:
                    raise
                self._drop_connection()

    def _transact(self, jobs: "Sequence[_Job]", run: "_Run") -> "list[_Answer] | None":
        """None: an operation failed, so that nothing was changed."""
        connection = self._connect()
        transaction = connection.begin()
        tx = Transaction(connection, self._statements, self._spool_path)
        try:
            answers = run(tx, connection, jobs)
            tx.close()
        except Exception as error:
            transaction.rollback()
            if _is_machinery(error):
                raise
            return None
        if self._file != _identity(self._path):
            transaction.rollback()
            raise LedgerUnavailable(
                f"{self._path} was replaced or removed while it was in use; what is there now is read after "
                "a restart, and a copy is put back only while ingestd is stopped"
            )
        try:
            transaction.commit()
        except DBAPIError as error:
            # It may be on the disk or not. Those who wait are told that it is not, and nothing is run again.
            raise translated(error, self._path) from error
        return answers

    def _connect(self) -> Connection:
        if self._connection is None:
            self._file = _identity(self._path)
            self._connection = self._engine.connect()
        return self._connection

    def _drop_connection(self) -> None:
        """After an error its file descriptors may hide what was lost (a failed fsync is told only once)."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.invalidate()
            connection.close()
        except SQLAlchemyError:
            return  # it is gone either way


def _identity(path: Path | None) -> tuple[int, int] | None:
    """A commit into a file that has lost its name would be gone with the process."""
    if path is None:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for every commit, and pathlib costs three times as much
    except OSError:
        return None
    return found.st_dev, found.st_ino


@dataclass(slots=True)
class _Job:
    operation: Operation[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Answer:
    result: Any = None
    error: BaseException | None = None


def _all_or_nothing(tx: Transaction, connection: Connection, jobs: Sequence[_Job]) -> list[_Answer]:
    answers = [_Answer(job.operation(tx)) for job in jobs]
    tx.flush()
    return answers


def _each_for_itself(tx: Transaction, connection: Connection, jobs: Sequence[_Job]) -> list[_Answer]:
    return [_in_savepoint(tx, connection, job) for job in jobs]


def _in_savepoint(tx: Transaction, connection: Connection, job: _Job) -> _Answer:
    """An operation that fails changes nothing, and nothing for the others. Raises for broken machinery."""
    for retry in range(RETRIES + 1):
        savepoint = connection.begin_nested()
        try:
            answer = _Answer(job.operation(tx))
            tx.flush()
            savepoint.commit()
            return answer
        except Exception as error:
            if _is_machinery(error):
                raise
            tx.forget()
            savepoint.rollback()
            # Another node was faster, and what it committed is there now for the next try to find.
            if isinstance(error, IntegrityError) and retry < RETRIES:
                continue
            return _Answer(error=translated(error, None) if isinstance(error, DBAPIError) else error)
    raise AssertionError("the last retry returns or raises")


def _is_machinery(error: Exception) -> bool:
    """Whether the engine failed, not one operation's rows."""
    return isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError)


def _answer(jobs: Sequence[_Job], answers: Sequence[_Answer]) -> None:
    """Wake each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, _Answer]]] = defaultdict(list)
    for job, answer in zip(jobs, answers, strict=True):
        by_loop[job.loop].append((job, answer))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_give, pairs)
        except RuntimeError:
            continue  # the loop was closed: nobody waits there any more


def _give(pairs: Sequence[tuple[_Job, _Answer]]) -> None:
    for job, answer in pairs:
        if job.future.done():
            continue  # cancelled
        if answer.error is None:
            job.future.set_result(answer.result)
        else:
            job.future.set_exception(answer.error)


_Run = Callable[[Transaction, Connection, Sequence[_Job]], list[_Answer]]
