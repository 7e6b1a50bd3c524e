"""Where a document goes: the routes are asked with what is known about it, and their answer is checked.

A document of a group, or a member of an archive, is placed by its own path, not by that of its arrival.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingestd.domain.document import Document, Origin
from ingestd.domain.routing import Destined, InvalidSlot, Route, first_match
from ingestd.interfaces import Destination, Work

NO_ROUTE = "No route matches this receipt, so ingestd does not know where it belongs."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a document goes, and the route that said so (None: its sender did). `hold`: why it doesn't yet.

    `account` to upload with: the route's, else that of the person who sent it.
    """

    destined: Destined | None = None
    route: Route | None = None
    account: str | None = None
    hold: str | None = None


def place_of(
    facts: Mapping[str, str],
    *,
    routes: Sequence[Route],
    destinations: Mapping[str, Destination],
    to: Destined | None = None,
    hold: str | None = None,
    account: str | None = None,
) -> Place:
    """The slot asked for (`to`), else the one the routes name; held where there is none that can be used.

    What is held for its account alone keeps its slot: once the account is there, a retry is enough.
    """
    if hold is not None:
        return Place(hold=hold, account=account)
    route, destined = None, to
    if to is None:
        try:
            found = first_match(routes, facts)
        except InvalidSlot as error:
            return Place(hold=f"The route that matches leads nowhere: {error}.", account=account)
        if found is not None:
            route, destined = found
    problem = unusable(destined, destinations)
    if destined is None or problem is not None:
        return Place(hold=problem, account=account)
    if route is not None and route.account is not None:
        account = route.account
    missing = no_account(destined, account, destinations)
    return Place(destined=destined, route=route, account=account, hold=missing)


def document_facts(origin: Origin, document: Document) -> dict[str, str]:
    """What the routes are asked with for a document of an arrival."""
    return {**origin.facts, **file_facts(origin.source, document.arrived_as or origin.path)}


def receipt_facts(work: Work) -> dict[str, str]:
    """The same for a receipt of the ledger: it goes where its first document goes."""
    if not work.documents:
        return {**work.origin.facts, **file_facts(work.origin.source, work.origin.path)}
    return document_facts(work.origin, work.documents[0])


def file_facts(source: str, path: str) -> dict[str, str]:
    return {"source": source, "path": path, "filename": path.rpartition("/")[2]}


def unusable(destined: Destined | None, destinations: Mapping[str, Destination]) -> str | None:
    """Why nothing can be sent there, as a sentence for a person; None when it can."""
    if destined is None:
        return NO_ROUTE
    destination = destinations.get(destined.target)
    if destination is None:
        return (
            f"There is no target {destined.target!r}; the targets are: {', '.join(destinations) or 'none'}."
        )
    kind = destined.slot.kind
    if kind not in destination.slots:
        return f"{destined.target} has no slot {kind!r}; it has: {', '.join(destination.slots)}."
    if destination.slots[kind] and destined.slot.identifier is None:
        return f"The slot {kind} needs an ID: write {destined.target}:{kind}/ID."
    if not destination.slots[kind] and destined.slot.identifier is not None:
        return f"The slot {kind} takes no ID: write {destined.target}:{kind}."
    return None


def no_account(
    destined: Destined, account: str | None, destinations: Mapping[str, Destination]
) -> str | None:
    """Why it can't be uploaded for this person, as sentences; None when it can."""
    target = destined.target
    known = destinations[target].accounts
    if account is None or account in known:
        return None
    return (
        f"The target {target} has no account {account!r}; it has: {', '.join(sorted(known)) or 'none'}. "
        f"Add [targets.{target}.accounts.{account}], restart ingestd and run ingestd retry ID; "
        "or ingestd drop ID."
    )
