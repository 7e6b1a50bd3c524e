"""A ledger as revision 0001 left it, with receipts in it, made without the program's present tables."""

from importlib import resources
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData

from ingestd.domain.receipt import new_id
from ingestd.ledger.chain import START, digest
from ingestd.ledger.engine import create_sqlite_file, open_engine, sqlite_path
from tests.contract.ledger_making import START as NOW

Row = dict[str, Any]


def make_old_ledger(url: str, *receipts: Row) -> list[str]:
    """Each receipt with an arrival, a document and one row of history; returns their IDs, in order."""
    path = sqlite_path(url)
    if path is not None:
        create_sqlite_file(path)
    engine = open_engine(url, writes=True)
    with engine.begin() as connection:
        config = Config()
        config.attributes["connection"] = connection
        with resources.as_file(resources.files("ingestd.ledger.migrations")) as scripts:
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            command.upgrade(config, "0001")
        metadata = MetaData()
        metadata.reflect(connection)
        ids = [new_id(NOW) for _ in receipts]
        for table, rows in _rows(list(zip(ids, receipts, strict=True))).items():
            connection.execute(metadata.tables[table].insert(), rows)
    engine.dispose()
    return ids


def _rows(receipts: list[tuple[str, Row]]) -> dict[str, list[Row]]:
    """In the order in which the tables refer to each other."""
    made = [(id_, f"{n:064x}", _receipt(id_, f"{n:064x}", row)) for n, (id_, row) in enumerate(receipts)]
    return {
        "arrivals": [
            {"id": id_, "kind": "file", "source": "scanner", "path": "a.pdf", "sender": "", "facts": "{}"}
            | {"payload_count": 1, "received_at": NOW}
            for id_, _, _ in made
        ],
        "documents": [
            {"id": id_, "arrival_id": id_, "entry": 0, "position": 0, "filename": "a.pdf", "size": 9}
            | {"sha256": sha256}
            for id_, sha256, _ in made
        ],
        "receipts": [row for _, _, row in made],
        "receipt_documents": [{"receipt_id": id_, "position": 0, "document_id": id_} for id_, _, _ in made],
        "history": [_history(row) for _, _, row in made],
    }


def _receipt(receipt_id: str, sha256: str, row: Row) -> Row:
    """`row` has at least a state and a slot."""
    nothing = ("owner", "lease_until", "image_id", "reference", "reason", "waived", "person", "account")
    image = {"image_sha256": sha256, "image_type": "application/pdf", "image_size": 9, "image_pages": 1}
    made: Row = {
        **dict.fromkeys(nothing),
        **image,
        "id": receipt_id,
        "arrival_id": receipt_id,
        "key": sha256,
        "generation": 1,
        "target": "concur",
        "version": 1,
        "head": "",
        "attempts": 0,
        "tries": 0,
        "documents": 1,
        "fields": "{}",
        "due_at": NOW,
        "received_at": NOW,
        "updated_at": NOW,
        "source": "scanner",
        "path": "a.pdf",
        "filename": "a.pdf",
        "sha256": sha256,
        **row,
    }
    return made | {"head": _history(made)["digest"]}


def _history(row: Row) -> Row:
    values: Row = {
        "version": 1,
        "at": NOW,
        "event": "accept",
        "before": None,
        "actor": "ingestd",
        "reason": None,
    }
    head = digest(START, receipt=row["id"], after=row["state"], **values)
    return {**values, "receipt_id": row["id"], "after": row["state"], "digest": head}
