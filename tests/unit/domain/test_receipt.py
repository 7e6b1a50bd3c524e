"""IDs and idempotency keys."""

import uuid

from ingestd.domain.document import Instant
from ingestd.domain.receipt import idempotency_key, new_id


def test_ids_are_uuid7_and_sort_by_time() -> None:
    ids = [new_id(Instant(1_700_000_000_000_000 + n * 1000)) for n in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert all(uuid.UUID(i).version == 7 and uuid.UUID(i).variant == uuid.RFC_4122 for i in ids)


def test_an_id_holds_its_millisecond() -> None:
    assert uuid.UUID(new_id(Instant(1_700_000_000_123_456))).int >> 80 == 1_700_000_000_123


def test_the_key_depends_on_every_part_and_on_the_order() -> None:
    def key(*documents: str, target: str = "t", account: str | None = None, slot: str = "receipt") -> str:
        return idempotency_key(documents, target=target, account=account, slot=slot)

    keys = [key("a", "b"), key("b", "a"), key("a"), key("a", "b", target="u"), key("a", "b", slot="report/1"),
            key("a", "b", account="ann")]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert key("a", "b") == keys[0]
