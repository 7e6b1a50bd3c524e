"""Which documents of one arrival become one receipt.

Documents for the same slot and account are merged where their route says so, or, when it says nothing, where
the slot takes one image or their names number the pages of one document. Folders are read in natural order
(name_2 before name_10), everything else in the order given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from ingestd.domain.document import Document, Origin, OriginKind
from ingestd.domain.grouping import natural_key, page_group
from ingestd.domain.receipt import NO_TARGET, idempotency_key
from ingestd.domain.routing import Destined, Pages, Repeat, Route
from ingestd.interfaces import Arrival, Destination, NewReceipt
from ingestd.pipeline.placing import Place, document_facts, file_facts, place_of

MOST_DOCUMENTS = 100
"""At most so many documents in one receipt; they are all opened at once to be merged."""

_Pair = tuple[Place, Document]


class Merging:
    """Groups the documents of arrivals by where the routes send them."""

    def __init__(self, routes: Sequence[Route], destinations: Mapping[str, Destination]) -> None:
        self._routes = routes
        self._destinations = destinations

    def receipts(self, arrival: Arrival, documents: Sequence[Document]) -> tuple[NewReceipt, ...]:
        """What these documents of the arrival become, in the order of the first document of each."""
        groups: dict[object, list[_Pair]] = {}
        for number, document in enumerate(documents):
            place = self._place(arrival, document)
            key = self._group_in(arrival, place, document)
            groups.setdefault(number if key is None else key, []).append((place, document))
        return tuple(
            _receipt(arrival, chunk[0][0], [document for _, document in chunk], hold)
            for pairs in groups.values()
            for chunk, hold in self._chunks(_in_order(arrival.origin, pairs))
        )

    def group_of(self, source: str, path: str) -> str | None:
        """A key that files of a folder share when they would become one receipt; None: it stays alone.

        What a sidecar asks for isn't known here.
        """
        place = place_of(file_facts(source, path), routes=self._routes, destinations=self._destinations)
        return self._group(place, path)

    def _place(self, arrival: Arrival, document: Document) -> Place:
        return place_of(
            document_facts(arrival.origin, document),
            routes=self._routes,
            destinations=self._destinations,
            to=arrival.to,
            hold=arrival.hold,
            account=arrival.account,
        )

    def _group_in(self, arrival: Arrival, place: Place, document: Document) -> str | None:
        """What is held because of its sender's instructions stays together as its route alone would have it.

        A person sends it on as one; strangers that one sidecar is contested by stay apart.
        """
        path = document.arrived_as or arrival.origin.path
        if place.destined is not None:
            return self._group(place, path)
        facts = document_facts(arrival.origin, document)
        usual = place_of(facts, routes=self._routes, destinations=self._destinations, account=arrival.account)
        key = self._group(usual, path)
        return None if key is None else f"held\n{key}"

    def _group(self, place: Place, path: str) -> str | None:
        """What documents have in common that become one receipt; None for one that stays alone."""
        if place.destined is None:
            return None
        to = f"{place.destined}\n{place.account or ''}"
        match place.route.pages if place.route else None:
            case Pages.MERGE:
                return to
            case Pages.SEPARATE:
                return None
            case None if self._takes_one_image(place.destined):
                return to
            case None:
                directory, _, filename = path.rpartition("/")
                stem = page_group(filename)
                return None if stem is None else f"{to}\n{directory}/{stem}"
            case pages:
                assert_never(pages)

    def _takes_one_image(self, destined: Destined) -> bool:
        return self._destinations[destined.target].limits(destined.slot).one_image

    def _chunks(self, pairs: Sequence[_Pair]) -> Iterator[tuple[Sequence[_Pair], str | None]]:
        """At most MOST_DOCUMENTS each. A slot for one image can't take two: then a person decides."""
        hold = None
        destined = pairs[0][0].destined
        if len(pairs) > MOST_DOCUMENTS and destined is not None and self._takes_one_image(destined):
            hold = (
                f"{len(pairs)} documents came together for {destined}, which takes one image of at most "
                f"{MOST_DOCUMENTS} documents. ingestd drop ID, then send fewer or one PDF; ingestd retry ID "
                "sends this part of them."
            )
        for start in range(0, len(pairs), MOST_DOCUMENTS):
            yield pairs[start : start + MOST_DOCUMENTS], hold


def new_receipt(
    documents: Iterable[Document],
    *,
    destined: Destined | None,
    account: str | None = None,
    person: str | None = None,
    fields: Mapping[str, str] | None = None,
    again: bool = False,
    hold: str | None = None,
) -> NewReceipt:
    """One receipt of these documents, in this order; without a slot it has no target yet."""
    documents = tuple(documents)
    target, slot = (NO_TARGET, "") if destined is None else (destined.target, str(destined.slot))
    hashes = [document.sha256 for document in documents]
    return NewReceipt(
        documents=documents,
        target=target,
        slot=slot,
        account=account,
        person=person,
        key=idempotency_key(hashes, target=target, account=account, slot=slot),
        fields=fields or {},
        again=again,
        hold=hold,
    )


def _receipt(arrival: Arrival, place: Place, documents: Sequence[Document], hold: str | None) -> NewReceipt:
    return new_receipt(
        documents,
        destined=place.destined,
        account=place.account,
        person=arrival.person,
        fields=dict(arrival.fields),
        again=place.route is not None and place.route.repeat is Repeat.UPLOAD,
        hold=place.hold or hold,
    )


def _in_order(origin: Origin, pairs: list[_Pair]) -> list[_Pair]:
    match origin.kind:
        case OriginKind.FILE:
            return sorted(pairs, key=lambda pair: natural_key(pair[1].arrived_as or origin.path))
        case OriginKind.MAIL | OriginKind.SUBMISSION:
            return pairs
        case kind:
            assert_never(kind)
