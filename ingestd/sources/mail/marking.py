"""After the commit: a message that the ledger has is marked, and filed when no receipt of it will be told.

Neither keeps the message from being taken: one that could not be marked is found again without its mark, and
one that could not be filed with the next sweep.
"""

import asyncio
from collections.abc import Callable

from ingestd.interfaces import Observer, SourceUnavailable
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.fetching import Fetched
from ingestd.sources.mail.imap import Selected
from ingestd.sources.mail.searching import Found
from ingestd.sources.mail.second_connection import SecondConnection
from ingestd.sources.mail.sharing import Sharing
from ingestd.sources.mail.sweeping import Sweeping


class Marking:
    """Of one mailbox. `ended` is told of each filing that ended, and may look at what it raised."""

    def __init__(
        self,
        settings: MailboxSettings,
        *,
        connection: SecondConnection,
        sharing: Sharing,
        sweeping: Sweeping,
        ended: Callable[[asyncio.Task[None]], None],
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._sharing = sharing
        self._sweeping = sweeping
        self._ended = ended
        self._observer = observer
        self._filings: set[asyncio.Task[None]] = set()

    @property
    def files(self) -> bool:
        """Some are being filed just now."""
        return bool(self._filings)

    async def committed(self, fetched: Fetched, arrival: str, nothing_came_of_it: bool) -> None:
        """The ledger has it."""
        place = fetched.place
        try:
            had_it = await self._connection.mark(place.mailbox, place.uidvalidity, place.uid)
            if had_it and not fetched.is_marked:
                self._sharing.taken_twice(place.uid)
        except SourceUnavailable as error:
            self._observer.note(
                "message.unmarked",
                level="warning",
                source=self._settings.name,
                uid=place.uid,
                reason=str(error),
            )
        if nothing_came_of_it:
            self._start_filing(arrival)

    async def mark_again(self, selected: Selected, found: Found) -> None:
        """What the ledger had before the mark was made: a crash came in between, or a person removed it."""
        mailbox, uidvalidity = self._settings.mailbox, selected.uidvalidity
        marking = [self._connection.mark(mailbox, uidvalidity, uid) for uid in found.unmarked]
        results = await asyncio.gather(*marking, return_exceptions=True)
        for error in (each for each in results if isinstance(each, BaseException)):
            if not isinstance(error, SourceUnavailable):
                raise error
        if found.unmarked:
            self._sweeping.soon()

    async def aclose(self) -> None:
        """Ends what is still being filed."""
        for task in list(self._filings):
            task.cancel()
        await asyncio.gather(*self._filings, return_exceptions=True)

    def _start_filing(self, arrival: str) -> None:
        task = asyncio.create_task(self._sweeping.file(arrival), name=f"file {arrival}")
        self._filings.add(task)
        task.add_done_callback(self._filings.discard)
        task.add_done_callback(self._ended)
