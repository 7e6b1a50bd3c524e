"""What mailboxes ask at every poll, and lists page by page, is found through an index, never by a scan."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Select, event

from ingestd.domain.states import State
from ingestd.ledger import lookups, mailbook, migrate, reader, retention, sqlite_url, turns
from ingestd.ledger.engine import open_engine

PLACE = {"account": "a", "mailbox": "INBOX", "uidvalidity": 1, "uids": [1, 2]}
SHARE = {"share": "person ann", "gate": "concur", "until": 1, "now": 1, "limit": 9}
WALK = {"share": "person ann", "gate": "concur", "upto": "person x", "steps": 9}
PAGE = {"after": "0", "upto": "f", "limit": 9}
ASKED: dict[str, tuple[Select[Any], dict[str, Any]]] = {
    "unfiled": (mailbook._UNFILED, {"source": "mail", "after": "", "limit": 9}),
    "found there": (mailbook._FOUND_THERE, PLACE),
    "is there": (mailbook._IS_THERE, PLACE),
    "from": (mailbook._FROM, {"source": "mail", "sender": "ann@example.com", "since": 1}),
    "answers": (mailbook._ANSWERS, {"address": "ann@example.com", "since": 1}),
    "companions": (mailbook._COMPANIONS, {"source": "mail", "sha256": "0"}),
    "by Message-ID": (mailbook._BY_MESSAGE_ID, {"written": ["a", "<a>"]}),
    "page": (reader._newest_first([], [], 9), {}),
    "page of a state": (reader._newest_first([State.FAILED], [], 9), {}),
    "page of states": (reader._newest_first([State.FAILED, State.HELD], [], 9), {}),
    "whose turn": (turns._walk(State.READY), WALK),
    "whose turn in preparation": (turns._walk(State.RECEIVED), WALK),
    "oldest of a share": (turns._oldest(State.READY), SHARE),
    "to ask about": (lookups._TO_ASK, {"now": 1, "limit": 9}),
    "to verify": (lookups._TO_VERIFY, {"now": 1, "limit": 9}),
    "how many to ask about": (reader._ASKING, {"horizon": 1}),
    "oldest that waits": (reader._OLDEST_WAITING, {}),
    "heads": (reader._HEADS, PAGE),
    "histories": (reader._HISTORIES, PAGE),
    "kept documents": (retention._KEPT_DOCUMENTS, PAGE),
    "kept images": (retention._KEPT_IMAGES, PAGE),
    "kept containers": (retention._KEPT_CONTAINERS, PAGE),
}
INDEXES = {
    "whose turn": "ix_receipts_turns (state=? AND share=? AND gate>?)",
    "oldest of a share": "ix_receipts_turns (state=? AND share=? AND gate=? AND due_at<?)",
    "to ask about": "ix_receipts_ask_at",
    "to verify": "ix_receipts_verify_at",
    "kept documents": "ix_documents_sha256",
    "kept images": "ix_receipts_image_sha256",
    "kept containers": "ix_containers_sha256",
}
"""Where an index that is merely some index would not do."""
OF_A_PAGE = ("newest", "anon_", "walk", "first", "CONSTANT ROW")
"""How the names begin of what holds the IDs of one page and nothing more."""


@pytest.mark.parametrize("question", ASKED)
def test_a_question_that_is_asked_often_scans_no_table(tmp_path: Path, question: str) -> None:
    url = sqlite_url(tmp_path / "ledger.sqlite")
    migrate(url)
    statement, values = ASKED[question]
    engine = open_engine(url, writes=False)

    def explain(
        connection: Connection, cursor: Any, sql: str, parameters: Any, context: Any, executemany: bool
    ) -> tuple[str, Any]:
        return f"EXPLAIN QUERY PLAN {sql}", parameters

    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", explain, retval=True)
        steps = [row[3] for row in connection.exec_driver_sql("SELECT 1 FROM receipts").cursor.fetchall()]
        assert steps and steps[0].startswith("SCAN"), "scans are seen"
        found = connection.execute(statement, values).cursor
        assert found is not None
        steps = [row[3] for row in found.fetchall()]
    engine.dispose()
    scans = [step for step in steps if step.startswith("SCAN") and not step[5:].startswith(OF_A_PAGE)]
    if question == "page":
        assert scans == ["SCAN receipts USING INDEX sqlite_autoindex_receipts_1"], "newest first, 9 of them"
    else:
        assert scans == [], steps
    assert any(INDEXES.get(question, "") in step for step in steps), steps
    sorts = [step for step in steps if "TEMP B-TREE" in step]
    assert question not in INDEXES or question == "whose turn" or sorts == [], steps
