"""Where a document goes: the routes are asked with what is known about it, and their answer is checked.

A document of a group, or a member of an archive, is placed by its own path, not by that of its arrival.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingestd.domain.document import Document, Origin
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Destined, InvalidSlot, Route, first_match
from ingestd.interfaces import Destination

NO_ROUTE = "No route matches this receipt, so ingestd does not know where it belongs."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a document goes, and the route that said so (None: its sender did). `hold`: why nowhere yet."""

    destined: Destined | None = None
    route: Route | None = None
    hold: str | None = None

    @property
    def account(self) -> str | None:
        return None if self.route is None else self.route.account


def place_of(
    facts: Mapping[str, str],
    *,
    routes: Sequence[Route],
    destinations: Mapping[str, Destination],
    to: Destined | None = None,
    hold: str | None = None,
) -> Place:
    """The slot asked for (`to`), else the one the routes name; held where there is none that can be used."""
    if hold is not None:
        return Place(hold=hold)
    route, destined = None, to
    if to is None:
        try:
            found = first_match(routes, facts)
        except InvalidSlot as error:
            return Place(hold=f"The route that matches leads nowhere: {error}.")
        if found is not None:
            route, destined = found
    problem = unusable(destined, destinations)
    if problem is not None:
        return Place(hold=problem)
    return Place(destined=destined, route=route)


def document_facts(origin: Origin, document: Document) -> dict[str, str]:
    """What the routes are asked with for a document of an arrival."""
    return {**origin.facts, **file_facts(origin.source, document.arrived_as or origin.path)}


def receipt_facts(receipt: Receipt, documents: Sequence[Document]) -> dict[str, str]:
    """The same for a receipt of the ledger: it goes where its first document goes."""
    own = documents[0].arrived_as if documents else ""
    return file_facts(receipt.source, own or receipt.path)


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
