"""Those who send take turns: nobody waits behind what another one sent before."""

from dataclasses import replace

from ingestd.domain.receipt import Receipt
from ingestd.ledger import SqlLedger, SqlLedgerReader
from tests.contract.ledger_making import LEASE, START, after, document, new_arrival, new_receipt, prepare


async def bring(
    ledger: SqlLedger,
    content: str,
    *,
    person: str | None = None,
    sender: str = "",
    account: str | None = None,
) -> Receipt:
    new = replace(new_receipt(document(content=content), account=account), person=person)
    arrival = new_arrival(new)
    arrival = replace(arrival, origin=replace(arrival.origin, sender=sender))
    return (await ledger.accept(arrival, now=START)).receipts[0]


async def bring_many(ledger: SqlLedger, person: str, count: int, *, due_at: float = 0) -> list[str]:
    found = [await bring(ledger, f"{person} {n}", person=person) for n in range(count)]
    for receipt in found:
        await prepare(ledger, receipt, now=after(due_at))
    return [receipt.id for receipt in found]


async def claim(
    ledger: SqlLedger, limit: int, *closed: tuple[str, str | None], at: float = 60
) -> list[Receipt]:
    taken = await ledger.claim(owner="here", lease=LEASE, limit=limit, now=after(at), closed=closed)
    return list(taken)


class Turns:
    async def test_one_receipt_is_claimed_next_however_many_another_sent_before(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        many = sorted(await bring_many(ledger, "ann", 40))  # of one millisecond, due at once
        (single,) = await bring_many(ledger, "bob", 1, due_at=9)
        assert [r.id for r in await claim(ledger, 3)] == [many[0], single, many[1]]

    async def test_turns_go_on_where_the_last_claim_ended(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        for person in ("ann", "bob", "cy"):
            await bring_many(ledger, person, 4)
        people = [r.person for _ in range(6) for r in await claim(ledger, 2)]
        assert people == ["ann", "bob", "cy"] * 4
        assert await claim(ledger, 2) == []

    async def test_who_has_less_than_a_fair_share_leaves_the_rest_to_others(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        for person, count in (("ann", 1), ("bob", 20), ("cy", 3)):
            await bring_many(ledger, person, count)
        people = [r.person for r in await claim(ledger, 16)]
        assert people[:9] == ["ann", "bob", "cy", "bob", "cy", "bob", "cy", "bob", "bob"]
        assert len(people) == 16

    async def test_those_due_later_or_behind_a_closed_gate_take_nobodys_turn(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await bring_many(ledger, "ann", 3, due_at=500)
        for n in range(3):
            await prepare(ledger, await bring(ledger, f"own {n}", person="bob", account="bob"))
        common = await bring_many(ledger, "bob", 1, due_at=7)
        assert [r.id for r in await claim(ledger, 3, ("concur", "bob"))] == common
        assert await claim(ledger, 3, ("concur", "bob")) == []
        assert [r.account for r in await claim(ledger, 9)] == ["bob"] * 3

    async def test_of_one_sender_the_longest_due_comes_first_whatever_its_target(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        for n, (due_at, account) in enumerate(((30, None), (10, "b"), (20, None), (40, "a"), (5, "a"))):
            receipt = await bring(ledger, f"{n}", person="ann", account=account)
            await prepare(ledger, receipt, now=after(due_at))
        assert [r.due_at for r in await claim(ledger, 3)] == [after(5), after(10), after(20)]
        assert [r.due_at for r in await claim(ledger, 3)] == [after(30), after(40)]

    async def test_a_turn_belongs_to_the_person_else_the_sender_else_the_account_else_the_source(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        same: tuple[tuple[dict[str, str], ...], ...] = (
            (
                {"person": "Ann", "sender": "a@x.org"},
                {"person": "Ann", "sender": "b@x.org", "account": "ann"},
            ),
            ({"sender": "C@x.org"}, {"sender": "c@X.org", "account": "c"}),
            ({"account": "d"}, {"account": "d"}),
            ({}, {}),
        )
        for n, both in enumerate(same):
            for m, who in enumerate(both):
                receipt = await bring(ledger, f"{n} {m}", **who)
                await prepare(ledger, receipt, now=after(m))
        claimed = await claim(ledger, 4)
        assert {(r.person, r.account) for r in claimed} == {("Ann", None), (None, None), (None, "d")}
        assert len(await claim(ledger, 4)) == 4

    async def test_preparation_takes_turns_too(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        for n in range(30):
            await bring(ledger, f"ann {n}", person="ann")
        await bring(ledger, "bob", person="bob")

        async def take(limit: int) -> list[str | None]:
            works = await ledger.take_received(owner="here", lease=LEASE, limit=limit, now=START)
            return [work.receipt.person for work in works]

        assert await take(2) == ["ann", "bob"]
        assert await take(40) == ["ann"] * 29

    async def test_more_who_wait_than_one_look_finds_all_get_their_turn(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        for n in range(60):
            await bring_many(ledger, f"p{n:02}", 1, due_at=500 if n % 3 else 0)
        assert [r.person for r in await claim(ledger, 4)] == ["p00", "p03", "p06", "p09"]
        rest = [r.person for r in await claim(ledger, 40)]
        assert rest == [f"p{n:02}" for n in range(12, 60, 3)]
