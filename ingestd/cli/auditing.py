"""`ingestd audit`: proves every history by its chain of digests, and that the spool holds what it should.

Works beside the daemon and writes nothing: each page of the ledger is a short transaction, and what looks
wrong is looked at again, for a receipt may have moved and bytes may have been purged meanwhile. Memory holds
one page of the ledger and the names in one directory of the spool.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from ingestd.cli.audit_histories import HistoryAudit
from ingestd.cli.audit_progress import AuditProgress, size_text
from ingestd.cli.audit_spool import SpoolAudit
from ingestd.cli.proving import MOST_NAMED
from ingestd.cli.rendering import balance_json, one_line, print_json
from ingestd.cli.session import ConfigOption, JsonOption, configured, with_reader
from ingestd.interfaces import Balance, LedgerReader


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audited:
    quick: bool
    histories: HistoryAudit
    spool: SpoolAudit
    books: Balance

    @property
    def proved(self) -> bool:
        return self.books.closed and not self.histories.flaws.count and not self.spool.flaws.count


def audit(
    config: ConfigOption = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Don't read the files of the spool: look if they are there, and how large."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that nobody changed the ledger, and that the spool holds what it should.

    Every history is proved by its chain of digests, every original and image is read and compared with its
    hash, and the books are balanced. It only reads, beside the daemon, too. Exit code 0 when all is proved,
    else 1: each flaw is named with its receipt and what to do.

    \b
    ingestd audit
    ingestd audit --quick --json
    """
    settings = configured(config)

    async def prove(reader: LedgerReader) -> _Audited:
        histories = HistoryAudit(reader)
        spool = SpoolAudit(reader, settings.storage.directory / "spool", quick=quick)
        with AuditProgress() as progress:
            await histories.run(progress)
            await spool.run(progress)
        return _Audited(quick=quick, histories=histories, spool=spool, books=await reader.balance())

    audited = with_reader(settings, prove)
    if as_json:
        print_json(_as_json(audited))
    else:
        _tell(audited)
    raise typer.Exit(0 if audited.proved else 1)


def _as_json(audited: _Audited) -> dict[str, object]:
    histories, spool = audited.histories, audited.spool
    return {
        "proved": audited.proved,
        "quick": audited.quick,
        "receipts": histories.receipts,
        "rows": histories.rows,
        "blobs": spool.blobs,
        "bytes": spool.bytes,
        "unknown_blobs": spool.unknown,
        "wrong_histories": histories.flaws.count,
        "wrong_blobs": spool.flaws.count,
        "wrong": [asdict(flaw) for flaw in (*histories.flaws.named, *spool.flaws.named)],
        "balance": balance_json(audited.books),
    }


def _tell(audited: _Audited) -> None:
    say, histories, spool = typer.echo, audited.histories, audited.spool
    looked = "are there; their bytes were not read" if audited.quick else "are there and unchanged"
    good, wrong = spool.blobs - spool.flaws.count, histories.flaws.count
    say(f"histories    {histories.receipts:,} receipts, {histories.rows:,} rows: {_result(wrong)}")
    say(f"spool        {good:,} of {spool.blobs:,} files ({size_text(spool.bytes)}) {looked}")
    if spool.unknown:
        say(
            f"             {spool.unknown:,} more that the ledger does not name: coming in just now, or left "
            "by a crash; upkeep removes those after a day"
        )
    say(f"books        {'closed' if audited.books.closed else 'NOT CLOSED: `ingestd balance` tells more'}")
    for flaws in (histories.flaws, spool.flaws):
        for flaw in flaws.named:
            say(f"WRONG        {one_line(str(flaw))}")
        if flaws.count > MOST_NAMED:
            say(f"WRONG        and {flaws.count - MOST_NAMED:,} more of this kind")
    say("All is proved." if audited.proved else "NOT ALL IS PROVED.")


def _result(wrong: int) -> str:
    return f"{wrong:,} WRONG" if wrong else "proved"
