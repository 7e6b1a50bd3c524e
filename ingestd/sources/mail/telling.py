"""What people see of a mailbox: its troubles, each with its own end, and a line in the log when one is news.

A trouble is told whenever its sentence changes: a session that was cut and a login that was revoked since are
two things to know. The pauses between two tries bound how often that is.
"""

from ingestd.domain.document import Instant
from ingestd.domain.errors import StorageExhausted
from ingestd.interfaces import Clock, Observer, SourceUnavailable
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.imap import ImapRefused
from ingestd.sources.mail.troubles import Kind, Troubles


class Telling:
    """Of one mailbox; `shown` is its name for people."""

    def __init__(self, settings: MailboxSettings, clock: Clock, observer: Observer) -> None:
        self.shown = f"{settings.mailbox} of {settings.user} at {settings.host}"
        self._source = settings.name
        self._troubles = Troubles(clock)
        self._observer = observer

    @property
    def sentence(self) -> str | None:
        return self._troubles.sentence

    @property
    def since(self) -> Instant | None:
        return self._troubles.since

    def reached(self) -> None:
        if self._troubles.set(Kind.SERVER, None):
            self._observer.note("source.recovered", source=self._source)

    def lost(self, error: SourceUnavailable) -> None:
        sentence = f"{self.shown} can't be read: {error}."
        self._tell(Kind.SERVER, sentence, "source.unavailable", sentence)

    def ours(self) -> None:
        self._troubles.set(Kind.LEASE, None)

    def read_by_another(self) -> None:
        sentence = (
            f"Another ingestd reads {self.shown} now; this one waits, and takes over when that one stops."
        )
        self._troubles.set(Kind.SERVER, None)
        if self._troubles.set(Kind.LEASE, sentence):
            self._observer.note("mailbox.waiting", source=self._source, reason=sentence)

    def targets(self, refused: ImapRefused | None) -> None:
        sentence = None if refused is None else f"Messages of {self.shown} can't be filed: {refused}."
        self._troubles.set(Kind.TARGETS, sentence)

    def no_room(self, error: StorageExhausted) -> None:
        sentence = f"{self.shown} waits: {error}."
        self._tell(Kind.STORAGE, sentence, "mailbox.paused", str(error))

    def room(self) -> None:
        self._troubles.set(Kind.STORAGE, None)

    def waiting(self, *, flooded: str | None, shared: str | None, failing: str | None) -> None:
        """Sentences about messages that wait; None: none do."""
        if flooded is None:
            self._troubles.set(Kind.FLOOD, None)
        else:
            self._tell(Kind.FLOOD, flooded, "mailbox.flooded", flooded)
        self._troubles.set(Kind.SHARED, shared)
        self._troubles.set(Kind.MESSAGES, failing)

    def _tell(self, kind: Kind, sentence: str, event: str, reason: str) -> None:
        if self._troubles.set(kind, sentence):
            self._observer.note(event, level="warning", source=self._source, reason=reason)
